"""How long an attempt that failed asks to be left alone, and how long the policy waits."""

import datetime as dt
import email.utils
import pickle

import pytest

from durable import Retry, RetryAfter
from durable.durations import RETRY_AFTER_S_MAX
from durable.errors import UsageError


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (60, 60), (0, 0), (0.5, 0.5), ("120", 120), (" 7 ", 7), ("30s", 30), ("1h30m", 5_400),
        (dt.timedelta(minutes=2), 120), ("500ms", 0.5), (RETRY_AFTER_S_MAX, RETRY_AFTER_S_MAX),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wednesday, 21-Oct-15 07:28:00 GMT", 0),
    ],
)  # fmt: skip
def test_it_takes_what_servers_and_people_say(said, seconds):
    assert RetryAfter(said).seconds == seconds


def test_a_date_ahead_is_a_wait():
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)

    found = RetryAfter(email.utils.format_datetime(at, usegmt=True)).seconds

    assert 3_590 < found <= 3_600


@pytest.mark.parametrize(
    "said",
    [None, float("nan"), float("inf"), -1, -0.5, dt.timedelta(-1), "soon", "", "12:30", True, [],
     1e18, 10**400, -(10**400), "9" * 400, RETRY_AFTER_S_MAX + 1,
     "-5", "1e3", b"120", "Wed, 99 Oct 2015 07:28:00 GMT"],
)  # fmt: skip
def test_anything_else_is_refused_where_it_is_made(said):
    with pytest.raises(UsageError, match="RetryAfter"):
        RetryAfter(said)


def test_it_pickles():
    back = pickle.loads(pickle.dumps(RetryAfter("120", "busy")))

    assert (back.seconds, back.message) == (120, "busy")


def test_its_wait_is_the_same_wherever_it_is_made_again():
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    said = [email.utils.format_datetime(at), "0.1s", 0.3, 1 / 3, dt.timedelta(microseconds=7)]

    for one in map(RetryAfter, said):
        assert RetryAfter(one.seconds).seconds == one.seconds
        assert pickle.loads(pickle.dumps(one)).seconds == one.seconds


@pytest.mark.parametrize("backoff", [0.5, float("nan"), float("inf"), 10**400, "2", None, True])
def test_a_back_off_is_a_number_of_one_or_more(backoff):
    with pytest.raises(UsageError, match=r"Retry\.backoff"):
        Retry(backoff=backoff)


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan"), 10**400, "0", None])
def test_a_jitter_is_a_number_of_zero_to_one(jitter):
    with pytest.raises(UsageError, match=r"Retry\.jitter"):
        Retry(jitter=jitter)


def test_a_huge_number_is_no_interval():
    with pytest.raises(UsageError, match="10,000 years"):
        Retry(max_interval=10**400)


@pytest.mark.parametrize(
    ("policy", "attempt"),
    [(Retry(backoff=1e5), 65), (Retry(backoff=1e300), 3), (Retry(backoff=2), 10**6),
     (Retry(backoff=1e308, max_interval="5d"), 10**9)],
)  # fmt: skip
def test_the_back_off_never_overflows(policy, attempt):
    longest = policy.wait_us(attempt, 0.5)

    assert longest == policy.wait_us(attempt + 1, 0.5)
    assert 0 < longest <= 5 * 86_400_000_000


def test_an_interval_of_nothing_tries_again_at_once():
    assert Retry(initial_interval=0).wait_us(50, 1.0) == 0
    with pytest.raises(UsageError, match="initial_interval"):
        Retry(initial_interval=-1)


@pytest.mark.parametrize(
    "interval", [-1, -0.001, dt.timedelta(seconds=-1), dt.timedelta(days=-1, hours=23)]
)
def test_no_interval_is_negative(interval):
    with pytest.raises(UsageError, match="initial_interval must not be negative"):
        Retry(initial_interval=interval)
    with pytest.raises(UsageError, match="max_interval must be longer than 0"):
        Retry(max_interval=interval)
