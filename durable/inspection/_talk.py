"""What a run and the outside said to each other, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, TypeGuard

from durable.errors import DurableError
from durable.inspection._texts import cut, decoded_text, summary_of_payload, time_of
from durable.inspection._views import DeadLetter, PromiseView, StreamView, UpdateView

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable._store.rows import AnswerRow, RunRow
    from durable.inspection._events import Told
    from durable.inspection._views import StepView

__all__ = ["Talk"]

# An answer to one of these has no event: the update was never let in.
_WITHOUT_EVENT = frozenset({"refused", "abandoned"})


class Talk:
    """The messages of one run."""

    def __init__(self, reader: Reader, row: RunRow) -> None:
        self._reader = reader
        self._row = row
        self._answers: dict[str, UpdateView] = {}
        self._letters = reader.letters(row.pk)
        self._payloads: Mapping[int, str] = {}
        self.updates: Sequence[UpdateView] = []
        """Those accepted, in order; then those refused or abandoned."""

    def buried(self) -> AbstractSet[int]:
        """Return the seqs of its signals that became dead letters: their events hold them."""
        return {one.seq for one in self._letters if one.seq is not None}

    def answers(self) -> Mapping[str, UpdateView]:
        """Read how its updates ended, by id; queries have their answers among them for a moment."""
        if not self._answers:
            rows = self._reader.answers(self._row.pk)
            self._answers = {row.key: self._answer(row) for row in rows}
        return self._answers

    def know(self, told: Told) -> None:
        """Take over what its history tells of messages."""
        self._payloads, names = told.payloads, told.accepted
        accepted = [self._answers.get(key) or _open(key, name) for key, name in names.items()]
        others = [
            one
            for one in self._answers.values()
            if one.id not in names and one.status in _WITHOUT_EVENT
        ]
        self.updates = [*accepted, *others]

    def _answer(self, row: AnswerRow) -> UpdateView:
        text = self._text(row.result)
        answer, error = "", ""
        match row.state:
            case "completed":
                answer = text
            case "failed":
                error = summary_of_payload(text.encode())
            case "refused":
                error = decoded_text(text)
            case _:
                error = "the run ended first"
        return UpdateView(
            id=row.key,
            name=row.name,
            status=row.state,
            answered=time_of(row.at_us),
            answer=answer,
            error=error,
        )

    def streams(self) -> Sequence[StreamView]:
        """Return its streams, by name."""
        found = self._reader.streams(self._row.pk)
        return [StreamView(name=name, items=items) for name, items in found]

    def promises(self, pending: Sequence[StepView]) -> Sequence[PromiseView]:
        """Return what waits for an answer; ``pending`` are the activities under way."""
        row = self._row
        if not row.is_open:
            return []
        asked = row.waits_for().get("promises")
        found = [(step, name) for step, name in asked.items()] if _is_texts(asked) else []
        found += [(one.step, one.name) for one in pending if one.status == "later"]
        if not found:
            return []
        return [PromiseView(name=name, step=step, token=self._token(step)) for step, name in found]

    def _token(self, step: str) -> str:
        from durable._store.messages import make_token  # It brings the writer along.

        try:
            return make_token(self._reader.secret(), self._row.id, self._row.salt, step)
        except DurableError:  # The secret was changed by hand: nobody can answer it.
            return ""

    def dead_letters(self) -> Sequence[DeadLetter]:
        """Return the messages nobody could receive, oldest first."""
        return [
            DeadLetter(
                name=one.name,
                payload=self._text(one.payload)
                if one.seq is None
                else self._payloads.get(one.seq, ""),
                why=one.why.removeprefix(f"signal {one.name}: "),
                at=time_of(one.at_us),
            )
            for one in self._letters
        ]

    def _text(self, stored: str | int) -> str:
        try:
            return cut(self._reader.payload(stored))
        except DurableError as error:
            return f"<{error}>"


def _is_texts(found: object) -> TypeGuard[dict[str, str]]:
    """Say whether it is what a worker writes; a damaged row may hold anything."""
    return isinstance(found, dict) and all(isinstance(one, str) for one in found.values())


def _open(key: str, name: str) -> UpdateView:
    return UpdateView(id=key, name=name, status="accepted", answered=None, answer="", error="")
