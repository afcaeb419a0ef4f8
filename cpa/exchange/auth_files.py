"""The auth directory and the roster as one: what is written is in force at once, what changes on disk follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from cpa.accounts.directory_fault import directory_fault
from cpa.accounts.files import AuthDirectory, AuthFile, JsonObject
from cpa.errors import AuthFileError
from cpa.exchange.roster import Roster

BATCH = 100
"""Files read in one go outside the event loop, and applied in one go on it."""
DOUBT_SECONDS = 0.1
"""Before believing that a file is gone or broken: it may be on its way to be replaced."""

_Found: TypeAlias = AuthFile | AuthFileError | OSError | None


class AuthFiles:
    """Everything in the daemon that reads or writes auth files does it here. Never blocks the event loop."""

    def __init__(self, directory: AuthDirectory, roster: Roster, log: Any) -> None:
        self.directory = directory
        self.unusable: dict[str, str] = {}
        """Why a file is not in force as it is on disk, by name. An older version of it may be."""
        self._roster = roster
        self._log = log
        self._order = asyncio.Lock()
        self._missing = False

    async def load(self) -> None:
        """Prepare the directory and take every file. A directory that cannot be used is reported, no more."""
        names, fault = await asyncio.to_thread(self._prepare)
        if fault:
            self._log.error("auth directory cannot be used", reason=fault)
        for batch in _batches(names):
            async with self._order:
                for name, found in (await asyncio.to_thread(self._read, batch)).items():
                    if isinstance(found, AuthFile):
                        self._roster.apply_file(found)
                    elif found is not None:
                        self._complain(name, found)
            await asyncio.sleep(0)
        self._log.info("auth files loaded", files=len(self._roster.files), unusable=len(self.unusable))

    def _prepare(self) -> tuple[list[str], str | None]:
        """The names of all files, as far as they can be known, and what is wrong with the directory."""
        fault = directory_fault(self.directory.path)
        try:
            self.directory.ensure()
            return self.directory.names(), fault
        except OSError as problem:
            return [], fault or str(problem)

    async def check(self, names: Iterable[str]) -> None:
        """Look at files that may have changed: take new versions, forget deleted ones, keep what is half written."""
        for batch in _batches(sorted(names)):
            doubtful = await self._apply(batch, believe=False)
            if doubtful:
                await asyncio.sleep(DOUBT_SECONDS)
                await self._apply(doubtful, believe=True)

    async def follow(self) -> None:
        """Finish what configuration changes left to do, a batch at a time, until cancelled."""
        while True:
            await self._roster.unsettled.wait()
            self._roster.settle(BATCH)
            await asyncio.sleep(0)

    async def create(self, name: str, data: JsonObject) -> AuthFile:
        """Write a new file; its accounts serve at once. Raises as AuthDirectory.create does."""
        return await self._written(lambda: self.directory.create(name, data))

    async def put(self, name: str, data: JsonObject) -> AuthFile:
        """Write a file, new or not; its accounts serve at once. Raises as AuthDirectory.put does."""
        return await self._written(lambda: self.directory.put(name, data))

    async def update(self, name: str, edit: Callable[[JsonObject], JsonObject]) -> AuthFile:
        """Change a file; in force at once. ``edit`` runs in a thread. Raises as AuthDirectory.update does."""
        return await self._written(lambda: self.directory.update(name, edit))

    async def delete(self, name: str) -> bool:
        """Delete a file and forget its accounts; False when there was none. Raises as AuthDirectory.delete does."""
        async with self._order:
            deleted = await asyncio.to_thread(self.directory.delete, name)
            self.unusable.pop(name, None)
            return self._roster.drop_file(name) or deleted

    async def rename(
        self, old: str, new: str, edit: Callable[[JsonObject], JsonObject] = lambda data: data
    ) -> AuthFile:
        """Give a file another name; its accounts get new ids. Raises as AuthDirectory.rename does."""
        async with self._order:
            file = await asyncio.to_thread(self.directory.rename, old, new, edit)
            self.unusable.pop(old, None)
            self._roster.drop_file(old)
            self._roster.apply_file(file)
            return file

    def lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Be the only one, over all processes, to renew the credential of this file."""
        return self.directory.lock(name)

    async def _written(self, write: Callable[[], AuthFile]) -> AuthFile:
        async with self._order:
            file = await asyncio.to_thread(write)
            self.unusable.pop(file.name, None)
            self._roster.apply_file(file)
            return file

    async def _apply(self, names: list[str], *, believe: bool) -> list[str]:
        """Take what is usable; the names of files that are gone or broken unless these are to be believed."""
        doubtful = []
        async with self._order:
            for name, found in (await asyncio.to_thread(self._read, names)).items():
                if isinstance(found, AuthFile):
                    self._take(found)
                elif not believe:
                    doubtful.append(name)
                elif found is None:
                    await self._forget(name)
                else:
                    self._complain(name, found)
        return doubtful

    def _take(self, file: AuthFile) -> None:
        self.unusable.pop(file.name, None)
        known = self._roster.files.get(file.name)
        if not self._roster.apply_file(file):
            return
        if known is None:
            self._log.info("auth file added", file=file.name, type=file.type)
        else:
            self._log.info("auth file changed", file=file.name, type=file.type, changed=_differing(known, file))

    async def _forget(self, name: str) -> None:
        missing = not await asyncio.to_thread(self.directory.path.is_dir)
        if missing:
            if not self._missing:
                self._log.warning("auth directory is gone, its accounts are kept", path=str(self.directory.path))
            self._missing = True
            return
        self._missing = False
        self.unusable.pop(name, None)
        if self._roster.drop_file(name):
            self._log.info("auth file deleted", file=name)

    def _complain(self, name: str, fault: AuthFileError | OSError) -> None:
        reason = (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
        if self.unusable.get(name) != reason:
            self.unusable[name] = reason
            kept = name in self._roster.files
            self._log.warning(
                "auth file not used" + (", its last version stays" if kept else ""), file=name, reason=reason
            )

    def _read(self, names: list[str]) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        for name in names:
            try:
                found[name] = self.directory.read(name)
            except (AuthFileError, OSError) as fault:
                found[name] = fault
        return found


def _batches(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _differing(before: AuthFile, after: AuthFile) -> str:
    """Names of the members that differ; never their values."""
    names = before.data.keys() | after.data.keys()
    return ", ".join(sorted(name for name in names if before.data.get(name) != after.data.get(name)))
