"""Why an open run waits: what is written down when it is parked, and shown to people."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from durable._core.events import Kind
from durable._core.machines import GOING, AttemptState, StepState
from durable._runtime.known_signals import known_signals
from durable._runtime.logs import about
from durable.payloads import encode_document

if TYPE_CHECKING:
    from durable._runtime.runs import LiveRun
    from durable._store.rows import RunRow

__all__ = ["row_now", "waits_for_places", "waits_of"]

logger = logging.getLogger("durable.engine")

ONLY_A_CANCEL = "only a cancel can wake it"
# What a waiting run is said to wait for, at most; it may be thousands of children.
AWAITED_MAX = 5


def row_now(run: LiveRun, row: RunRow) -> RunRow:
    """Return the row of a run in memory as it would be if each wait were written down at once."""
    if row.state not in {"ready", "parked"} or run.state not in GOING or run.uncommitted:
        return row
    if not run.is_working:
        wake_at_us, waits = waits_of(run, tell=False)
        return attrs.evolve(row, state="parked", wake_at_us=wake_at_us, waits=waits)
    queue = waits_of(run)[1] if waits_for_places(run) else None
    return attrs.evolve(row, state="ready", wake_at_us=None, waits=queue)


def waits_for_places(run: LiveRun) -> bool:
    """Say whether attempts of a run wait for their places, and none has one."""
    waits = False
    for one in run.pending.values():
        if one.attempt is not None and one.is_in_hand:
            if one.attempt.state is not AttemptState.WAITING:
                return False
            waits = True
    return waits


def waits_of(run: LiveRun, *, tell: bool = True) -> tuple[int | None, str]:
    """Return when the run wakes by itself, and what it waits for, as its row has it.

    Args:
        run: None of its attempts has a place.
        tell: Whether a run that nothing durable can wake is told in the log, once.
    """
    due = _due(run)
    waits = _for_activities(run) or _for_others(run, due, tell=tell)
    unreceived = Counter(one.name for one in run.driver.mailbox.unreceived())
    if unreceived:
        waits["unreceived"] = dict(unreceived.most_common(AWAITED_MAX))
    if known := known_signals(run.workflow.fn, run.driver.mailbox):
        waits["signals"] = known
    return (min(due)[0] if due else None), encode_document(waits).decode()


def _due(run: LiveRun) -> list[tuple[int, str]]:
    """Return (when, which step) of each timer that wakes the run."""
    due = [(handle.due_us, step) for step, handle in run.timers.items()]
    for one in run.pending.values():
        if one.state is StepState.AWAITING:
            due += [(timer.due_us, one.step_id) for timer in one.timers or ()]
        elif one.retry_at_us is not None:
            due.append((one.retry_at_us, one.step_id))
    if run.limit_timer is not None:
        due.append((run.limit_timer.due_us, "run_timeout"))
    return due


def _for_activities(run: LiveRun) -> dict[str, Any]:
    """Return which attempt of the run comes next, or waits for its place; empty if none does."""
    retries = [one for one in run.pending.values() if one.retry_at_us is not None]
    if retries:
        next_one = min(retries, key=lambda one: one.retry_at_us or 0)
        return {
            "kind": "retrying",
            "step": next_one.step_id,
            "name": next_one.activity.name,
            "attempt": next_one.number,
            "at_us": next_one.retry_at_us,
            "error": next_one.last_error,
        }
    queued = [
        one.attempt for one in run.pending.values() if one.attempt is not None and one.is_in_hand
    ]
    if queued:
        oldest = min(queued, key=lambda one: one.since_us)
        return {
            "kind": "queued",
            "step": oldest.step_id,
            "name": oldest.activity.name,
            "since_us": oldest.since_us,
            "steps": len(queued),
            "holder": run.worker.activities.what_holds_up(oldest),
        }
    return {}


def _for_others(run: LiveRun, due: list[tuple[int, str]], *, tell: bool) -> dict[str, Any]:
    """Return which message, child or timer the run waits for."""
    awaited = [*_closing(run), *_awaited(run)]
    if awaited:
        waits: dict[str, Any] = {"kind": "waiting", "for": awaited}
        if promises := _promises(run):
            waits["promises"] = promises
        return waits
    if due:
        return {"kind": "sleeping", "step": min(due)[1], "at_us": min(due)[0]}
    if run.driver.waits_for_nothing:
        if tell:
            _tell_once(run)
        return {"kind": "waiting", "for": [ONLY_A_CANCEL]}
    return {"kind": "waiting", "for": run.driver.mailbox.heard[:AWAITED_MAX]}


def _tell_once(run: LiveRun) -> None:
    """Warn that nothing durable can wake the run: a mistake, or how a server waits."""
    if not run.driver.note_that_it_waits_for_nothing():
        return
    with about(run.subject()):
        logger.warning(
            "run %s waits for nothing that is durable: %s. If that is a mistake, await an "
            "activity, a timer or a message instead (a future of another loop, a lock nobody "
            "releases and a queue nobody fills look like this)\n%s",
            run.row.name,
            ONLY_A_CANCEL,
            run.driver.loop.stack(),
        )


def _closing(run: LiveRun) -> list[str]:
    """Return which handlers a run waits for that ends, for people."""
    if not run.driver.is_closing:
        return []
    paths = run.driver.mailbox.open_handlers
    shown = ", ".join(path.replace(":", " ", 1) for path in paths[:AWAITED_MAX])
    return [f"the end of its handlers ({shown}): its main function has ended"] if paths else []


def _awaited(run: LiveRun) -> list[str]:
    """Return what the run waits for from outside, for people; the first few."""
    found = [f"signal {name}" for name in run.driver.mailbox.awaited[:AWAITED_MAX]]
    for step_id, step in run.driver.loop.steps.items():
        if len(found) >= AWAITED_MAX:
            break
        if step.kind == Kind.CHILD_COMPLETED:
            found.append(f"child {step.name} (step {step_id.removesuffix('!end')})")
        elif step.kind == Kind.RESOLVED:
            found.append(f"promise {step.name} (step {step_id})")
        elif step_id in run.pending and run.pending[step_id].awaits_token:
            found.append(f"the answer to {step.name} (step {step_id})")
    return found


def _promises(run: LiveRun) -> dict[str, str]:
    """Return the promises it waits for: names by step; the first few."""
    steps = run.driver.loop.steps.items()
    found = [(step_id, step.name) for step_id, step in steps if step.kind == Kind.RESOLVED]
    return dict(found[:AWAITED_MAX])
