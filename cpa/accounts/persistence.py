"""Cooldowns that outlive a restart (``save-cooldown-status``): one small file beside the auth files."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from cpa.accounts.cooldown import imposed
from cpa.accounts.pool import AccountPool
from cpa.config.atomic import write_atomically

FILE_NAME = ".cooldowns"
"""In the auth directory, where it is no auth file for anybody."""
INTERVAL = 5.0
"""Seconds between two looks whether anything changed."""
LONGEST = 31 * 86400.0
"""Seconds; a saved cooldown that runs longer was saved under another clock."""


class SavedCooldown(Struct, frozen=True):
    """One running cooldown as it is written."""

    account: str
    model: str
    """Upstream model; empty for the whole account."""
    until: float
    """Unix seconds."""
    reason: str
    backoff: int = 0
    credential: str = ""
    """A fingerprint: what a credential was refused for does not hold against another one."""


class _Document(Struct, frozen=True):
    version: int
    records: tuple[SavedCooldown, ...]


class CooldownKeeper:
    """Writes running cooldowns down while it is switched on, and puts them back at start."""

    def __init__(self, path: Path, pool: AccountPool, log: Any, wall: Callable[[], float] = time.time) -> None:
        self.path = path
        self._pool = pool
        self._log = log
        self._wall = wall
        self._written: frozenset[tuple[str, str, float]] | None = None

    def restore(self) -> int:
        """Put back what still runs of accounts that still exist; how many. Call it once they are known (reads)."""
        try:
            document = msgspec.json.decode(self.path.read_bytes(), type=_Document)
        except FileNotFoundError:
            return 0
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as fault:
            self._log.warning("saved cooldowns cannot be read", path=str(self.path), reason=type(fault).__name__)
            return 0
        now, clock = self._wall(), self._pool.clock()
        restored = 0
        for record in document.records:
            seconds = record.until - now
            if 0 < seconds <= LONGEST and self._holds(record):
                cooldown = imposed(clock, seconds, record.reason, self._pool.probe_interval)
                self._pool.health(record.account).restore(record.model, cooldown, record.backoff)
                restored += 1
        return restored

    async def run(self, wanted: Callable[[], bool], interval: float = INTERVAL) -> None:
        """Keep the file as it should be until cancelled; ``wanted`` says whether it should exist at all."""
        while True:
            await asyncio.sleep(interval)
            await self.save(wanted=wanted())

    async def save(self, *, wanted: bool = True) -> None:
        """Write what is cooling now, if that differs from what was written; remove the file when nothing is."""
        records = self._running() if wanted else {}
        if frozenset(records) == self._written:
            return
        try:
            await asyncio.to_thread(self._write, tuple(records.values()))
        except OSError as fault:
            self._log.warning("cooldowns cannot be saved", path=str(self.path), reason=fault.strerror)
        self._written = frozenset(records)

    def _holds(self, record: SavedCooldown) -> bool:
        account = self._pool.get(record.account)
        if account is None:
            return False
        return record.reason != "unauthorized" or record.credential == fingerprint(account.secret)

    def _running(self) -> dict[tuple[str, str, float], SavedCooldown]:
        now, wall = self._pool.clock(), self._wall()
        found: dict[tuple[str, str, float], SavedCooldown] = {}
        for account in self._pool:
            health = self._pool.health(account.id)
            for model, cooldown in health.running(now):
                found[account.id, model, cooldown.until] = SavedCooldown(
                    account.id,
                    model,
                    wall + cooldown.until - now,
                    cooldown.reason,
                    health.backoff.get(model, 0),
                    fingerprint(account.secret),
                )
        return found

    def _write(self, records: tuple[SavedCooldown, ...]) -> None:
        if records:
            write_atomically(self.path, msgspec.json.encode(_Document(1, records)))
        else:
            with suppress(OSError):  # what would be left is over, or ends by itself
                os.unlink(self.path)


def fingerprint(secret: str) -> str:
    """Tells one credential from another and reveals neither."""
    return sha256(secret.encode()).hexdigest()[:12] if secret else ""
