"""The codec of one type: its values as JSON text, and back by the hint."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from durable.errors import PayloadError
from durable.payloads._hints import decoder_of, hint_text, known_hint, readable_hint
from durable.payloads._json import (
    decode_hook,
    encode_json,
    encode_non_finite,
    has_non_finite,
    parse_non_finite,
)
from durable.payloads._members import SCALARS
from durable.payloads._parts import PART_BYTES, decode_by_parts, has_parts
from durable.payloads._refusals import find_change, find_mistaken, find_refused
from durable.payloads._unions import compares

# A program has some hundred hints; the limit only matters where classes are made in a loop.
CODECS_CACHED_MAX = 4_096


class DurablePayloadWarning(UserWarning):
    """An untyped value comes back as another type; the message names the annotation to add."""


@attrs.define(eq=False)
class Codec:
    """Encodes and decodes the values of one type hint. Made by `codec_for`; safe in any thread.

    Attributes:
        hint: The hint; ``Any`` for untyped.
        where: What the values are, for messages: ``"result of fetch"``.
        strict: Refuse what would come back changed, instead of warning.
        untyped: The hint says nothing about some position, and nothing but plain JSON elsewhere.
        compares: It has types that may look like one another in JSON; what would come back as
            another of them is refused.
    """

    hint: Any
    where: str
    strict: bool
    untyped: bool
    compares: bool
    _decode: Callable[[bytes | str], Any]
    _has_warned: bool = False

    def encode(self, value: Any) -> bytes:
        """Return the value as JSON text in UTF-8.

        The value is not checked against the hint: a mismatch shows when the text is decoded.

        Raises:
            PayloadError: It cannot be stored; the message has the path of the culprit.
        """
        try:
            data = encode_json(value)
            if b"null" in data and value is not None and has_non_finite(value):
                data = encode_non_finite(value)
        except Exception as error:
            raise self._refusal(value, error) from error
        if self.untyped and type(value) not in SCALARS:
            self._check(value)
        if self.compares:
            self.compare(value, data)
        return data

    def compare(self, value: Any, data: bytes) -> None:
        """Refuse what would come back as something else.

        Raises:
            PayloadError: It has one, or does not fit the hint.
        """
        if (found := find_mistaken(value, self.decode(data))) is not None:
            raise PayloadError(
                f"{self.where}: {found}, by the type {hint_text(self.hint)}; give it a class with "
                "a field of its own, as in `@dataclass class Text: text: str`"
            )

    def decode(self, data: bytes | str) -> Any:
        """Return the value of a text that `encode` made.

        Raises:
            PayloadError: The text is no JSON, or does not fit the hint.
        """
        if len(data) > PART_BYTES and has_parts(self.hint):
            with contextlib.suppress(Exception):  # Decoded whole, it tells what is wrong.
                return decode_by_parts(self.hint, data)
        try:
            return self._decode(data)
        except Exception as error:
            if type(error) is msgspec.DecodeError and (value := parse_non_finite(data)) is not None:
                return self.convert(value[0])
            raise self._misfit(error) from error

    def convert(self, data: Any) -> Any:
        """Return the value of JSON data that are parsed already.

        Raises:
            PayloadError: They do not fit the hint.
        """
        try:
            return msgspec.convert(data, self.hint, dec_hook=decode_hook, str_keys=True)
        except Exception as error:
            raise self._misfit(error) from error

    def changes(self, value: Any) -> str | None:
        """Return the path and kind of the first member that would come back as another type."""
        if not self.untyped or type(value) in SCALARS:
            return None
        return find_change(value, "$")

    def _check(self, value: Any) -> None:
        if self._has_warned or (found := find_change(value, "$")) is None:
            return
        advice = "annotate it (as in `tuple[int, str]`, `set[str]` or a dataclass) to keep its type"
        message = f"{self.where} is not fully typed: {found}; {advice}"
        if self.strict:
            raise PayloadError(message)
        self._has_warned = True
        warnings.warn(message, DurablePayloadWarning, stacklevel=3)

    def _refusal(self, value: Any, error: Exception) -> PayloadError:
        try:
            found = find_refused(value, "$", ())
        except Exception as other:  # noqa: BLE001 - properties and reprs of the user's may raise
            found = f"$: {type(other).__name__} while looking for what cannot be stored"
        if found is None:
            if isinstance(error, RecursionError):
                found = "$: nested too deep"
            else:
                found = f"$: {type(value).__qualname__} cannot be stored: {error}"
        return PayloadError(f"{self.where}: {found}")

    def _misfit(self, error: Exception) -> PayloadError:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        if self.hint is Any:
            return PayloadError(f"{self.where}: the stored text is damaged: {reason}")
        return PayloadError(
            f"{self.where}: the value does not fit the type {hint_text(self.hint)}: {reason}"
        )


def codec_for(hint: object, where: str, *, strict: bool = False) -> Codec:
    """Return the codec of a type hint, made once.

    Args:
        hint: A type hint; ``Any``, ``object``, a missing hint (`inspect.Parameter.empty`) and a
            forward reference that nobody resolved mean untyped plain JSON.
        where: What the values are, for messages: ``"result of fetch"``.
        strict: Refuse what would come back as another type, instead of warning once.

    Raises:
        DefinitionError: No value of that hint could be decoded; the message says what to do.
    """
    try:
        hash(hint)
    except TypeError:
        return _make_codec(hint, where, strict)
    return _cached_codec(hint, where, strict)


def _make_codec(hint: Any, where: str, strict: bool) -> Codec:
    known = readable_hint(known_hint(hint), where)
    decode, untyped = decoder_of(known, where)
    return Codec(known, where, strict, untyped, compares(known), decode)


_cached_codec = functools.lru_cache(maxsize=CODECS_CACHED_MAX)(_make_codec)
