"""A lock that holds over all processes of the machine and dies with its holder."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this platform
    fcntl = None  # type: ignore[assignment]

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.25
"""Seconds between two attempts to get a lock somebody else has."""


class FileLock:
    """An exclusive lock on a small file of its own, which exists only while somebody holds or wants the lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    async def acquire(self) -> bool:
        """Wait for the lock; can be cancelled. False where the file cannot be made (a read-only directory)."""
        pause = FIRST_PAUSE
        while True:
            try:
                if self.try_acquire():
                    return True
            except OSError:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def try_acquire(self) -> bool:
        """Take the lock if it is free. Raises OSError when the file cannot be made or locked."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_current(handle):  # its last holder removed the file after we opened it
                os.close(handle)
                return False
        except BlockingIOError:
            os.close(handle)
            return False
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        with suppress(OSError):
            os.unlink(self._path)
        os.close(handle)

    def _is_current(self, handle: int) -> bool:
        ours = os.fstat(handle)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
