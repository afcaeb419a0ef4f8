"""Read a file of another program: only a regular one, only up to a size, never waiting for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cpa.errors import CpaError


class Unreadable(CpaError):
    """A source cannot be taken; the message is one line for people and quotes nothing of it."""


def read_source(path: Path, limit: int) -> bytes:
    """The bytes of a file. Raises FileNotFoundError when there is none, Unreadable when it cannot be used."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as fault:
        raise Unreadable(f"cannot be read: {fault.strerror}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is no regular file")
        if status.st_size > limit:
            raise Unreadable(f"is larger than {limit // 1024} KiB")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(limit)
    except OSError as fault:
        raise Unreadable(f"cannot be read: {fault.strerror}") from None
    finally:
        os.close(handle)
