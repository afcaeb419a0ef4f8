"""Keep what client keys have used over restarts, in a small file beside the usage database."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import orjson

from cpa.config.atomic import write_atomically
from cpa.exchange.limits import ClientLimits

SAVE_SECONDS = 1.0
"""What is counted between two saves is lost when the machine or the daemon dies on the spot."""


class LimitsFile:
    """Reads the file at the start and writes it while things change. A disk that fails is logged and tried again."""

    def __init__(self, path: Path, limits: ClientLimits, log: Any) -> None:
        self._path = path
        self._limits = limits
        self._log = log
        self._failed = False

    async def load(self) -> None:
        """Take back what was counted before. A file that cannot be read is kept under another name, and said so."""
        try:
            self._limits.restore(orjson.loads(await asyncio.to_thread(self._path.read_bytes)))
        except FileNotFoundError:
            return
        except (OSError, orjson.JSONDecodeError) as fault:
            broken = self._path.with_suffix(".broken")
            with contextlib.suppress(OSError):
                self._path.replace(broken)
            self._log.error(
                "what client keys have used cannot be read, it is counted anew", kept=str(broken), reason=str(fault)
            )

    async def run(self) -> None:
        """Save again and again, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self.save()

    async def save(self) -> None:
        """Write what has changed."""
        if not self._limits.changed:
            return
        self._limits.changed = False
        content = orjson.dumps(self._limits.state())
        try:
            await asyncio.to_thread(self._write, content)
            self._failed = False
        except OSError as fault:
            self._limits.changed = True
            if not self._failed:
                self._log.warning("what client keys used cannot be saved", reason=fault.strerror or str(fault))
            self._failed = True

    def _write(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            self._path.touch(mode=0o600)
        write_atomically(self._path, content)
