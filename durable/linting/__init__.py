"""What in a workflow's code would not be the same on replay, found by reading it.

Law: nothing is imported and nothing is executed. A source text goes in, findings come out; this
package knows no file, and the code it reads may be anybody's.
"""

from __future__ import annotations

from durable.linting._analysis import SOURCE_BYTES_MAX, Finding, lint, unreadable
from durable.linting._rules import RULES, UNREADABLE, Rule

__all__ = ["RULES", "SOURCE_BYTES_MAX", "UNREADABLE", "Finding", "Rule", "lint", "unreadable"]
