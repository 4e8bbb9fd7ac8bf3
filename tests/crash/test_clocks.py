"""Clocks that are set, that jitter, and hosts that sleep: no timer is early, late, lost or doubled.

The law: a timer fires as soon as the wall clock shows it due or, within the life of the process
that armed it, the boot clock does. A wall clock that jumps by more than a day is believed once it
has shown so for ten seconds; until then the boot clock alone counts. Hence one second in another
year ends nothing, and years that last end what they should.

The host is simulated (see `sim_loop`), and its clocks are given to the engine. What is expected is
worked out here, from what was done to the clocks, by other code than the library's. Short in
`make test`; `DURABLE_CLOCKS=1000 pytest -m crash` is the long form.
"""

import asyncio
import os
import random
from itertools import pairwise

import pytest

import durable
from durable import Engine, HeartbeatTimeout, Retry, _clock, activity, workflow
from durable._runtime import timers
from durable._runtime.timers import Timers
from tests.crash.sim_loop import Life, simulated

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCENARIOS = int(os.environ.get("DURABLE_CLOCKS", "10"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365.25 * 86_400
# What the library promises, written down once more.
FAR_S, LASTS_S, LATE_S_MAX = DAY, 10.0, 1.0
# What is undone sooner may go unseen.
SEEN_S = 0.55
# Between the end of a step and its event: a commit, and some turns of the loop.
SLACK_S = 0.03
END_S = 100.0


class Marks:
    """When each nap began and ended, by the loop's clock."""

    def __init__(self, loop):
        self.loop = loop
        self.seen = []
        self.wanted = []

    def add(self, name, place):
        self.seen.append((name, place, self.loop.now))


MARKS: list[Marks] = []


@activity
async def mark(name: str, place: int) -> None:
    MARKS[-1].add(name, place)


@workflow
async def naps(name: str, seconds: list[float]) -> None:
    await mark(name, 0)
    for place, nap in enumerate(seconds, 1):
        await asyncio.sleep(nap)
        await mark(name, place)


@workflow
async def sleeps_a_month() -> None:
    await durable.sleep("30d")


@activity(start_to_close=60, retry=Retry(max_attempts=1))
async def works(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "worked"


@activity(heartbeat=5, retry=Retry(max_attempts=1))
async def beats(beats: int, silence: float) -> str:
    for _ in range(beats):
        await asyncio.sleep(1)
        durable.heartbeat()
    await asyncio.sleep(silence)
    return "beaten"


@workflow
async def works_for_long() -> str:
    return await works(50)


@workflow
async def beats_for_long() -> str:
    return await beats(50, 0)


@workflow
async def falls_silent() -> float:
    try:
        await beats(20, 200)
    except HeartbeatTimeout:
        await mark("silent", 1)
        return 1.0
    return 0.0


FUNCTIONS = [naps, sleeps_a_month, works_for_long, beats_for_long, falls_silent]
NAPS = [
    [0.5] * 12,
    [3.0] * 12,
    [7.0, 11.0, 30.0],
    [20.0, 20.0],
    [45.0, 1.0, 1.0, 1.0],
    [1.0] * 40,
    [60.0],
]


# -- what the law says ----------------------------------------------------------------------------


class Oracle:
    """What the clocks showed, and when a nap must have ended.

    Args:
        doings: (when, "step" or "suspend", seconds) in order, by the loop's clock.
    """

    def __init__(self, doings):
        # (from when, boot minus loop, wall minus loop), each until the next.
        slept_s = set_s = 0.0
        raw = [(0.0, 0.0, 0.0)]
        for at, kind, seconds in doings:
            slept_s += seconds if kind == "suspend" else 0.0
            set_s += seconds if kind == "step" else 0.0
            raw.append((at, slept_s, slept_s + set_s))
        self.shown = self._believed(raw)

    @staticmethod
    def _believed(raw):
        """Return what was shown, without far jumps that did not last, and others once they had."""
        found, base = [], 0.0
        doubted_at = None
        for (at, slept_s, wall_s), (until, *_) in zip(raw, [*raw[1:], (1e9, 0, 0)], strict=True):
            is_far = abs(wall_s - slept_s - base) > FAR_S
            if not is_far:
                doubted_at, base = None, wall_s - slept_s
                found.append((at, slept_s, wall_s))
                continue
            # The boot clock says how long it has lasted: a host that slept meanwhile was away.
            doubted_at = at + slept_s if doubted_at is None else doubted_at
            found.append((at, slept_s, slept_s + base))
            believed_at = doubted_at + LASTS_S - slept_s
            if until > believed_at:
                doubted_at, base = None, wall_s - slept_s
                found.append((max(at, believed_at), slept_s, wall_s))
        return found

    def _at(self, moment):
        return [one for one in self.shown if one[0] <= moment][-1]

    def is_changing(self, moment):
        """Say whether what is shown had changed a moment before."""
        return any(0 <= moment - at < SEEN_S for at, _, _ in self.shown[1:])

    def wall(self, moment):
        """Return what the wall clock showed, from 0 at the beginning on."""
        return moment + self._at(moment)[2]

    def due(self, armed, seconds, run_s):
        """Return when a clock first showed that so many seconds had passed since a moment.

        Args:
            armed: The moment.
            seconds: So many.
            run_s: What the run's clock, which never goes back, showed then.
        """
        slept_s, lead_s = self._at(armed)[1], run_s - armed
        ends = [one[0] for one in self.shown[1:]] + [float("inf")]
        for (begin, slept, wall), end in zip(self.shown, ends, strict=True):
            if end <= armed:
                continue
            ahead = max(slept - slept_s, wall - lead_s)
            found = max(begin, armed, armed + seconds - ahead)
            if found < end:
                return found
        raise AssertionError


# -- the host -------------------------------------------------------------------------------------


async def _live(loop, path, doings, until):
    marks = MARKS[-1]
    life = Life("engine")
    context = life.context("engine")
    engine = Engine(path, functions=FUNCTIONS, clock=loop.clock, durability="normal", grace=0)

    async def inside(coroutine):
        return await loop.create_task(coroutine, context=context)

    await inside(engine.__aenter__())
    for number, nap in enumerate(NAPS):
        name = f"naps-{number}"
        marks.wanted += [(name, place) for place in range(len(nap) + 1)]
        await inside(engine.start(naps.options(id=name), name, nap))
    for flow in FUNCTIONS[1:]:
        await inside(engine.start(flow.options(id=flow.name)))
    for at, kind, seconds in doings:
        await asyncio.sleep(max(0.0, at - loop.now))
        getattr(loop.clock, kind)(seconds)
        loop.note(kind, seconds)
    await asyncio.sleep(until - loop.now)
    states = {}
    for one in FUNCTIONS[1:]:
        run = await inside(engine.get(one.name))
        state = await inside(run.status())
        states[one.name] = await inside(run.result()) if state == "completed" else state
    await inside(engine.__aexit__(None, None, None))
    return states


def live(path, doings, seed=1, until=END_S):
    """Let some runs live through what is done to the clocks; return what was against the law.

    Args:
        path: A new file.
        doings: (when, "step" or "suspend", seconds), whose moments become those when it was done.
        seed: Of the order and the lateness of everything.
        until: When it ends, by the loop's clock.
    """
    with simulated(seed) as loop:
        marks = Marks(loop)
        MARKS.append(marks)
        try:
            states = loop.run_until_complete(_live(loop, path, doings, until))
        finally:
            MARKS.remove(marks)
        done = [(at, *what) for at, *what in loop.trace if what[0] in ("step", "suspend")]
        problems = [*judge(marks, Oracle(done), until), *loop.timers.twice]
        return problems, states, loop.turns


def judge(marks, oracle, until):
    """Return the naps that ended too early, too late, twice or never."""
    found = []
    moments, run_s = {}, {}
    for name, place, at in marks.seen:
        if (name, place) in moments:
            found.append(f"{name} came to {place} twice")
        moments[name, place] = at
    for name, place in marks.wanted:
        if not place or (name, place - 1) not in moments:
            continue
        began, nap = moments[name, place - 1], NAPS[int(name.rpartition("-")[2])][place - 1]
        clock_s = max(run_s.get(name, 0.0), oracle.wall(began))
        due, ended = oracle.due(began, nap, clock_s), moments.get((name, place))
        run_s[name] = clock_s + nap
        if ended is None:
            if due + LATE_S_MAX < until:
                found.append(f"{name}: nap {place} never ended, and was due at {due:.3f}")
            continue
        # Of what was set just before the engine may not have known when the nap began.
        if ended < due - SLACK_S and not oracle.is_changing(began):
            found.append(f"{name}: nap {place} of {nap} s from {began:.3f} on ended at {ended:.3f},"
                         f" and was due at {due:.3f}")  # fmt: skip
        if ended > due + LATE_S_MAX:
            found.append(f"{name}: nap {place} of {nap} s from {began:.3f} on ended at {ended:.3f},"
                         f" {ended - due:.3f} s late")  # fmt: skip
    return found


# -- what is done to them -------------------------------------------------------------------------

SCENES = {
    "an hour forward": [(20.0, "step", HOUR)],
    "an hour back": [(20.0, "step", -HOUR)],
    "an hour forward and back": [(20.0, "step", HOUR), (24.3, "step", -HOUR)],
    "an hour back and forward": [(20.0, "step", -HOUR), (24.3, "step", HOUR)],
    "ten years back": [(20.0, "step", -10 * YEAR)],
    "one second ten years ahead": [(20.0, "step", 10 * YEAR), (21.0, "step", -10 * YEAR)],
    "one second ten years ago": [(20.0, "step", -10 * YEAR), (21.0, "step", 10 * YEAR)],
    "suspended for an hour": [(20.0, "suspend", HOUR)],
    "suspended at rest": [(50.5, "suspend", HOUR)],
    "suspended, and the wall clock not": [(20.0, "suspend", 60.0), (20.0, "step", -60.0)],
    "suspended, and set an hour back": [(20.0, "suspend", 30.0), (20.0, "step", -HOUR)],
    "jitter": [
        (1.0 + n * 0.37, "step", (-1) ** n * (0.001 + n % 7 / 1_000)) for n in range(200)
    ],
}  # fmt: skip
A_MONTH_GOES_ON = "sleeping"


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("name", SCENES)
def test_no_timer_is_early_late_lost_or_doubled(tmp_path, name):
    problems, states, _ = live(tmp_path / "app.db", SCENES[name])

    assert problems == []
    # While the host sleeps its limits go on: whoever was waited for has gone.
    slept = any(kind == "suspend" and at < 50 for at, kind, _ in SCENES[name])
    assert states == {
        "sleeps_a_month": A_MONTH_GOES_ON,
        "works_for_long": "failed" if slept else "worked",
        "beats_for_long": "failed" if slept else "beaten",
        "falls_silent": 1.0,
    }


def test_ten_years_that_last_end_what_sleeps(tmp_path):
    problems, states, _ = live(tmp_path / "app.db", [(20.0, "step", 10 * YEAR)])

    assert problems == []
    assert states["sleeps_a_month"] is None
    assert states["works_for_long"] == "worked"


def test_nothing_spins_when_clocks_are_set(tmp_path):
    _, _, calm = live(tmp_path / "calm.db", [])
    # Four looks a second for dead workers, two for timers, and what the runs themselves do.
    assert calm < 20 * END_S

    for number, (name, doings) in enumerate(SCENES.items()):
        _, _, turns = live(tmp_path / f"{number}.db", doings)
        # Each that is done to the clocks is itself a turn or two.
        assert turns < 1.25 * calm + 3 * len(doings), name


def random_doings(chance):
    """Return up to five things done to the clocks, each with moments and sizes of chance.

    None is undone before the engine must have seen it: it looks each half second.
    """
    while True:
        found = _random_doings(chance)
        moments = [at for at, _, _ in found]
        if all(later - earlier > SEEN_S for earlier, later in pairwise(moments)):
            return found


def _random_doings(chance):
    found = []
    for _ in range(chance.randint(1, 5)):
        at = round(chance.uniform(1, 85), 3)
        size = chance.choice([0.003, 0.5, 30, HOUR, 12 * HOUR, YEAR, 10 * YEAR])
        size *= chance.choice([-1, 1])
        match chance.choice(["step", "visit", "visit", "suspend"]):
            case "step":
                found.append((at, "step", size))
            case "visit":
                stays = chance.choice([0.6, 1, 4, 8])
                found += [(at, "step", size), (at + stays, "step", -size)]
            case "suspend":
                found.append((at, "suspend", chance.choice([0.5, 60, HOUR])))
    return sorted(found)


@pytest.mark.parametrize("first", range(SEED, SEED + SCENARIOS, 50))
def test_clocks_set_at_random_make_no_timer_early_late_lost_or_doubled(tmp_path, first):
    found = {}
    for seed in range(first, min(first + 50, SEED + SCENARIOS)):
        doings = random_doings(random.Random(seed))
        problems, _, _ = live(tmp_path / f"{seed}.db", doings, seed)
        if problems:
            found[seed] = doings, problems

    assert found == {}


# -- it must be able to fail ----------------------------------------------------------------------


def believe_at_once(patch):
    patch.setattr(_clock, "FAR_JUMP_LASTS_US", 0)


def look_rarely(patch):
    patch.setattr(timers, "SLEEP_S_MAX", 5.0)


def go_by_the_wall_clock_alone(patch):
    push = Timers._push

    def pushed(self, due_us, left_us, callback):
        return push(self, due_us, left_us + 10**15, callback)

    patch.setattr(Timers, "_push", pushed)


def count_from_the_wall_clock(patch):
    at = Timers.at
    patch.setattr(Timers, "at", lambda self, due_us, fire, now_us=None: at(self, due_us, fire))


def fire_early(patch):
    at = Timers.at

    def early(self, due_us, fire, now_us=None):
        return at(self, due_us - 100_000, fire, now_us=now_us)

    patch.setattr(Timers, "at", early)


def limit_by_the_wall_clock(patch):
    def after(self, delay_us, callback):
        return self.at(self._clock.wall_us() + delay_us, callback)

    patch.setattr(Timers, "after", after)


def spin(patch):
    arm = Timers._arm
    patch.setattr(Timers, "_arm", lambda self, left_us: arm(self, left_us // 100))


PLANTED = [
    (believe_at_once, "one second ten years ahead"),
    (look_rarely, "suspended at rest"),
    (go_by_the_wall_clock_alone, "an hour back"),
    (count_from_the_wall_clock, "an hour back"),
    (fire_early, "an hour forward"),
    (limit_by_the_wall_clock, "an hour forward"),
]


@pytest.mark.parametrize(("plant", "name"), PLANTED)
def test_a_planted_bug_is_found(tmp_path, monkeypatch, plant, name):
    plant(monkeypatch)

    with pytest.raises(AssertionError):
        test_no_timer_is_early_late_lost_or_doubled(tmp_path, name)


def test_a_timer_that_fires_twice_is_found(tmp_path, monkeypatch):
    with simulated(1) as loop:
        handle = Timers(loop.clock, loop)
        handle.at(loop.clock.wall_us(), lambda: None)
        (_, _, planted) = handle._by_wall._heap[0]
        fire = planted.callback

        handle.fire_due()
        fire()

        assert loop.timers.fired == 2
        assert loop.timers.twice


def test_a_loop_that_spins_is_found(tmp_path, monkeypatch):
    spin(monkeypatch)

    with pytest.raises(AssertionError):
        test_nothing_spins_when_clocks_are_set(tmp_path)
