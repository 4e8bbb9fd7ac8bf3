"""Small file systems of a process of its own, which end with it.

A process that has its own mount namespace may mount what it likes, and nobody else sees it. Root
may have one, and on most Linux hosts everybody, as root of a user namespace.

Source: mount(2), unshare(2), user_namespaces(7), tmpfs(5).
"""

import ctypes
import os
import sys
from pathlib import Path

# linux/sched.h, linux/mount.h.
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def leave_mounts() -> None:
    """Give this process mounts of its own; it must have one thread still.

    Raises:
        OSError: This host does not let it.
    """
    if not sys.platform.startswith("linux"):
        raise OSError("this platform has no mount namespaces")
    user, group = os.geteuid(), os.getegid()
    _call(_libc.unshare, _NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USERS)
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("none", "/", "", _RECURSIVE | _PRIVATE, "")


def mount_memory(folder: Path, bytes_max: int, *, files_max: int = 1_000) -> None:
    """Let a folder be a file system in memory that has so much room."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("tmpfs", str(folder), "tmpfs", 0, f"size={bytes_max},nr_inodes={files_max}")


def resize_memory(folder: Path, bytes_max: int, *, files_max: int = 1_000) -> None:
    """Give such a file system another size."""
    _mount("tmpfs", str(folder), "", _REMOUNT, f"size={bytes_max},nr_inodes={files_max}")


def make_read_only(folder: Path) -> None:
    """Let a folder, and all in it, be for reading alone."""
    _mount(str(folder), str(folder), "", _BIND, "")
    _mount(str(folder), str(folder), "", _BIND | _REMOUNT | _READ_ONLY, "")


def unmount(folder: Path) -> None:
    """Let a folder be what it was before."""
    _call(_libc.umount2, str(folder).encode(), 2)  # Lazily: what is open there is nobody's loss.


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    names = (source, target, kind)
    _call(
        _libc.mount,
        *(name.encode() for name in names),
        ctypes.c_ulong(flags),
        options.encode(),
    )


def _call(function: "ctypes._NamedFuncPointer", *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
