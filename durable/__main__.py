"""``python -m durable``: the command line, where its script is not on the path."""

from __future__ import annotations

import sys
from importlib import import_module

# By name: the library stands below its command line and knows nothing else of it.
sys.exit(import_module("durable_cli").main())
