"""What tokens look like, so that they are found, and hidden, wherever they stand in a text.

A token is ``durable_token.WHO.PROOF``: whose it is, for anybody to read, and the proof that this
file made it. The characters are those that neither JSON nor an address writes differently. Without
its proof a token opens nothing; so a copy that leaves the file has `HIDDEN_PROOF` in its place, and
a fingerprint counts every proof as that one: what was called with a token is the same call in
another file, whose proofs are others.
"""

from __future__ import annotations

import re

__all__ = ["HIDDEN_PROOF", "PROOF_CHARACTERS", "TOKEN_MARK", "without_proofs"]

TOKEN_MARK = "durable_token."  # noqa: S105  it is no secret
PROOF_CHARACTERS = 22
"""128 bits in base64, without its padding."""
HIDDEN_PROOF = "hidden".ljust(PROOF_CHARACTERS, "-")

_MARK = TOKEN_MARK.encode()
_TOKEN = re.compile(rb"(durable_token\.[A-Za-z0-9_-]*\.)[A-Za-z0-9_-]{22}")
_HIDDEN = rb"\1" + HIDDEN_PROOF.encode()


def without_proofs(data: bytes) -> bytes:
    """Return the data with the proof of each token in it hidden; its length stays."""
    return _TOKEN.sub(_HIDDEN, data) if _MARK in data else data
