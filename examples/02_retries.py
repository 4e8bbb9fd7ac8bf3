"""What happens when activities fail: retries, giving up, falling back, catching.

Which attempt fails is decided by its number alone, so that every run of this file tells the same
story. Usage: ``python 02_retries.py [FILE]``; run it twice, and the second run returns the recorded
result without calling anything.
"""

import sys

import durable
from durable import Retry, activity, workflow


class CardDeclined(Exception):
    """The bank's last word."""


@activity(
    retry=Retry(
        max_attempts=5,  # the first one counts
        initial_interval=0.05,  # then 0.1 s, 0.2 s ...
        backoff=2,
        max_interval=1,  # ... but never longer than that
        jitter=0.1,  # each wait is up to 10 % shorter or longer
    )
)
async def fetch_price(item: str) -> str:
    number = durable.attempt().number
    if number < 3:
        raise ConnectionError(f"the shop hung up on attempt {number}")
    return f"{item}: 12.50, at attempt {number}"


@activity(retry=Retry(max_attempts=10, initial_interval=0.05, give_up_on=(CardDeclined,)))
async def charge(card: str) -> None:
    attempt = durable.attempt()
    # A real call would pass attempt.idempotency_key on: it is the same in every attempt, so that
    # the bank recognises a repeated one.
    raise CardDeclined(f"card {card} at attempt {attempt.number}")


@activity
def ask_cache(city: str) -> str:
    return f"{city}: 20 degrees, from the cache"


@activity(retry=Retry(max_attempts=2, initial_interval=0.05), fallback=ask_cache)
def ask_satellite(city: str) -> str:
    raise TimeoutError(f"no satellite over {city}")


@activity(retry=Retry(max_attempts=3))  # its 1 s of waiting gives way to what the service says
async def call_busy_service() -> str:
    if durable.attempt().number == 1:
        raise durable.RetryAfter(0.1)
    return f"served at attempt {durable.attempt().number}"


@workflow
async def shop() -> list[str]:
    story = [f"retried until it worked: {await fetch_price('tea')}"]
    try:
        await charge("1234")
    except CardDeclined as error:  # the exception itself, with its arguments, also after a crash
        story.append(f"given up at once, caught in the workflow: {error.args[0]}")
    story.append(f"fell back: {await ask_satellite('Lisbon')}")
    story.append(f"waited as long as it was told: {await call_busy_service()}")
    return story


if __name__ == "__main__":
    db = sys.argv[1] if len(sys.argv) > 1 else "retries.db"
    for line in durable.run(db, shop.options(id="shop")):
        print(line)
