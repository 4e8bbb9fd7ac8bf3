"""The client's verbs for plain functions: Flask views, scripts, notebook cells.

One generic portal: each verb here is the async one, called on a thread that runs an event loop.
Nothing is written twice; signatures and types are the originals'.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar

from durable.client._bulk import Job
from durable.client._client import Client
from durable.client._run import Item, Run
from durable.errors import UsageError

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from durable.inspection import EventView, JobView
    from durable.messages import Stream, Value

__all__ = ["BlockingClient", "BlockingRun"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])


Stub = Callable[[Any], None]
"""The place of a verb in the class: a name and a docstring."""


def _of_client(
    verb: Callable[Concatenate[Client, P], Coroutine[Any, Any, R]],
) -> Callable[[Stub], Callable[Concatenate[BlockingClient, P], R]]:
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._call(lambda: verb(self._client, *args, **kwargs))

    return _in_place_of(call, verb)


def _run_of_client(
    verb: Callable[Concatenate[Client, P], Coroutine[Any, Any, Run[R]]],
) -> Callable[[Stub], Callable[Concatenate[BlockingClient, P], BlockingRun[R]]]:
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> BlockingRun[R]:
        run = self._call(lambda: verb(self._client, *args, **kwargs))
        return BlockingRun(self, run)

    return _in_place_of(call, verb)


def _job_of_client(
    verb: Callable[Concatenate[Client, P], Coroutine[Any, Any, Job]],
) -> Callable[[Stub], Callable[Concatenate[BlockingClient, P], JobView]]:
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> JobView:
        async def ended() -> JobView:
            return await (await verb(self._client, *args, **kwargs)).wait()

        return self._call(ended)

    return _in_place_of(call, verb)


def _of_run(
    verb: Callable[Concatenate[Run[Any], P], Coroutine[Any, Any, R]],
) -> Callable[[Stub], Callable[Concatenate[BlockingRun[Any], P], R]]:
    def call(self: BlockingRun[Any], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._client._call(lambda: verb(self._run, *args, **kwargs))

    return _in_place_of(call, verb)


def _in_place_of(call: F, verb: Callable[..., Any]) -> Callable[[Stub], F]:
    def decorate(_stub: Stub) -> F:
        functools.update_wrapper(call, verb)
        return call

    return decorate


class BlockingRun(Generic[R_co]):
    """A handle on one run, for plain functions; see `Run`."""

    def __init__(self, client: BlockingClient, run: Run[R_co]) -> None:
        self._client = client
        self._run = run
        self.id: str = run.id
        self.ordinal: int = run.ordinal
        self.workflow: str = run.workflow

    @property
    def name(self) -> str:
        """The id as people write it: with the ordinal from the second on."""
        return self._run.name

    def result(self) -> R_co:
        """See `Run.result`."""
        return self._client._call(self._run.result)

    def retry(
        self, *, anyway: bool = False, again: Sequence[str] = (), reason: str = ""
    ) -> BlockingRun[R_co]:
        """See `Run.retry`."""
        verb = functools.partial(self._run.retry, anyway=anyway, again=again, reason=reason)
        return BlockingRun(self._client, self._client._call(verb))

    def restart(
        self,
        from_: str = "failed",
        *,
        input: Sequence[object] | Mapping[str, object] | None = None,
        outputs: Mapping[str, object] | None = None,
        messages: Literal["keep", "drop"] = "keep",
        children: Literal["keep", "again"] | None = None,
        again: Sequence[str] = (),
        reason: str = "",
    ) -> BlockingRun[R_co]:
        """See `Run.restart`."""
        verb = functools.partial(
            self._run.restart, from_, input=input, outputs=outputs, messages=messages,
            children=children, again=again, reason=reason,
        )  # fmt: skip
        return BlockingRun(self._client, self._client._call(verb))

    @_of_run(Run[Any].wait)
    def wait(self) -> None:
        """See `Run.wait`."""

    @_of_run(Run[Any].status)
    def status(self) -> None:
        """See `Run.status`."""

    @_of_run(Run[Any].details)
    def details(self) -> None:
        """See `Run.details`."""

    @_of_run(Run[Any].history)
    def history(self) -> None:
        """See `Run.history`."""

    @_of_run(Run[Any].cancel)
    def cancel(self) -> None:
        """See `Run.cancel`."""

    @_of_run(Run[Any].terminate)
    def terminate(self) -> None:
        """See `Run.terminate`."""

    @_of_run(Run[Any].skip)
    def skip(self) -> None:
        """See `Run.skip`."""

    @_of_run(Run[Any].fail)
    def fail(self) -> None:
        """See `Run.fail`."""

    @_of_run(Run[Any].edit)
    def edit(self) -> None:
        """See `Run.edit`."""

    @_of_run(Run[Any].accept)
    def accept(self) -> None:
        """See `Run.accept`."""

    @_of_run(Run[Any].pause)
    def pause(self) -> None:
        """See `Run.pause`."""

    @_of_run(Run[Any].resume)
    def resume(self) -> None:
        """See `Run.resume`."""

    @_of_run(Run[Any].remove)
    def remove(self) -> None:
        """See `Run.remove`."""

    @_of_run(Run[Any].signal)
    def signal(self) -> None:
        """See `Run.signal`."""

    @_of_run(Run[Any].update)
    def update(self) -> None:
        """See `Run.update`."""

    @_of_run(Run[Any].update_result)
    def update_result(self) -> None:
        """See `Run.update_result`."""

    @_of_run(Run[Any].query)
    def query(self) -> None:
        """See `Run.query`."""

    @_of_run(Run[Any].read)
    def read(self) -> None:
        """See `Run.read`."""

    def watch(self, value: Value[T]) -> Iterator[T]:
        """See `Run.watch`."""
        return self._client._iterate(self._run.watch(value))

    def tail(self, stream: Stream[T], *, from_: int = 0) -> Iterator[Item[T]]:
        """See `Run.tail`."""
        return self._client._iterate(self._run.tail(stream, from_=from_))

    def events(self, *, after: int = 0) -> Iterator[EventView]:
        """See `Run.events`."""
        return self._client._iterate(self._run.events(after=after))

    def __repr__(self) -> str:
        return repr(self._run)


class BlockingClient:
    """A client for plain functions, from any thread; made by `Client.blocking`.

    Use it as a context manager: it opens the file on a thread that runs an event loop.
    """

    def __init__(self, client: Client) -> None:
        self._asked = client
        self._client = client
        self._portal: BlockingPortal | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        from anyio.from_thread import start_blocking_portal

        self._client = self._asked._for_threads()
        self._client._require_elsewhere()
        with contextlib.ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            self._portal = portal
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal = None
        self._stack.__exit__(kind, error, traceback)

    @property
    def path(self) -> str:
        """The file, as given."""
        return self._client.path

    def acting_as(self, who: str) -> Self:
        """See `Client.acting_as`."""
        made = copy.copy(self)
        made._client = self._client.acting_as(who)
        return made

    def _call(self, make: Callable[[], Coroutine[Any, Any, R]]) -> R:
        if self._portal is None:
            raise UsageError("the client is not open; use `with client.blocking() as c`")
        self._client._require_elsewhere()
        result: R = self._portal.call(make)
        return result

    def _iterate(self, found: AsyncIterator[T]) -> Iterator[T]:
        end: Any = object()

        async def following() -> Any:
            return await anext(found, end)

        try:
            while (item := self._call(following)) is not end:
                yield item
        finally:
            close = getattr(found, "aclose", None)
            if close is not None and self._portal is not None:
                self._portal.call(close)

    @_run_of_client(Client.start)
    def start(self) -> None:
        """See `Client.start`."""

    @_run_of_client(Client.get)
    def get(self) -> None:
        """See `Client.get`."""

    @_run_of_client(Client.signal_with_start)
    def signal_with_start(self) -> None:
        """See `Client.signal_with_start`."""

    @_of_client(Client.update_with_start)
    def update_with_start(self) -> None:
        """See `Client.update_with_start`."""

    @_of_client(Client.list)
    def list(self) -> None:
        """See `Client.list`."""

    def events(self, query: str = "") -> Iterator[EventView]:
        """See `Client.events`."""
        return self._iterate(self._client.events(query))

    @_of_client(Client.count)
    def count(self) -> None:
        """See `Client.count`."""

    @_of_client(Client.stats)
    def stats(self) -> None:
        """See `Client.stats`."""

    @_of_client(Client.backup)
    def backup(self) -> None:
        """See `Client.backup`."""

    @_of_client(Client.export)
    def export(self) -> None:
        """See `Client.export`."""

    @_of_client(Client.import_)
    def import_(self) -> None:
        """See `Client.import_`."""

    @_of_client(Client.issues)
    def issues(self) -> None:
        """See `Client.issues`."""

    @_of_client(Client.set_issue)
    def set_issue(self) -> None:
        """See `Client.set_issue`."""

    @_job_of_client(Client.retry_all)
    def retry_all(self) -> None:
        """See `Client.retry_all`; waits until it is done."""

    @_job_of_client(Client.restart_all)
    def restart_all(self) -> None:
        """See `Client.restart_all`; waits until it is done."""

    @_job_of_client(Client.cancel_all)
    def cancel_all(self) -> None:
        """See `Client.cancel_all`; waits until it is done."""

    @_job_of_client(Client.terminate_all)
    def terminate_all(self) -> None:
        """See `Client.terminate_all`; waits until it is done."""

    @_job_of_client(Client.pause_all)
    def pause_all(self) -> None:
        """See `Client.pause_all`; waits until it is done."""

    @_job_of_client(Client.resume_all)
    def resume_all(self) -> None:
        """See `Client.resume_all`; waits until it is done."""

    @_job_of_client(Client.remove_all)
    def remove_all(self) -> None:
        """See `Client.remove_all`; waits until it is done."""

    @_job_of_client(Client.prune)
    def prune(self) -> None:
        """See `Client.prune`; waits until it is done."""

    @_job_of_client(Client.skip_all)
    def skip_all(self) -> None:
        """See `Client.skip_all`; waits until it is done."""

    @_job_of_client(Client.fail_all)
    def fail_all(self) -> None:
        """See `Client.fail_all`; waits until it is done."""

    @_job_of_client(Client.accept_all)
    def accept_all(self) -> None:
        """See `Client.accept_all`; waits until it is done."""

    @_job_of_client(Client.edit_all)
    def edit_all(self) -> None:
        """See `Client.edit_all`; waits until it is done."""

    @_job_of_client(Client.signal_all)
    def signal_all(self) -> None:
        """See `Client.signal_all`; waits until it is done."""

    @_job_of_client(Client.pause_workflow)
    def pause_workflow(self) -> None:
        """See `Client.pause_workflow`; waits until it is done."""

    @_job_of_client(Client.pause_queue)
    def pause_queue(self) -> None:
        """See `Client.pause_queue`; waits until it is done."""

    @_job_of_client(Client.resume_workflow)
    def resume_workflow(self) -> None:
        """See `Client.resume_workflow`; waits until it is done."""

    @_job_of_client(Client.resume_queue)
    def resume_queue(self) -> None:
        """See `Client.resume_queue`; waits until it is done."""

    @_of_client(Client.holds)
    def holds(self) -> None:
        """See `Client.holds`."""

    @_of_client(Client.jobs)
    def jobs(self) -> None:
        """See `Client.jobs`."""

    @_run_of_client(Client.resolve)
    def resolve(self) -> None:
        """See `Client.resolve`."""

    @_run_of_client(Client.reject)
    def reject(self) -> None:
        """See `Client.reject`."""
