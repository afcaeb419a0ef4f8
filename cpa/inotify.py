"""What changes directly in folders, as the Linux kernel tells it (inotify(7)): no threads, no looking now and then."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_ATTRIBUTES, _MODIFIED, _MOVED_FROM, _MOVED_TO, _CREATED, _DELETED = 0x4, 0x2, 0x40, 0x80, 0x100, 0x200
_ONLY_FOLDERS = 0x01000000
_MASK = _ATTRIBUTES | _MODIFIED | _MOVED_FROM | _MOVED_TO | _CREATED | _DELETED | _ONLY_FOLDERS
_EVENT = struct.Struct("iIII")
"""Watch, what happened, cookie, and the length of the name that follows."""
_ONE_READ = 64 * 1024


class FolderWatch:
    """Watches folders, not those inside them. To be closed."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Raises OSError when one of them cannot be watched."""
        self._folders: dict[int, Path] = {}
        self.descriptor = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        """Becomes readable when something has changed."""
        try:
            for folder in folders:
                self._folders[_call("inotify_add_watch", self.descriptor, os.fsencode(folder), _MASK)] = folder
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self) -> set[Path]:
        """What was written, created, renamed or removed since the last call.

        When more happened than the kernel keeps, some of it is missing.
        """
        try:
            told = os.read(self.descriptor, _ONE_READ)
        except BlockingIOError:
            return set()
        found: set[Path] = set()
        position = 0
        while position < len(told):
            watch, _, _, length = _EVENT.unpack_from(told, position)
            position += _EVENT.size
            name = told[position : position + length].rstrip(b"\0")
            position += length
            if name and watch in self._folders:
                found.add(self._folders[watch] / os.fsdecode(name))
        return found

    def close(self) -> None:
        """Stop watching."""
        os.close(self.descriptor)


def _call(function: str, *arguments: int | bytes) -> int:
    """Call a function of the C library. Raises OSError when it fails or is not there."""
    try:
        result = int(getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments))
    except AttributeError:
        raise OSError(errno.ENOSYS, "this system does not tell of changes in folders") from None
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
