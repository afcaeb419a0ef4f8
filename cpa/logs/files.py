"""Log files: written by a thread of their own, rotated by size, bounded in total."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

MAIN = "main.log"
ROTATE_BYTES = 10 * 1024 * 1024
PRUNE_SECONDS = 60.0
_ROTATED = re.compile(r"main-[\dT.-]+\.log(?:\.gz)?|main\.log\.\d+(?:\.gz)?")
MOST_WAITING = 100_000
"""Lines that wait for a slow disk; more are dropped and counted."""


def log_folder(environ: Mapping[str, str], auth_dir: Path) -> Path:
    """Where log files go: below ``$WRITABLE_PATH``, else below the working directory, else in the auth directory."""
    if writable := environ.get("WRITABLE_PATH", "").strip():
        return Path(writable).expanduser() / "logs"
    here = Path("logs").absolute()
    existing = next((folder for folder in (here, *here.parents) if folder.exists()), Path("/"))
    return here if os.access(existing, os.W_OK | os.X_OK) else auth_dir / "logs"


def rotated_files(folder: Path) -> list[Path]:
    """The rotated files, oldest first (without ``main.log``)."""
    try:
        names = [name for name in os.listdir(folder) if _is_rotated(name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _is_rotated(name: str) -> bool:
    return _ROTATED.fullmatch(name) is not None


class LogFiles:
    """Where lines go while ``logging-to-file`` is on. ``write`` never blocks and never raises."""

    def __init__(self, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._rotate_bytes = rotate_bytes
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._total_bytes = 0
        self.folder = Path("logs")
        self.active = False
        self.dropped = 0
        """Lines lost to a disk that failed or was too slow."""

    def configure(self, *, enabled: bool, folder: Path, total_mb: int) -> None:
        """Follow the configuration; ``total_mb`` 0 keeps everything."""
        self._total_bytes = total_mb * 1024 * 1024
        if self.active and (not enabled or folder != self.folder):
            self.close()
        self.folder = folder
        if enabled and not self.active:
            self.active = True
            self._thread = threading.Thread(target=self._run, args=(folder,), name="cpa-log-files", daemon=True)
            self._thread.start()

    def write(self, line: str) -> None:
        """Take a line."""
        if self._lines.qsize() >= MOST_WAITING:
            self.dropped += 1
        else:
            self._lines.put(line)

    def close(self) -> None:
        """Write what is waiting and end."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join(10.0)
            self._thread = None
        self.active = False

    # -- in the thread -----------------------------------------------------------------------------------------

    def _run(self, folder: Path) -> None:
        path, pruned = folder / MAIN, 0.0
        ended = failed = False
        while not ended:
            lines, ended = self._batch()
            try:
                if lines:
                    _append(path, "".join(line + "\n" for line in lines))
                    if path.stat().st_size >= self._rotate_bytes:
                        path.rename(folder / _rotated_name(datetime.now()))
                if time.monotonic() - pruned > PRUNE_SECONDS:
                    pruned = time.monotonic()
                    prune(folder, self._total_bytes)
                failed = False
            except OSError as fault:
                self.dropped += len(lines)
                if not failed:
                    print(f"log file {path} cannot be written: {fault.strerror or fault}", file=sys.stderr)
                failed = True

    def _batch(self) -> tuple[list[str], bool]:
        """Lines that are waiting, at least one unless a minute passed in silence; whether it is the end."""
        lines: list[str] = []
        try:
            line = self._lines.get(timeout=PRUNE_SECONDS)
            while line is not None and len(lines) < 1000:
                lines.append(line)
                line = self._lines.get_nowait()
        except queue.Empty:
            return lines, False
        if line is None:
            return lines, True
        lines.append(line)
        return lines, False


def _rotated_name(now: datetime) -> str:
    return f"main-{now:%Y-%m-%dT%H-%M-%S}.{now.microsecond // 1000:03}.log"


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        content = text.encode("utf-8", "replace")
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)


def prune(folder: Path, total_bytes: int) -> int:
    """Delete the oldest rotated files until all log files together fit; the number deleted. 0 bytes is no limit."""
    if not total_bytes:
        return 0
    sizes = {path: path.stat().st_size for path in (*rotated_files(folder), folder / MAIN) if path.exists()}
    excess, deleted = sum(sizes.values()) - total_bytes, 0
    for path in sorted((path for path in sizes if path.name != MAIN), key=lambda path: path.stat().st_mtime):
        if excess <= 0:
            break
        excess -= sizes[path]
        path.unlink(missing_ok=True)
        deleted += 1
    return deleted


def clear(folder: Path) -> int:
    """Empty ``main.log`` and delete the rotated files; the number deleted. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.truncate(folder / MAIN, 0)
    found = rotated_files(folder)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
