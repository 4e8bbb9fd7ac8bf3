"""``python -m durable_cli``."""

import sys

from durable_cli import main

sys.exit(main())
