"""The web interface: a JSON API over a file, to look at runs and repair them (extra ``ui``).

::

    app.mount("/ops/durable", durable.web.app(engine))        # in a FastAPI or Starlette service

The handlers in `durable.web.api` are plain functions over a `Viewer` or a `Client`; this package
gives them addresses, and keeps strangers out.
"""

from durable.web._app import app

__all__ = ["app"]
