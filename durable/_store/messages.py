"""What anybody may say to a run, as operations of one transaction.

Each message is a row of its run's inbox, and is acknowledged when that is committed; the run's
owner turns it into an event (law 3). A message with an id is said once, whatever happens.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

from durable._core.events import Kind
from durable._store.requests import get, get_open, put
from durable._store.rows import RunRow, checked_secret
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.errors import RunClosed, TokenUnknown
from durable.payloads import (
    PROOF_CHARACTERS,
    TOKEN_MARK,
    encode_document,
    without_proofs,
)

__all__ = [
    "answer_token",
    "ask",
    "forget_answer",
    "make_token",
    "signal",
    "update",
]

# Of a token: nobody guesses one, nor looks for the key (128 bits of an HMAC keyed with 256).
PROOF_BYTES = 16


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
    pk: int, name: str, payload: EncodedPayload, key: str, now_us: int
) -> Callable[[Transaction], bool]:
    """Return the operation that sends a signal; False if one of this id was sent before.

    Raises:
        RunClosed: The run has ended, and never heard of this signal; nothing was stored.
    """

    def operation(transaction: Transaction) -> bool:
        run = _hearing(transaction, pk, "signal", key, Kind.RECEIVED)
        if run is None:
            return False
        put(transaction, run.pk, "signal", name, key, payload.store(transaction), now_us)
        return True

    return operation


def update(
    pk: int, name: str, payload: EncodedPayload, key: str, now_us: int
) -> Callable[[Transaction], int]:
    """Return the operation that sends an update, once for each id; its value is the run's key.

    Raises:
        RunClosed: The run has ended, and never heard of this update.
    """

    def operation(transaction: Transaction) -> int:
        run = _hearing(transaction, pk, "update", key, Kind.UPDATE_ACCEPTED)
        if run is None:
            return pk
        put(transaction, run.pk, "update", name, key, payload.store(transaction), now_us)
        return run.pk

    return operation


def forget_answer(pk: int, key: str) -> Callable[[Transaction], None]:
    """Return the operation that drops an answer that was read, a large one's blob included."""

    def operation(transaction: Transaction) -> None:
        for (result,) in transaction.all("delete_answer", run=pk, key=key):
            if isinstance(result, int):
                transaction.rows("delete_blobs_of_inbox", [(result,)])

    return operation


def ask(
    kind: str, pk: int, name: str, payload: EncodedPayload, key: str, now_us: int
) -> Callable[[Transaction], int]:
    """Return the operation that puts one request to an open run."""

    def operation(transaction: Transaction) -> int:
        run = get_open(transaction, pk, "nobody is there to answer")
        put(transaction, run.pk, kind, name, key, payload.store(transaction), now_us)
        return run.pk

    return operation


# -- tokens --------------------------------------------------------------------------------------


def make_token(secret: bytes, run_id: str, salt: int, step: str) -> str:
    """Return the token of a step: it outlives retries of the run, whose salt stays."""
    who = base64.urlsafe_b64encode(f"{run_id}\n{step}".encode()).decode().rstrip("=")
    return f"{TOKEN_MARK}{who}.{_proof(secret, run_id, salt, step)}"


def _proof(secret: bytes, run_id: str, salt: int, step: str) -> str:
    said = encode_document([run_id, salt, step])
    digest = hmac.digest(secret, said, "sha256")[:PROOF_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def answer_token(
    token: str, payload: EncodedPayload, now_us: int, *, rejects: bool
) -> Callable[[Transaction], int]:
    """Return the operation that answers a token; its value is the run's key.

    Whoever has no right token is not told which runs there are.

    Raises:
        TokenUnknown: It is no token, or no open run waits for it any more.
    """

    def operation(transaction: Transaction) -> int:
        run_id, step, proof = _read_token(token)
        row = transaction.one("find_newest", id=run_id)
        run = None if row is None else RunRow(*row)
        salt = 0 if run is None else run.salt
        expected = _proof(get_secret(transaction), run_id, salt, step)
        if not hmac.compare_digest(expected, proof) or run is None:
            raise TokenUnknown(
                "no run of this file has this token; it may be of another file, or of a run that "
                "was deleted or begun anew"
            )
        if not run.is_open:
            raise TokenUnknown(f"run {run.name} is {run.state}; it waits for no answer")
        # Of this ordinal alone: a later one asks anew, and so does one that was retried.
        known = transaction.one("find_end_of_step", run=run.pk, step=step) is not None
        if known:
            raise TokenUnknown(f"step {step} of run {run.name} was answered already")
        kind = "reject" if rejects else "resolve"
        put(transaction, run.pk, kind, "", step, payload.store(transaction), now_us)
        return run.pk

    return operation


def get_secret(transaction: Transaction) -> bytes:
    """Return what the file's tokens are keyed with.

    Raises:
        StoreError: It is not there, or was changed by hand.
    """
    return checked_secret(transaction.one("get_meta", name="secret"))


def _read_token(token: str) -> tuple[str, str, str]:
    who, dot, proof = token.removeprefix(TOKEN_MARK).partition(".")
    is_token = token.startswith(TOKEN_MARK) and dot and token.isascii()
    try:
        text = base64.b64decode(who + "=" * (-len(who) % 4), b"-_", validate=True).decode()
    except ValueError:
        text = ""
    run_id, line, step = text.partition("\n")
    if not (is_token and line and step) or len(proof) != PROOF_CHARACTERS:
        shown = without_proofs(token.encode(errors="backslashreplace")).decode()
        raise TokenUnknown(f"{shown!r:.80} is no token")
    return run_id, step, proof
