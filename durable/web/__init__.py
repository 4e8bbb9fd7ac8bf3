"""The web interface: pages and a JSON API over a file, to look at runs and repair them.

The extra ``ui`` brings what it needs::

    app.mount("/ops/durable", durable.web.app(engine))        # in a FastAPI or Starlette service

`durable ui FILE` serves it alone. The looks in `durable.web.api` and the acts beside them are plain
functions over a `Viewer` or a `Client`; this package gives them addresses, and keeps strangers out.
The pages are clients of that API.
"""

from durable.web._app import app
from durable.web._server import Served, serve

__all__ = ["Served", "app", "serve"]
