"""Which SQLite this is."""

import apsw

__all__ = ["apsw_version", "sqlite_version"]


def sqlite_version() -> str:
    """Return the version of the SQLite that files are read and written with."""
    return str(apsw.sqlite_lib_version())


def apsw_version() -> str:
    """Return the version of what speaks to SQLite."""
    return str(apsw.apsw_version())
