"""The file that a client, and whoever acts through it under another name, has open."""

from __future__ import annotations

from durable._store.store import Store
from durable._store.wal import Synced
from durable._store.writer import Change

__all__ = ["OpenFile"]


class OpenFile:
    """A store that is opened again after a failed commit.

    Args:
        path: The file.
        allow_shared: See `Store`.
    """

    def __init__(self, path: str, *, allow_shared: bool) -> None:
        self.path = path
        self._allow_shared = allow_shared
        self._store: Store | None = None

    def open(self, *, create: bool, after: Synced | None = None) -> None:
        """Open it; ``after`` is of the store before, if a commit of it had an unknown outcome."""
        self._store = Store(
            self.path,
            durability="full",
            deliver=_ignore,
            on_foreign_commit=_nothing,
            create=create,
            after=after,
            allow_shared=self._allow_shared,
        )

    def close(self) -> None:
        """Close it; nothing if it is not open."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def find_store(self) -> Store | None:
        """Return the store, opened again if it has to be; None if it is not open."""
        if (
            self._store is not None and self._store.is_broken
        ):  # A failed commit is one call's error.
            self._store.close()
            self.open(create=False, after=self._store.writer.log.synced)
        return self._store


def _ignore(_changes: list[Change]) -> None:
    pass


def _nothing() -> None:
    pass
