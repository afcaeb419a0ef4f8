"""A damaged database is put aside under another name, never deleted, so that a new one can be begun."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

SUFFIXES = frozenset({".sqlite", ".sqlite3", ".db"})
"""Files that are no database at all are put aside only under these names: another one was named by mistake."""
_SIDE_FILES = ("-wal", "-shm", "-journal", "")
"""The database itself last: a log without its database is harmless, the other way round it is not."""


def is_damage(fault: BaseException, path: Path) -> bool:
    """Whether SQLite says that the file at ``path`` itself is broken, not the disk or the moment."""
    if not isinstance(fault, sqlite3.DatabaseError):
        return False
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_CORRUPT or (code == sqlite3.SQLITE_NOTADB and path.suffix in SUFFIXES)


def is_disk_fault(fault: BaseException) -> bool:
    """Whether the disk or the file is to blame, not what was asked."""
    if isinstance(fault, OSError):
        return True
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in _DISK_FAULTS


_DISK_FAULTS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


def put_aside(path: Path) -> Path:
    """Rename a database and the files that belong to it; its new name. Raises OSError."""
    target = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{target.name.rpartition('Z')[0]}Z-{number}")
    for suffix in _SIDE_FILES:
        source = path.with_name(path.name + suffix)
        if source.exists():
            os.replace(source, target.with_name(target.name + suffix))
    return target
