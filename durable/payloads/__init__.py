"""Payloads: arguments, results and messages as JSON text, by their type hints.

Laws of this package:

- What `Codec.encode` accepts, `Codec.decode` gives back equal, or one of the two raises
  `PayloadError`. Nothing else is raised for a value, however odd it is. The exception is said
  aloud: an untyped tuple, set, ``bytes`` or non-text key comes back as plain JSON, with a warning.
- A value is not compared with its hint when it is encoded. The library decodes at once whatever it
  encoded, so a mismatch shows at the call that made it, as a `PayloadError` from `decode`.
- NaN and the infinities survive. msgspec writes them as ``null``, so where ``null`` occurs in the
  text the value is scanned, and stored with the literals of Python's `json` if it has any.
- This package is the one door for JSON: the library's own documents have `encode_document` and
  `decode_document`.
- A fingerprint depends on the value alone: never on the hash seed or on insertion order.
"""

from durable.payloads._arguments import ArgumentsCodec, arguments_codec
from durable.payloads._codec import Codec, DurablePayloadWarning, codec_for
from durable.payloads._documents import (
    decode_document,
    document_decoder,
    encode_document,
    encode_for_browsers,
    schema_of,
    schemas_of,
)
from durable.payloads._fingerprints import checksum, checksum_of_two, fingerprint
from durable.payloads._hints import hints_of, of_known_names
from durable.payloads._sizes import (
    INLINE_BYTES_MAX,
    LARGE_MEMBERS,
    PAYLOAD_BYTES_LIMIT,
    PAYLOAD_BYTES_MAX,
    check_size,
    compress,
    decompress,
    seems_large,
)
from durable.payloads._tokens import HIDDEN_PROOF, PROOF_CHARACTERS, TOKEN_MARK, without_proofs

__all__ = [
    "HIDDEN_PROOF",
    "INLINE_BYTES_MAX",
    "LARGE_MEMBERS",
    "PAYLOAD_BYTES_LIMIT",
    "PAYLOAD_BYTES_MAX",
    "PROOF_CHARACTERS",
    "TOKEN_MARK",
    "ArgumentsCodec",
    "Codec",
    "DurablePayloadWarning",
    "arguments_codec",
    "check_size",
    "checksum",
    "checksum_of_two",
    "codec_for",
    "compress",
    "decode_document",
    "decompress",
    "document_decoder",
    "encode_document",
    "encode_for_browsers",
    "fingerprint",
    "hints_of",
    "of_known_names",
    "schema_of",
    "schemas_of",
    "seems_large",
    "without_proofs",
]
