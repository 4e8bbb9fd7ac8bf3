"""Alerts: a web hook hears of each new kind of failure, although it is down when it happens.

Usage: ``python 10_alerts.py``. The hook of this example is a small server on the loopback address;
yours is a chat or a pager. What is to be told is in the file, written with the failure itself: stop
the process before it was told, and the next one tells it.
"""

import asyncio
import json
import logging
import tempfile
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import durable
from durable import IssueAlert, Retry, activity, workflow


@activity(retry=Retry(max_attempts=1))
async def charge(order: int) -> int:
    raise ConnectionError(f"the bank refused order {order}")


@workflow
async def pay(order: int) -> int:
    return await charge(order)


class Hook(BaseHTTPRequestHandler):
    """The web hook: out of order for its first call."""

    heard: ClassVar[list[str]] = []
    told = threading.Event()

    def do_POST(self) -> None:
        """Hear of an issue."""
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        is_down = not self.heard
        self.heard.append(f"refused: {text}" if is_down else f"heard: {text}")
        self.send_response(503 if is_down else 200)
        self.end_headers()
        if not is_down:
            self.told.set()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""


def tell(alert: IssueAlert, port: int) -> None:
    # A plain function: it runs on a thread of its own, and no run waits for it.
    text = f"{alert.what} issue {alert.issue.id}: {alert.issue.title}"
    body = json.dumps({"text": text}).encode()
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    if status != 200:  # What raises is called again.
        raise OSError(f"the hook answered {status}")


async def main(db: str, port: int) -> None:
    async with durable.Engine(db, on_issue=lambda alert: tell(alert, port)) as engine:
        for order in range(3):
            run = await engine.start(pay.options(id=f"order-{order}"), order)
            try:
                await run.result()
            except durable.RunFailed as error:
                print(error)
        await asyncio.to_thread(Hook.told.wait)


if __name__ == "__main__":
    logging.getLogger("durable").setLevel(logging.ERROR)  # That the hook failed is only a warning.
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(str(Path(folder) / "app.db"), server.server_port))
    server.shutdown()
    print(*Hook.heard, sep="\n")
