"""A disk on which chosen writes fail, as a process sees it (needs a C compiler)."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class FailingDisk:
    """Writes, truncations and syncs of files whose path contains ``files`` can be made to fail."""

    def __init__(self, folder: Path, files: str) -> None:
        """``folder`` takes the compiled library. Skips the test without a compiler."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("needs a C compiler")
        library, control = folder / "failing_disk.so", folder / "control"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        control.write_bytes(bytes(4096))
        with control.open("r+b") as stream:
            self._numbers = mmap.mmap(stream.fileno(), 4096)
        self.environ = {"LD_PRELOAD": str(library), "CPA_DISK_FILES": files, "CPA_DISK_CONTROL": str(control)}
        """What a process needs in its environment to see this disk."""

    def fail(self, nth: int, times: int = 1, error: int = 5) -> None:
        """Let the ``nth`` write from now on fail, and those after it, ``times`` in all; ``error`` is an errno."""
        self._numbers[:24] = struct.pack("3q", nth - 1, times, error)

    @property
    def has_failed(self) -> bool:
        """Whether everything that was to fail has failed."""
        return bool(struct.unpack("q", self._numbers[8:16])[0] == 0)

    @property
    def writes(self) -> int:
        """How many writes were seen so far."""
        return int(struct.unpack("q", self._numbers[24:32])[0])

    def environment(self) -> dict[str, str]:
        """The whole environment for a process."""
        return {**os.environ, **self.environ}
