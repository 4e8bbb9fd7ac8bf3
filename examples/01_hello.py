"""Two activities and a workflow in one file; run it twice: the second time nothing is called."""

import asyncio
import sys

import durable


@durable.activity
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@durable.activity  # a plain function runs in a thread
def join(greetings: list[str]) -> str:
    return " ".join(greetings)


@durable.workflow
async def hello(names: list[str]) -> str:
    return await join(await asyncio.gather(*(greet(name) for name in names)))


if __name__ == "__main__":
    db = sys.argv[1] if len(sys.argv) > 1 else "hello.db"
    print(durable.run(db, hello.options(id="hello"), ["Ada", "Grace"]))
