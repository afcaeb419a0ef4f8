"""Notice changes of files: watch their folders, and look at them every few seconds all the same."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cpa.accounts.files import is_auth_file_name
from cpa.config.store import ConfigStore
from cpa.errors import ConfigError
from cpa.exchange.auth_files import AuthFiles
from cpa.inotify import FolderWatch

STEP = 0.05
"""Seconds in which nothing comes end a batch of changes."""
MOST_STEPS = 3
"""After which a batch ends all the same."""
POLL_SECONDS = 5.0
"""Safety net where the kernel reports nothing (network and bind mounts)."""
QUIET_SECONDS = 0.05
"""A file whose size and time stay the same this long is taken as written to its end."""
LONGEST_WAIT = 1.0
"""Seconds after which a file that is written all the time is read all the same."""
RETRY_SECONDS = 60.0
"""Between two attempts to watch folders that cannot be watched."""

SHARE = 200
"""Comparing all auth files, which the kernel makes superfluous mostly, may take one part in so many of the time."""

Stamp = tuple[int, int, int]
"""Modification time (ns), size, inode; zeros for a file that is not there."""


def stamp_of(path: Path) -> Stamp:
    """What tells one version of a file from another without reading it; symbolic links are followed."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


async def changes(
    folders: tuple[Path, ...], concerns: Callable[[Path], bool], stop: asyncio.Event | None = None
) -> AsyncIterator[set[Path]]:
    """Paths directly in these folders that were written, created, renamed or removed, in batches.

    ``concerns`` says which are wanted, ``stop`` ends it. Raises OSError when the folders cannot be watched.
    """
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    batch: set[Path] = set()
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    stopping.add_done_callback(lambda _: news.set())
    try:
        with FolderWatch(folders) as watch:

            def take() -> None:
                batch.update(path for path in watch.read() if concerns(path))
                if batch:
                    news.set()

            loop.add_reader(watch.descriptor, take)
            try:
                while not stopping.done():
                    await news.wait()
                    await _calm(news)
                    found = set(batch)
                    batch.clear()
                    if found:
                        yield found
            finally:
                loop.remove_reader(watch.descriptor)
    finally:
        stopping.cancel()


async def _calm(news: asyncio.Event) -> None:
    """Wait until nothing new has come for a moment, so that what belongs together is told together."""
    for _ in range(MOST_STEPS):
        news.clear()
        await asyncio.sleep(STEP)
        if not news.is_set():
            return
    news.clear()


class ConfigWatcher:
    """Reloads the store when its file changes, however it is saved: in place, by rename, through a symbolic link.

    A wrong file is logged once and changes nothing. ``reloaded`` is called after every reload that brought a new
    snapshot.
    """

    def __init__(
        self,
        store: ConfigStore,
        log: Any,
        reloaded: Callable[[], None] = lambda: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._store = store
        self._log = log
        self._reloaded = reloaded
        self._poll_seconds = poll_seconds
        self._complaint = ""
        self._checking = asyncio.Lock()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._poll())

    def check(self) -> None:
        """Reload now if the file changed."""
        try:
            changed = self._store.reload()
        except ConfigError as fault:
            self._complain(fault)
        except Exception:
            self._log.exception("the new configuration could not be put in force everywhere")
        else:
            self._settled(changed)

    async def _check(self) -> None:
        """``check`` once the file is written to its end, reading it outside the event loop."""
        async with self._checking:
            await self._until_quiet()
            try:
                loaded = await asyncio.to_thread(self._store.read_if_changed)
                changed = loaded is not None and self._store.swap(loaded)
            except ConfigError as fault:
                self._complain(fault)
            except Exception:
                self._log.exception("the new configuration could not be put in force everywhere")
            else:
                self._settled(changed)

    def _complain(self, fault: ConfigError) -> None:
        if str(fault) != self._complaint:
            self._complaint = str(fault)
            self._log.error("configuration not applied, the old one stays", reason=str(fault))

    def _settled(self, changed: bool) -> None:
        self._complaint = ""
        if changed:
            self._reloaded()

    async def _until_quiet(self) -> None:
        seen = stamp_of(self._store.path)
        for _ in range(int(LONGEST_WAIT / QUIET_SECONDS)):
            await asyncio.sleep(QUIET_SECONDS)
            if (now := stamp_of(self._store.path)) == seen:
                return
            seen = now

    async def _watch(self) -> None:
        while True:
            folders = self._folders()
            try:
                async for _ in changes(folders, self._concerns):
                    await self._check()
                    if self._folders() != folders:
                        break
            except OSError as fault:
                self._log.warning(
                    "cannot watch the configuration; it is looked at every few seconds", reason=str(fault)
                )
                await asyncio.sleep(RETRY_SECONDS)

    def _folders(self) -> tuple[Path, ...]:
        """The file's folder, and the folder of the file it is a symbolic link to."""
        path = Path(os.path.abspath(self._store.path))
        return tuple(dict.fromkeys((path.parent, path.resolve().parent)))

    def _concerns(self, path: Path) -> bool:
        """The file, what it links to, and the ``..data`` link that a mounted configuration is swapped through."""
        return path.name in (self._store.path.name, self._store.path.resolve().name) or path.name.startswith("..")

    async def _poll(self) -> None:
        seen: Stamp | None = None  # the file may have changed between its first reading and now
        while True:
            await asyncio.sleep(self._poll_seconds)
            if (stamp := stamp_of(self._store.path)) != seen:
                seen = stamp
                await self._check()


class AuthWatcher:
    """Follows the auth directory file by file: what is added, changed, replaced or deleted there is in force at once.

    The kernel tells which file it was. Where it tells nothing (network mounts), times and sizes are compared now and
    then; only files that differ are read.
    """

    def __init__(self, files: AuthFiles, log: Any, poll_seconds: float = POLL_SECONDS) -> None:
        self._files = files
        self._log = log
        self._poll_seconds = poll_seconds
        self._stamps: dict[str, Stamp] = {}
        self._place: Stamp | None = None
        self._moved = asyncio.Event()

    async def prepare(self) -> None:
        """Remember how the files are now. Call it before they are read, so that no change falls in between."""
        self._stamps = await self._look() or {}

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._poll())
            group.create_task(self._files.follow())

    async def _watch(self) -> None:
        folder = self._files.directory.path
        while True:
            self._moved.clear()
            try:
                async for batch in changes((folder,), lambda path: is_auth_file_name(path.name), self._moved):
                    await self._check({path.name for path in batch})
            except OSError as fault:
                self._log.warning(
                    "cannot watch the auth directory; it is looked at every few seconds", reason=str(fault)
                )
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), RETRY_SECONDS)

    async def _check(self, names: set[str]) -> None:
        try:
            await self._files.check(names)
        except Exception:
            self._log.exception("changed auth files could not be put in force")

    async def _poll(self) -> None:
        pause = min(QUIET_SECONDS * 10, self._poll_seconds)
        while True:
            await asyncio.sleep(pause)
            started = time.perf_counter()
            place = stamp_of(self._files.directory.path)
            if self._place is not None and place[2] != self._place[2]:
                self._moved.set()  # another directory stands there now: the kernel watches the old one
            self._place = place
            now = await self._look()
            pause = max(self._poll_seconds, (time.perf_counter() - started) * SHARE)
            if now is None:
                continue
            before, self._stamps = self._stamps, now
            differing = {name for name, stamp in now.items() if before.get(name) != stamp}
            await self._check(differing | (before.keys() - now.keys()))

    async def _look(self) -> dict[str, Stamp] | None:
        try:
            return await asyncio.to_thread(self._files.directory.stamps)
        except OSError:
            return None
