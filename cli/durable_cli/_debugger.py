"""A `pdb` over suspended coroutines: it looks, and cannot go on."""

from __future__ import annotations

import io
import pdb  # noqa: T100  it is what this is about
import reprlib
from typing import TYPE_CHECKING, Any

from durable_cli._output import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    from durable import Stopped

__all__ = ["Debugger", "frames_of_error", "locals_of", "own_frames", "scripted"]

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120
Stack = list[tuple["FrameType", int]]


class Debugger(pdb.Pdb):
    """Shows the frames of a task; ``tasks`` lists all, ``task NAME`` goes to another.

    Args:
        stacks: By name, each a stack of (frame, line), outermost first.
        **options: Of `pdb.Pdb`.
    """

    def __init__(self, stacks: Mapping[str, Stack], **options: Any) -> None:
        super().__init__(nosigint=True, readrc=False, **options)
        self._stacks = stacks
        self._shown = next(iter(stacks))
        self.prompt = "(durable) "

    def look(self) -> None:
        """Talk with the person until they quit."""
        self.reset()
        self.interaction(self._stacks[self._shown][-1][0], None)

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[Stack, int]:
        """Return the frames of the chosen task: suspended ones do not know their callers."""
        del f, t
        stack = self._stacks[self._shown]
        return stack, len(stack) - 1

    def do_tasks(self, argument: str) -> None:
        """tasks: list the tasks of the run, and where each waits."""
        del argument
        for name, stack in self._stacks.items():
            frame, line = stack[-1]
            mark = ">" if name == self._shown else " "
            self.message(f"{mark} {name}  {frame.f_code.co_filename}:{line}")

    def do_task(self, argument: str) -> None:
        """Task NAME: look into another task."""
        if argument not in self._stacks:
            self.error(f"there is no task {argument!r}; there are {', '.join(self._stacks)}")
            return
        self._shown = argument
        frame = self._stacks[argument][-1][0]
        self.setup(frame, None)
        self.print_stack_entry(self.stack[self.curindex])

    def _no(self, argument: str) -> None:
        """Not possible: the code stands still; look at it, or quit and choose another --at."""
        del argument
        self.error("the code stands still here; choose another place with --at")

    do_next = do_n = do_step = do_s = do_continue = do_c = do_cont = do_return = do_r = _no  # type: ignore[assignment]
    do_until = do_unt = do_jump = do_j = do_run = do_restart = _no  # type: ignore[assignment]


def scripted(stacks: Mapping[str, Stack], commands: Sequence[str]) -> str:
    """Type commands into a debugger; return what it says."""
    said = io.StringIO()
    typed = io.StringIO("".join(f"{one}\n" for one in (*commands, "quit")))
    debugger = Debugger(stacks, stdin=typed, stdout=said)
    debugger.prompt = ""
    debugger.use_rawinput = False
    debugger.look()
    return said.getvalue().expandtabs(4)


def own_frames(stopped: Stopped, library: str) -> dict[str, Stack]:
    """Return the user's frames of each task that has any; of a failed run those of the error."""
    if stopped.error is not None:
        stack = [one for one in frames_of_error(stopped.error) if _is_own(one[0], library)]
        return {"the failure": stack} if stack else {}
    stacks = {
        name: [(frame, frame.f_lineno) for frame in frames if _is_own(frame, library)]
        for name, frames in stopped.tasks.items()
    }
    return {name: stack for name, stack in stacks.items() if stack}


def frames_of_error(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames that an exception came through, outermost first."""
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def locals_of(stack: Stack) -> Iterator[str]:
    """Yield a line for each frame, and one for each of its variables; all of it clean."""
    for frame, line in stack:
        code = frame.f_code
        yield clean(f"  {code.co_filename}:{line} in {code.co_qualname}")
        for name, value in frame.f_locals.items():
            yield f"    {clean(name)} = {clean(_shown(value))}"


def _shown(value: object) -> str:
    try:
        return _repr.repr(value)
    except Exception as error:  # noqa: BLE001  somebody's __repr__
        return f"<its repr raised {type(error).__name__}>"


def _is_own(frame: FrameType, library: str) -> bool:
    file = frame.f_code.co_filename
    return not file.startswith((library, "<frozen")) and "/asyncio/" not in file
