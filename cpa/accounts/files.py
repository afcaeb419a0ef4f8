"""The auth directory: one JSON object per file, shared with other programs and other daemons.

Nothing here knows a provider: a file has a ``type`` and members, and every member nobody knows is kept on every
write. All methods block (they read, write and sync files), so the daemon calls them in a thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import orjson
from msgspec import Struct

from cpa.accounts.directory_fault import directory_fault
from cpa.accounts.file_lock import FileLock
from cpa.config.atomic import locked, write_atomically
from cpa.errors import AuthFileError, AuthFileExists, AuthFileMissing

JsonObject: TypeAlias = dict[str, Any]

LARGEST_AUTH_FILE = 1024 * 1024
"""Bytes; a larger file is no auth file."""
LONGEST_NAME = 200
"""Bytes; leaves room for the name of the temporary file beside it."""
STALE_SECONDS = 600.0
"""A temporary file this old was left behind by a process that was killed."""

_BAD_CHARACTERS = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
_TEMPORARY = re.compile(r"(?i)\..+\.json\.[a-z0-9_]{8}$")


class AuthFile(Struct, frozen=True):
    """One auth file as it was read. ``data`` must not be changed."""

    name: str
    """Name in the auth directory; also the id of its (first) account."""
    path: Path
    """Absolute, not resolved."""
    data: JsonObject
    digest: str
    """SHA-256 of the file's bytes, hex."""

    @property
    def type(self) -> str:
        """The ``type`` member, trimmed and in lower case."""
        return type_of(self.data)

    def __repr__(self) -> str:
        return f"AuthFile({self.name!r}, type={self.type!r})"


Stamp: TypeAlias = tuple[int, int, int]
"""Modification time (ns), size, inode."""
Skipped: TypeAlias = Callable[[str, str], None]
"""``skipped(name, reason)``"""


def type_of(data: JsonObject) -> str:
    """An auth file's type, trimmed and in lower case; empty when it has none."""
    kind = data.get("type")
    return kind.strip().lower() if isinstance(kind, str) else ""


def is_auth_file_name(name: str) -> bool:
    """Whether a file of this name in the auth directory is read: ``*.json`` in any case, no dot file."""
    return name.lower().endswith(".json") and not name.startswith(".")


def check_name(name: str) -> str:
    """The name, when it may be given to a new auth file. Raises AuthFileError."""
    if not is_auth_file_name(name):
        raise AuthFileError(f"{name!r} is no name for an auth file: it must end with .json and not begin with a dot")
    if _BAD_CHARACTERS.search(name) or _RESERVED.match(name) or len(os.fsencode(name)) > LONGEST_NAME:
        raise AuthFileError(f"{name!r} is no name for an auth file")
    return name


def parse_auth_file(content: bytes) -> JsonObject:
    """The JSON object of an auth file. Raises AuthFileError with what is wrong, quoting nothing of it."""
    if not content.strip():
        raise AuthFileError("is empty")
    try:
        data = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as fault:
        raise AuthFileError(f"is no JSON: {fault.msg} in line {fault.lineno}") from None
    if not isinstance(data, dict):
        raise AuthFileError("is no JSON object")
    if not type_of(data):
        raise AuthFileError('has no "type"')
    return data


class AuthDirectory:
    """The files of one auth directory. Only its top level counts."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def ensure(self) -> None:
        """Make the directory (0700) and let nobody else read it or its files.

        Removes what killed processes left behind. Raises OSError when it cannot be made or is no directory.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _restrict(self.path, self.path.stat(), 0o700)
        with os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(OSError):
                    if is_auth_file_name(entry.name):
                        _restrict(Path(entry.path), entry.stat(), 0o600)
                    elif _TEMPORARY.match(entry.name) and time.time() - entry.stat().st_mtime > STALE_SECONDS:
                        os.unlink(entry.path)

    def names(self) -> list[str]:
        """Names of the files, sorted; none when the directory is missing."""
        try:
            return sorted(name for name in os.listdir(self.path) if is_auth_file_name(name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def stamps(self) -> dict[str, Stamp]:
        """What tells one version of each file from another, without reading any. Raises OSError."""
        found: dict[str, Stamp] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                if is_auth_file_name(entry.name):
                    with suppress(OSError):
                        status = entry.stat()
                        found[entry.name] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def scan(self, skipped: Skipped = lambda name, reason: None) -> Iterator[AuthFile]:
        """Every usable file in order of name, whatever its type; ``skipped`` hears of the others.

        Raises AuthFileError, which says what mends it, when the directory cannot be read.
        """
        try:
            names = self.names()
        except OSError as fault:
            raise AuthFileError(directory_fault(self.path) or str(fault)) from None
        for name in names:
            try:
                file = self.read(name)
            except (AuthFileError, OSError) as fault:
                skipped(name, str(fault))
            else:
                if file is not None:
                    yield file

    def read(self, name: str) -> AuthFile | None:
        """One file; None when there is none of that name.

        Raises AuthFileError when it is no usable auth file (half written, for instance), OSError when it cannot be
        read.
        """
        try:
            return self._parsed(name, self._content(name))
        except FileNotFoundError:
            return None

    def create(self, name: str, data: JsonObject) -> AuthFile:
        """Write a new file. Raises AuthFileExists when there is one of that name, AuthFileError, OSError."""
        return self._write_new(name, data, replace=False)

    def put(self, name: str, data: JsonObject) -> AuthFile:
        """Write a file whether or not there is one of that name. Raises AuthFileError, OSError."""
        return self._write_new(name, data, replace=True)

    def update(self, name: str, edit: Callable[[JsonObject], JsonObject]) -> AuthFile:
        """Change a file: ``edit`` gets its newest members and gives the new ones (it may change them in place).

        Safe against other threads and processes. Nothing is written when nothing changes. Raises AuthFileMissing
        when the file was deleted, AuthFileError when it is not usable, OSError.
        """
        path = self._path(name)
        with locked(path):
            try:
                fresh = self._edited(name, edit)
            except FileNotFoundError:
                raise AuthFileMissing(f"there is no auth file {name!r} (any more)") from None
            if fresh is None:
                return self._parsed(name, self._content(name))
            result = self._parsed(name, fresh)
            self._write(path, fresh)
            return result

    def delete(self, name: str) -> bool:
        """Delete a file; False when there was none. Raises AuthFileError, OSError."""
        path = self._path(name)
        with locked(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            return True

    def rename(self, old: str, new: str, edit: Callable[[JsonObject], JsonObject] = lambda data: data) -> AuthFile:
        """Give a file another name, and its members what ``edit`` makes of them once that name is known to be free.

        Raises AuthFileMissing, AuthFileExists, AuthFileError, OSError.
        """
        source, target = self._path(old), self._path(check_name(new))
        with locked(source):
            if target.exists() or target.is_symlink():
                raise AuthFileExists(f"there is an auth file {new!r} already")
            try:
                content = self._edited(old, edit)
            except FileNotFoundError:
                raise AuthFileMissing(f"there is no auth file {old!r}") from None
            if content is not None:
                self._write(source, content)
            os.rename(source, target)
            return self._parsed(new, self._content(new))

    def lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Be the only one, over all processes, to renew the credential of this file.

        ``update`` works inside; it has a lock of its own. The value is False where files cannot be locked (a
        read-only directory): then the lock holds within nothing. A killed process holds no lock.
        """
        self._path(name)
        return self._held(name)

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[bool]:
        among_us = self._turns.setdefault(name, asyncio.Lock())
        async with among_us:  # first come, first served, where no polling is needed
            lock = FileLock(self.path / f".{name}.lock")
            held = await lock.acquire()
            try:
                yield held
            finally:
                lock.release()

    def _path(self, name: str) -> Path:
        """Where the file is. Raises AuthFileError for a name that leads elsewhere."""
        if not is_auth_file_name(name) or "/" in name or "\\" in name or "\x00" in name:
            raise AuthFileError(f"{name!r} is no name for an auth file")
        return self.path / name

    def _content(self, name: str) -> bytes:
        handle = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise AuthFileError("is no regular file")
            if status.st_size > LARGEST_AUTH_FILE:
                raise AuthFileError("is larger than 1 MiB")
            with os.fdopen(handle, "rb", closefd=False) as stream:
                return stream.read(LARGEST_AUTH_FILE + 1)
        finally:
            os.close(handle)

    def _edited(self, name: str, edit: Callable[[JsonObject], JsonObject]) -> bytes | None:
        """What a file holds after an edit; None when that changes nothing. Raises FileNotFoundError, AuthFileError."""
        content = self._content(name)
        parse_auth_file(content)
        data: JsonObject = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
        changed = edit(deepcopy(data))
        if _canonical(changed) == _canonical(data):
            return None
        return _serialised(changed, indented=b'\n  "' in content)

    def _parsed(self, name: str, content: bytes) -> AuthFile:
        return AuthFile(name, self.path / name, parse_auth_file(content), sha256(content).hexdigest())

    def _write_new(self, name: str, data: JsonObject, *, replace: bool) -> AuthFile:
        path = self._path(check_name(name))
        content = _serialised(data, indented=False)
        file = self._parsed(name, content)
        if len(content) > LARGEST_AUTH_FILE:
            raise AuthFileError("is larger than 1 MiB")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path):
            if not replace and (path.exists() or path.is_symlink()):
                raise AuthFileExists(f"there is an auth file {name!r} already")
            self._write(path, content)
        return file

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        with suppress(FileNotFoundError):
            _restrict(path, path.stat(), 0o600)
        write_atomically(path, content)


def _serialised(data: JsonObject, *, indented: bool) -> bytes:
    """Standard JSON, numbers of any size as they were."""
    if indented:
        return json.dumps(data, ensure_ascii=False, indent=2).encode()
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _canonical(data: JsonObject) -> str:
    return json.dumps(data, sort_keys=True)


def _restrict(path: Path, status: os.stat_result, mode: int) -> None:
    if stat.S_IMODE(status.st_mode) & ~mode:
        with suppress(PermissionError):
            os.chmod(path, mode)
