"""Replace a file so that nobody ever sees half of it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cpa.config.lease import unwritten

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this platform
    fcntl = None  # type: ignore[assignment]

_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP})
"""Renaming or making a file beside it is impossible, e.g. a single file mounted into a container."""


_CHANGED = "{} was changed by somebody else at the same moment"


class ChangedMeanwhile(OSError):
    """Somebody else wrote the file after it was read; nothing was written."""


def write_atomically(path: Path, content: bytes, *, expected: bytes | None = None) -> None:
    """Replace a file by temp file, fsync and rename, keeping its mode and owner (0600 for a new one).

    A symbolic link stays one: its target is replaced. Where renaming is impossible the file is written in place, after
    a copy was kept as ``<name>.bak`` if that can be made. ``expected`` is what the file must hold at that moment.
    Raises OSError, ChangedMeanwhile among them.
    """
    target = path.resolve()
    try:
        _replace(target, content, expected)
    except OSError as fault:
        if fault.errno not in _NO_RENAME or not target.exists():
            raise
        _refuse_changed(target, expected)
        _write_in_place(target, content)


def _replace(target: Path, content: bytes, expected: bytes | None) -> None:
    status = target.stat() if target.exists() else None
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, status.st_mode & 0o777 if status else 0o600)
        if status and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(OSError):
                os.chown(name, status.st_uid, status.st_gid)
        _move(name, target, expected)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(target.parent)


def _move(name: str, target: Path, expected: bytes | None) -> None:
    """Put the temp file in the target's place; when that holds something unexpected it stays there."""
    if expected is None:
        os.replace(name, target)
        return
    with _refusing(target), unwritten(target) as disturbed:
        _refuse_changed(target, expected)
        content = Path(name).read_bytes()
        if not _exchanged(name, target):
            _refuse_changed(target, expected)
            os.replace(name, target)
        elif Path(name).read_bytes() != expected or disturbed():
            _put_back(name, target, content)
            raise ChangedMeanwhile(_CHANGED.format(target.name))
        else:
            os.unlink(name)


def _put_back(name: str, target: Path, content: bytes) -> None:
    """Undo a swap that put ``content`` into the target, and leave the newest there of what others saved."""
    while True:
        restored = Path(name).read_bytes()
        if not _exchanged(name, target):
            os.replace(name, target)  # the target was taken away: nothing newer can be lost
            return
        if Path(name).read_bytes() == content:
            os.unlink(name)
            return
        content = restored


def _refuse_changed(target: Path, expected: bytes | None) -> None:
    with _refusing(target):
        if expected is not None and target.read_bytes() != expected:
            raise ChangedMeanwhile(_CHANGED.format(target.name))


@contextmanager
def _refusing(target: Path) -> Iterator[None]:
    """A file that is taken away is one that is changed."""
    try:
        yield
    except FileNotFoundError:
        raise ChangedMeanwhile(_CHANGED.format(target.name)) from None


def _exchanged(name: str, target: Path) -> bool:
    """Swap two files in one step, so that nothing is lost unseen; False where the system cannot."""
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(name), here, os.fsencode(target), swap) == 0)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where folders can be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_in_place(target: Path, content: bytes) -> None:
    backup = target.with_name(target.name + ".bak")
    with (
        suppress(OSError),
        open(backup, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as copy,
    ):
        copy.write(target.read_bytes())
    with target.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the advisory lock of a file's folder, against other threads and other processes of ours."""
    try:
        handle = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
