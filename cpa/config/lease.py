"""Know whether somebody writes to a file in place, by a lease of the kernel (Linux, one's own files)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this platform
    fcntl = None  # type: ignore[assignment]

PATIENCE = (0.01, 0.04, 0.15, 0.3)
"""Seconds to wait for those who have the file open for writing; who keeps it open for longer hinders nobody."""


@contextmanager
def unwritten(path: Path) -> Iterator[Callable[[], bool]]:
    """Wait until nobody has a file open for writing, and keep others from opening it so for the moment.

    They wait until this ends. Gives a function that says whether somebody does wait. Where there are no leases (other
    systems, network file systems, files of others) nothing is waited for and nobody seen. Raises OSError when the file
    cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        held = _leased(handle)
        yield lambda: held and fcntl.fcntl(handle, fcntl.F_GETLEASE) != fcntl.F_RDLCK
    finally:
        os.close(handle)


def _leased(handle: int) -> bool:
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    for wait in (*PATIENCE, None):
        try:
            fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)  # what tells of others; nobody heeds this one
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            return True
        except BlockingIOError:
            if wait is not None:
                time.sleep(wait)
        except OSError:
            break
    return False
