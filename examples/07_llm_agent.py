"""An agent that calls tools, with a language model behind HTTP that is slow and hangs up at times.

The conversation is a run: what you say is an update, what the agent answers is its answer. The
model's tokens go into a stream while they come. Each call of the model or of a tool is a step, so
a kill costs at most the call under way: no finished one is paid for twice.

The model here is a fake one, served over real HTTP on loopback by this file, so that nothing is
needed to try it. Usage::

    python 07_llm_agent.py [FILE]               # a conversation of three turns, then goodbye

    python 07_llm_agent.py [FILE] --serve       # or talk to it yourself, from other terminals:
    durable tail chat tokens --join
    durable update chat say '"What is the weather in Lisbon?"'
    durable query chat transcript
    durable signal chat goodbye
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import http.server
import json
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import durable
from durable import Activity, Query, Retry, Signal, Stream, Update, activity, workflow

SCRIPT = [
    "What is the weather in Lisbon?",
    "And what is 6 * 7?",
    "Thank you!",
]
# Of the fake model's luck: with this one it breaks in both ways within these three turns.
SALT = 23
# After so many calls in one turn an agent is going round in circles.
CALLS_MAX = 8


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """What the model wants to be done for it."""

    name: str
    argument: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """One line of the conversation: by the user, the assistant or a tool."""

    role: str
    text: str
    call: ToolCall | None = None


say = Update("say", str, str)
transcript = Query("transcript", list[str])
goodbye = Signal[None]("goodbye")
tokens = Stream("tokens", str)


# -- the activities: the model and its tools -------------------------------------------------------


@activity(retry=Retry(initial_interval=0.05, max_interval=1), start_to_close="30s")
def ask_model(messages: list[Message]) -> Message:
    """Send the conversation to the model, and pass its tokens on while they come."""
    attempt = durable.attempt()
    body = json.dumps({"messages": [[one.role, one.text] for one in messages]})
    # A real service bills per call: by the key it knows one that is made again.
    headers = {"Idempotency-Key": attempt.idempotency_key, "X-Attempt": str(attempt.number)}
    text = ""
    with contextlib.closing(http.client.HTTPConnection(*durable.resource("model"))) as connection:
        connection.request("POST", "/v1/chat", body, headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise ConnectionError(f"the model says {response.status} {response.reason}")
        while line := response.readline():
            said = json.loads(line)
            match said:
                case {"token": str(token)}:
                    text += token
                    tokens.append(token)
                case {"call": {"name": str(name), "argument": str(argument)}}:
                    call = ToolCall(name=name, argument=argument)
                    return Message(role="assistant", text=text, call=call)
                case {"done": True}:
                    tokens.append("\n")
                    return Message(role="assistant", text=text.strip())
    raise ConnectionError(f"the model hung up after {text!r}")


@activity
async def weather(city: str) -> str:
    await asyncio.sleep(0.05)
    return f"{12 + len(city)} degrees and sunny"


@activity
async def calculate(expression: str) -> str:
    left, sign, right = expression.split()
    numbers = int(left), int(right)
    return str({"+": sum(numbers), "*": numbers[0] * numbers[1]}[sign])


TOOLS: dict[str, Activity[[str], str]] = {one.name: one for one in (weather, calculate)}


# -- the workflow ----------------------------------------------------------------------------------


@workflow
async def agent() -> list[str]:
    """Talks until somebody says goodbye; returns what was said."""
    messages: list[Message] = []
    # One turn after another, however many speak at once.
    turn = asyncio.Lock()

    def is_something(text: str) -> None:
        if not text.strip():
            raise ValueError("say something")

    @say.handler(validator=is_something)
    async def on_say(text: str) -> str:
        async with turn:
            messages.append(Message(role="user", text=text))
            for _ in range(CALLS_MAX):
                reply = await ask_model(messages)
                messages.append(reply)
                if reply.call is None:
                    return reply.text
                durable.details(f"calls {reply.call.name}({reply.call.argument})")
                result = await TOOLS[reply.call.name](reply.call.argument)
                messages.append(Message(role="tool", text=result))
            raise RuntimeError(f"no answer within {CALLS_MAX} calls")

    @transcript.handler
    def get_transcript() -> list[str]:
        return [f"{one.role}: {spoken(one)}" for one in messages]

    await goodbye.receive()
    async with turn:  # A turn that has begun is finished first.
        return get_transcript()


def spoken(message: Message) -> str:
    return f"{message.call.name}({message.call.argument})" if message.call else message.text


# -- the model: anything that speaks HTTP would do -------------------------------------------------


class FakeModel(http.server.BaseHTTPRequestHandler):
    """Answers by rules, a token at a time; half of the calls break, at once or in the middle."""

    seconds_per_token = 0.01

    def do_POST(self) -> None:
        """Answer one call."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        messages: list[tuple[str, str]] = json.loads(body)["messages"]
        # Each attempt has its own luck, the same in every run of this file.
        luck = f"{SALT}/{messages[-1]}/{self.headers['X-Attempt']}"
        fate = zlib.crc32(luck.encode()) % 4
        if fate == 0:
            self.send_error(503, "Overloaded")
            return
        self.send_response(200)
        self.end_headers()
        for number, line in enumerate(answer(messages)):
            if fate == 1 and number == 3:
                return  # It hangs up in the middle of a sentence.
            self.wfile.write(json.dumps(line).encode() + b"\n")
            self.wfile.flush()
            time.sleep(self.seconds_per_token)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


def answer(messages: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    role, text = messages[-1]
    if role == "user" and "weather in " in text:
        yield from words("I will look. ")
        yield {"call": {"name": "weather", "argument": text.rpartition(" in ")[2].strip("?. ")}}
        return
    if role == "user" and any(sign in text for sign in "+*"):
        sum_ = " ".join(word for word in text.strip("?. ").split() if not word.isalpha())
        yield {"call": {"name": "calculate", "argument": sum_}}
        return
    if role == "tool":
        yield from words(f"It is {text}, as far as I can tell from here.")
    else:
        yield from words("You are very welcome; ask me about sums and the weather.")
    yield {"done": True}


def words(text: str) -> Iterator[dict[str, Any]]:
    for word in text.split(" "):
        if word:
            yield {"token": f"{word} "}


class ModelServer(http.server.ThreadingHTTPServer):
    """Says nothing when a caller goes away: that is its own affair."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it."""


@contextlib.contextmanager
def fake_model() -> Iterator[tuple[str, int]]:
    with ModelServer(("127.0.0.1", 0), FakeModel) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield "127.0.0.1", server.server_port
        finally:
            server.shutdown()
            thread.join()


# -- the program -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lifespan() -> AsyncIterator[dict[str, Any]]:
    """Open what activities share. The model's address is no argument: it is another each time."""
    with fake_model() as address:
        yield {"model": address}


async def talk(db: str, *, serve: bool) -> None:
    async with durable.Engine(db, lifespan=lifespan) as engine:
        run = await engine.start(agent.options(id="chat"))
        if not serve:
            for number, text in enumerate(SCRIPT):
                # By its id a turn is taken once, also by a script that is started again.
                reply = await run.update(say, text, id=f"turn-{number}")
                print(f"> {text}\n{reply}", flush=True)
            with contextlib.suppress(durable.RunClosed):  # It was said before.
                await run.signal(goodbye, None)
        print(f"{len(await run.result())} messages", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Talk to a durable agent.")
    parser.add_argument("db", nargs="?", default="agent.db", help="the file that holds the run")
    parser.add_argument("--serve", action="store_true", help="say nothing: others will")
    options = parser.parse_args()
    asyncio.run(talk(options.db, serve=options.serve))


if __name__ == "__main__":
    main()
