"""Every act on a run, once: what it is called, what it does, what may be said of it.

Filters, the client's acts on many runs, the command line, the pages' address for it and the OpenAPI
document follow from here. An act's operation stands in the store (`durable._store.repairs`); its
methods, which have types of their own, are `Run.VERB` and `Client.VERB_all`: a test finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["BULK", "VERBS", "Verb"]


@attrs.frozen(kw_only=True)
class Verb:
    """Something that can be done to a run.

    Attributes:
        name: The verb.
        text: What it does, in one line.
        fields: What may be said of it, by name: the type.
        required: What has to be.
        meant_for: The statuses it is about where a filter names none; empty for any.
        is_bulk: Whether many runs take it at once.
        one: What happened to a run, as in "1 run goes on".
        many: What happened to several, as in "212 runs go on".
        command: The command that does it; the verb, if not given.
    """

    name: str
    text: str
    fields: Mapping[str, Any]
    required: frozenset[str] = frozenset()
    meant_for: str = ""
    is_bulk: bool = True
    one: str = ""
    many: str = ""
    command: str = attrs.field()

    @command.default
    def _named_as_verb(self) -> str:
        return self.name


_REASON = {"reason": str}
_MESSAGE = {"name": str, "value": Any, "message_id": str}

_ALL = (
    Verb(
        name="retry",
        text="Let a run go on from where it failed.",
        fields={"anyway": bool, "again": list[str], **_REASON},
        meant_for="failed,blocked,retrying",
        one="goes on",
        many="go on",
    ),
    Verb(
        name="restart",
        text="Do a run again from any place of its history.",
        fields={
            "from": str,
            "input": Any,
            "outputs": dict[str, Any],
            "messages": str,
            "children": str,
            "again": list[str],
            **_REASON,
        },
        one="begins again",
        many="begin again",
    ),
    Verb(
        name="skip",
        text="End a pending step by hand.",
        fields={"step": str, "output": Any, **_REASON},
        required=frozenset({"step", "output"}),
        meant_for="open",
        one="is to end that step",
        many="are to end that step",
    ),
    Verb(
        name="fail",
        text="Let a pending step fail.",
        fields={"step": str, "message": str, **_REASON},
        required=frozenset({"step", "message"}),
        meant_for="open",
        one="is to end that step",
        many="are to end that step",
        command="skip",
    ),
    Verb(
        name="edit",
        text="Give a pending step another retry policy or other timeouts.",
        fields={"step": str, "changes": dict[str, Any], **_REASON},
        required=frozenset({"step", "changes"}),
        meant_for="open",
        one="has it",
        many="have it",
    ),
    Verb(
        name="accept",
        text="Take a recorded result although its arguments changed.",
        fields={"step": str, **_REASON},
        required=frozenset({"step"}),
        meant_for="blocked",
        one="takes it",
        many="take it",
    ),
    Verb(
        name="pause",
        text="Let a run do nothing more until it is resumed.",
        fields=_REASON,
        meant_for="running,retrying,queued,waiting,sleeping",
        one="is asked to pause",
        many="are asked to pause",
    ),
    Verb(
        name="resume",
        text="Let a paused run go on.",
        fields=_REASON,
        meant_for="paused",
        one="goes on",
        many="go on",
    ),
    Verb(
        name="cancel",
        text="Ask a run to stop; its code may clean up.",
        fields=_REASON,
        meant_for="open",
        one="is asked to stop",
        many="are asked to stop",
    ),
    Verb(
        name="terminate",
        text="End a run; none of its code runs any more.",
        fields=_REASON,
        meant_for="open",
        one="is ended",
        many="are ended",
    ),
    Verb(
        name="remove",
        text="Delete a run that has ended, with all it has.",
        fields={"children": bool, **_REASON},
        meant_for="closed",
        one="is deleted",
        many="are deleted",
    ),
    Verb(
        name="signal",
        text="Send a run a signal.",
        fields=_MESSAGE,
        required=frozenset({"name"}),
        meant_for="open",
        one="has it",
        many="have it",
    ),
    Verb(
        name="update",
        text="Send a run an update, and wait for its answer.",
        fields=_MESSAGE,
        required=frozenset({"name"}),
        is_bulk=False,
    ),
    Verb(
        name="query",
        text="Ask a run a question.",
        fields={"name": str, "args": list[Any]},
        required=frozenset({"name"}),
        is_bulk=False,
    ),
)

VERBS: Mapping[str, Verb] = {one.name: one for one in _ALL}
"""Each by its name."""
BULK: Mapping[str, Verb] = {one.name: one for one in _ALL if one.is_bulk}
"""Those that many runs take at once."""
