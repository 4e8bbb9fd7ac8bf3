"""Runs in a file of their own: to be shown, checked and gone on with somewhere else.

Laws:

* An export is JSON lines: a header, each run with what belongs to it, a footer with a checksum of
  all before it. Whatever was cut off or changed is noticed before a row of it is written.
* It is of one moment, and self-contained: large payloads stand in their lines.
* An import is one transaction: all of it, or nothing.
* **An imported run never starts by itself.** What was open is paused, until a person resumes it.
* What redaction was told to hide is nowhere in the file: not in a message, a traceback, a key.
"""

from durable._store.portable.exporting import ExportView, Portion, export
from durable._store.portable.importing import ImportView, importing
from durable._store.portable.passing import PortableView, look_into
from durable._store.portable.redaction import Redactor

__all__ = [
    "ExportView",
    "ImportView",
    "PortableView",
    "Portion",
    "Redactor",
    "export",
    "importing",
    "look_into",
]
