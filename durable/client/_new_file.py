"""An import into a file that does not exist yet: it is there whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from durable._clock import new_salt
from durable._store.backup import move_into_place
from durable._store.connection import real_path
from durable._store.ownership import BESIDE, refuse_place
from durable.client._client import Client
from durable.errors import StoreError
from durable.inspection import ImportView, look_into

__all__ = ["import_into_new"]


async def import_into_new(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    rename: str = "",
    reason: str = "",
) -> ImportView:
    """Make a file of an export's runs; of an import that is refused nothing is left.

    Args:
        path: The file; there is none.
        source: What `Client.export` wrote.
        rename: What every id begins with.
        reason: For the audit of each.

    Raises:
        UsageError: There is a file already, made by somebody else meanwhile, too.
        DurableError: As of `Client.import_`.
    """
    look_into(source)
    target = Path(real_path(path))
    refuse_place(str(target))
    partial = target.with_name(f".{target.name}.{new_salt():x}.partial")
    try:
        async with Client(partial, create=True) as client:
            made = await client.import_(source, rename=rename, reason=reason)
        _put_into_place(partial, target)
    finally:
        _remove(partial)
    return made


def _put_into_place(partial: Path, target: Path) -> None:
    if Path(f"{partial}-wal").exists():
        raise StoreError(f"{partial} is in use by another process; nothing was imported")
    try:
        move_into_place(partial, target, overwrite=False)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error


def _remove(partial: Path) -> None:
    for end in ("", *BESIDE):
        Path(f"{partial}{end}").unlink(missing_ok=True)
