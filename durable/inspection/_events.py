"""Events as people read them: what kind of thing each was, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from durable._core.events import Kind
from durable.inspection._texts import cut, decoded_text, moment, summary_of_payload, time_of
from durable.inspection._views import AttemptView, StepView, UpdateView

if TYPE_CHECKING:
    import datetime as dt

    from durable._core.events import Event
    from durable._store.rows import StepRow

__all__ = ["RUNNING", "Told", "abandoned_step", "damaged", "pending_step"]

# By the kind of the event: the kind and the status of what it tells.
_LOOKS: Mapping[int, tuple[str, str]] = {
    int(Kind.COMPLETED): ("activity", "completed"),
    int(Kind.FAILED): ("activity", "failed"),
    int(Kind.FIRED): ("timer", "fired"),
    int(Kind.CANCEL_REQUESTED): ("cancel", "requested"),
    int(Kind.PATCHED): ("patch", "patched"),
    int(Kind.RECEIVED): ("signal", "received"),
    int(Kind.UPDATE_ACCEPTED): ("update", "accepted"),
    int(Kind.CHILD_COMPLETED): ("child", "completed"),
    int(Kind.CHILD_FAILED): ("child", "failed"),
    int(Kind.ACTED): ("call", "completed"),
    int(Kind.REFUSED): ("call", "failed"),
    int(Kind.RESOLVED): ("promise", "resolved"),
    int(Kind.REJECTED): ("promise", "rejected"),
    int(Kind.TIMED_OUT): ("run_timeout", "reached"),
}
_TOOK_TIME = frozenset({"activity", "child", "timer"})
_ERRORS = frozenset({"failed", "rejected"})
# How the runtime calls what a run does to other runs; a child's start has its workflow's name.
_TO_OTHERS = ("signal ", "cancel")


class Told:
    """Tells the events of one run, one after another, in order.

    Args:
        zero_us: The zero of their times.
        answers: How its updates ended, by id.
        buried: The events of signals that became dead letters.
        received: How many signals of each name came before.
    """

    def __init__(
        self,
        zero_us: int,
        answers: Mapping[str, UpdateView],
        buried: AbstractSet[int],
        received: Mapping[str, int] | None = None,
    ) -> None:
        self._zero_us = zero_us
        self._answers = answers
        self._buried = buried
        self.received = dict(received or {})
        """How many signals of each name came so far."""
        self.accepted: dict[str, str] = {}
        """The updates so far: names by id."""
        self.payloads: dict[int, str] = {}
        """What the buried signals carried, by the seq of their events."""

    def step_of(self, event: Event, attempts: Sequence[AttemptView]) -> StepView:
        """Return what an event tells; ``attempts`` are the failed ones of its step."""
        kind, status = _LOOKS[event.kind]
        name, step, result = event.name or kind, event.step, event.result
        tries, error, arguments = 0, "", event.arguments
        took_us = event.took_us if kind in _TOOK_TIME else None
        if status in _ERRORS:
            error = summary_of_payload(result)
            result = b""
        match kind:
            case "activity":
                tries = max(1, len(attempts) + (status == "completed"))
            case "call" if not name.startswith(_TO_OTHERS):
                name = f"start {name}"
            case "cancel":
                error, result = decoded_text(cut(result)), b""
            case "signal":
                number = self.received[name] = self.received.get(name, 0) + 1
                step, arguments, result = f"signal:{name}#{number}", result, b""
                if event.seq in self._buried:
                    self.payloads[event.seq] = cut(arguments)
            case "update":
                return self._update(event)
        return StepView(
            step=step,
            kind=kind,
            name=name,
            status=status,
            tries=tries,
            ended=self.time_of(event),
            took_us=took_us,
            next_try=None,
            error=error,
            arguments=cut(arguments),
            result=cut(result),
            attempts=attempts,
        )

    def damaged(self, event: Event, reason: str, attempts: Sequence[AttemptView]) -> StepView:
        """Return what stands in the place of an event that does not read."""
        kind, _ = _LOOKS.get(event.kind, ("", ""))
        name = event.name or kind
        return damaged(reason, event.step, kind, name, self.time_of(event), attempts)

    def time_of(self, event: Event) -> dt.datetime:
        """Return when an event happened, UTC."""
        return time_of(self._zero_us + event.at_us)

    def _update(self, event: Event) -> StepView:
        self.accepted[event.step] = event.name
        answer = self._answers.get(event.step)
        accepted = self.time_of(event)
        took_us = None
        if answer is not None and answer.answered is not None:
            took_us = max(0, round((answer.answered - accepted).total_seconds() * 1e6))
        return StepView(
            step=f"update:{event.step}",
            kind="update",
            name=event.name,
            status="accepted" if answer is None else answer.status,
            tries=0,
            ended=accepted,
            took_us=took_us,
            next_try=None,
            error="" if answer is None else answer.error,
            arguments=cut(event.arguments),
            result="" if answer is None else answer.answer,
            attempts=(),
        )


# Pending steps whose code runs, as far as the file knows.
RUNNING = frozenset({"running", "intent"})


def pending_step(row: StepRow, attempts: Sequence[AttemptView]) -> StepView:
    """Return a step that is tried again, waits long or is served elsewhere."""
    return StepView(
        step=row.step, kind="activity", name=row.name, status=row.state,
        tries=row.attempt - (row.state in {"retrying", "exhausted"}), ended=None, took_us=None,
        next_try=moment(row.retry_at_us) if row.state == "retrying" else None,
        error=row.error or "", arguments=row.arguments or "", result="", attempts=attempts,
        started=moment(row.started_us) if row.state in RUNNING else None,
        details=row.details or "",
    )  # fmt: skip


def abandoned_step(step: str, attempts: Sequence[AttemptView]) -> StepView:
    """Return a step that nobody waits for any more: its attempts are all that is known of it."""
    return StepView(
        step=step, kind="activity", name="", status="abandoned", tries=len(attempts), ended=None,
        took_us=None, next_try=None, error=attempts[-1].error, arguments="", result="",
        attempts=attempts,
    )  # fmt: skip


def damaged(
    reason: str,
    step: str = "",
    kind: str = "",
    name: str = "",
    ended: dt.datetime | None = None,
    attempts: Sequence[AttemptView] = (),
) -> StepView:
    """Return what stands in the place of a step that does not read."""
    placeholder = f"<{reason}>"
    return StepView(
        step=step, kind=kind, name=name, status="damaged", tries=len(attempts), ended=ended,
        took_us=None, next_try=None, error=reason, arguments=placeholder, result=placeholder,
        attempts=attempts,
    )  # fmt: skip
