"""Why an open run waits: what is written down when it is parked, and shown to people."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from durable._core.events import Kind
from durable._core.machines import StepState
from durable._runtime.logs import about

if TYPE_CHECKING:
    from durable._runtime.runs import LiveRun

__all__ = ["waits_of"]

logger = logging.getLogger("durable.engine")

ONLY_A_CANCEL = "only a cancel can wake it"
# What a waiting run is said to wait for, at most; it may be thousands of children.
AWAITED_MAX = 5


def waits_of(run: LiveRun) -> tuple[int | None, dict[str, Any]]:
    """Return when the run wakes by itself, and what it waits for."""
    retries = [one for one in run.pending.values() if one.retry_at_us is not None]
    due = [(handle.due_us, step) for step, handle in run.timers.items()]
    for one in run.pending.values():
        if one.state is StepState.AWAITING:
            due += [(timer.due_us, one.step_id) for timer in one.timers or ()]
    if run.limit_timer is not None:
        due.append((run.limit_timer.due_us, "run_timeout"))
    awaited = [*_closing(run), *_awaited(run)]
    if retries:
        first = min(retries, key=lambda one: one.retry_at_us or 0)
        waits: dict[str, Any] = {
            "kind": "retrying",
            "step": first.step_id,
            "name": first.activity.name,
            "attempt": first.number,
            "at_us": first.retry_at_us,
            "error": first.last_error,
        }
        due.append((first.retry_at_us or 0, first.step_id))
    elif awaited:
        waits = {"kind": "waiting", "for": awaited}
        if promises := _promises(run):
            waits["promises"] = promises
    elif due:
        waits = {"kind": "sleeping", "step": min(due)[1], "at_us": min(due)[0]}
    elif run.driver.waits_for_nothing:
        _tell_once(run)
        waits = {"kind": "waiting", "for": [ONLY_A_CANCEL]}
    else:
        waits = {"kind": "waiting", "for": run.driver.mailbox.heard[:AWAITED_MAX]}
    unreceived = Counter(one.name for one in run.driver.mailbox.unreceived())
    if unreceived:
        waits["unreceived"] = dict(unreceived.most_common(AWAITED_MAX))
    return (min(due)[0] if due else None), waits


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
