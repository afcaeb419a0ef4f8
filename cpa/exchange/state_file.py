"""Keep over restarts what is counted or heard while the daemon runs, in small files beside the usage database."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Protocol

import orjson

from cpa.config.atomic import write_atomically


class Kept(Protocol):
    """What is kept."""

    changed: bool
    """Whether there is anything that was not saved."""

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""

    def restore(self, state: Any) -> None:
        """Take back what :meth:`state` gave; what has another shape is left out."""


class StateFile:
    """Reads the file at the start and writes it while things change. A disk that fails is logged and tried again.

    ``what`` names it in the log. What comes in the ``seconds`` between two saves is lost when the machine or the daemon
    dies on the spot.
    """

    def __init__(self, path: Path, kept: Kept, log: Any, *, what: str, seconds: float) -> None:
        self._path = path
        self._kept = kept
        self._log = log
        self._what = what
        self._seconds = seconds
        self._failed = False

    async def load(self) -> None:
        """Take back what was counted before. A file that cannot be read is kept under another name, and said so."""
        try:
            self._kept.restore(orjson.loads(await asyncio.to_thread(self._path.read_bytes)))
        except FileNotFoundError:
            return
        except (OSError, orjson.JSONDecodeError) as fault:
            broken = self._path.with_suffix(".broken")
            with contextlib.suppress(OSError):
                self._path.replace(broken)
            self._log.error(f"{self._what} cannot be read, it begins anew", kept=str(broken), reason=str(fault))

    async def run(self) -> None:
        """Save again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.save()

    async def save(self) -> None:
        """Write what has changed."""
        if not self._kept.changed:
            return
        self._kept.changed = False
        content = orjson.dumps(self._kept.state())
        try:
            await asyncio.to_thread(self._write, content)
            self._failed = False
        except OSError as fault:
            self._kept.changed = True
            if not self._failed:
                self._log.warning(f"{self._what} cannot be saved", reason=fault.strerror or str(fault))
            self._failed = True

    def _write(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            self._path.touch(mode=0o600)
        write_atomically(self._path, content)
