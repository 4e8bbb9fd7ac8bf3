"""What anybody may say to a run, as operations of one transaction.

Each message is a row of its run's inbox, and is acknowledged when that is committed; the run's
owner turns it into an event (law 3). A message with an id is said once, whatever happens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable

import attrs

from durable._core.events import Kind
from durable._store.requests import get, get_open, put
from durable._store.rows import RunRow
from durable._store.writer import Transaction
from durable.errors import RunClosed, TokenUnknown
from durable.payloads import INLINE_BYTES_MAX, compress

__all__ = [
    "Parcel",
    "answer_token",
    "ask",
    "forget_answer",
    "make_token",
    "pack",
    "query",
    "signal",
    "update",
]

# Of a token: enough that nobody guesses one (80 bits).
DIGEST_BYTES = 10


@attrs.frozen
class Parcel:
    """A payload ready for the file: text, or the compressed data of a blob."""

    text: str | None
    size: int
    data: bytes
    blob: int

    def store(self, transaction: Transaction) -> str | int:
        """Put a large one into its blob; return what the payload column holds."""
        if self.text is not None:
            return self.text
        transaction.rows("insert_blob", [(self.blob, 1, self.size, self.data)])
        return self.blob


def pack(payload: bytes, blob: int) -> Parcel:
    """Prepare a payload outside the transaction: compressing 64 MiB takes a second."""
    if len(payload) <= INLINE_BYTES_MAX:
        return Parcel(payload.decode(), len(payload), b"", 0)
    return Parcel(None, len(payload), compress(payload), blob)


def _is_known(transaction: Transaction, run: RunRow, kind: str, key: str, event: Kind) -> bool:
    line = transaction.one("find_line", id=run.id, ordinal=run.ordinal)
    assert line is not None
    found = transaction.all(
        "find_message",
        id=run.id, first=line[0], last=line[1], key=key, kind=kind, event_kind=int(event),
    )  # fmt: skip
    return bool(found)


def _hearing(transaction: Transaction, pk: int, kind: str, key: str, event: Kind) -> RunRow | None:
    """Return the open run that is to hear a message; None if it was sent before, under its id.

    Raises:
        RunClosed: The run has ended, and never heard of it.
    """
    try:
        run = get_open(transaction, pk, f"it takes no more {kind}s")
    except RunClosed:
        run = get(transaction, pk)
        if key and _is_known(transaction, run, kind, key, event):
            return None
        raise
    return None if key and _is_known(transaction, run, kind, key, event) else run


def signal(
    pk: int, name: str, parcel: Parcel, key: str, now_us: int
) -> Callable[[Transaction], bool]:
    """Return the operation that sends a signal; False if one of this id was sent before.

    Raises:
        RunClosed: The run has ended, and never heard of this signal; nothing was stored.
    """

    def operation(transaction: Transaction) -> bool:
        run = _hearing(transaction, pk, "signal", key, Kind.RECEIVED)
        if run is None:
            return False
        put(transaction, run.pk, "signal", name, key, parcel.store(transaction), now_us)
        return True

    return operation


def update(
    pk: int, name: str, parcel: Parcel, key: str, now_us: int
) -> Callable[[Transaction], int]:
    """Return the operation that sends an update, once for each id; its value is the run's key.

    Raises:
        RunClosed: The run has ended, and never heard of this update.
    """

    def operation(transaction: Transaction) -> int:
        run = _hearing(transaction, pk, "update", key, Kind.UPDATE_ACCEPTED)
        if run is None:
            return pk
        put(transaction, run.pk, "update", name, key, parcel.store(transaction), now_us)
        return run.pk

    return operation


def query(
    pk: int, name: str, parcel: Parcel, key: str, now_us: int
) -> Callable[[Transaction], int]:
    """Return the operation that asks the owner of a run a question.

    Raises:
        RunClosed: The run has ended.
    """
    return ask("query", pk, name, parcel, key, now_us)


def forget_answer(pk: int, key: str) -> Callable[[Transaction], None]:
    """Return the operation that drops an answer that was read, a large one's blob included."""

    def operation(transaction: Transaction) -> None:
        for (result,) in transaction.all("delete_answer", run=pk, key=key):
            if isinstance(result, int):
                transaction.rows("delete_blobs_of_inbox", [(result,)])

    return operation


def ask(
    kind: str, pk: int, name: str, parcel: Parcel, key: str, now_us: int
) -> Callable[[Transaction], int]:
    """Return the operation that puts one request to an open run."""

    def operation(transaction: Transaction) -> int:
        run = get_open(transaction, pk, "nobody is there to answer")
        put(transaction, run.pk, kind, name, key, parcel.store(transaction), now_us)
        return run.pk

    return operation


# -- tokens --------------------------------------------------------------------------------------


def make_token(run_id: str, salt: int, step: str) -> str:
    """Return the token of a step: it outlives retries of the run, whose salt stays."""
    text = f"{run_id}\n{step}\n".encode() + _digest(run_id, salt, step)
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _digest(run_id: str, salt: int, step: str) -> bytes:
    key = salt.to_bytes(8, "big", signed=True)
    return hashlib.blake2b(f"{run_id}\n{step}".encode(), digest_size=DIGEST_BYTES, key=key).digest()


def answer_token(
    token: str, parcel: Parcel, now_us: int, *, rejects: bool
) -> Callable[[Transaction], int]:
    """Return the operation that answers a token; its value is the run's key.

    Raises:
        TokenUnknown: It is no token, or no open run waits for it any more.
    """

    def operation(transaction: Transaction) -> int:
        run_id, step, digest = _read_token(token)
        row = transaction.one("find_newest", id=run_id)
        if row is None:
            raise TokenUnknown(f"the token is of run {run_id}, which is not in this file")
        run = RunRow(*row)
        if _digest(run_id, run.salt, step) != digest:
            raise TokenUnknown(f"the token is of another run {run_id} than the one in this file")
        if not run.is_open:
            raise TokenUnknown(f"run {run.name} is {run.state}; it waits for no answer")
        # Of this ordinal alone: a later one asks anew, and so does one that was retried.
        known = transaction.one("find_end_of_step", run=run.pk, step=step) is not None
        if known:
            raise TokenUnknown(f"step {step} of run {run.name} was answered already")
        kind = "reject" if rejects else "resolve"
        put(transaction, run.pk, kind, "", step, parcel.store(transaction), now_us)
        return run.pk

    return operation


def _read_token(token: str) -> tuple[str, str, bytes]:
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        text, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
        run_id, step, rest = text.decode().split("\n")
    except (ValueError, binascii.Error) as error:
        raise TokenUnknown(f"{token!r:.80} is no token") from error
    if rest or not step:
        raise TokenUnknown(f"{token!r:.80} is no token")
    return run_id, step, digest
