"""``python -m durable``: the command line, where its script is not on the path."""

import sys

from durable_cli import main

sys.exit(main())
