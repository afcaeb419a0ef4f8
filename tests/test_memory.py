"""Memory that large requests took goes back to the system, and what is in use is not asked for again and again."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys

import pytest

from cpa.memory import WORTH, allocator_trim, give_back, resident

MB = 1024 * 1024


class Process:
    """Takes one amount of memory after the other, each time it is looked at; then it is over."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._left = list(sizes)
        self._size = 0
        self.trimmed: list[int] = []
        """What it took each time it was asked to give back."""

    def size(self) -> int:
        if not self._left:
            raise asyncio.CancelledError
        self._size = self._left.pop(0)
        return self._size

    def trim(self) -> None:
        self.trimmed.append(self._size)


async def _trims(*sizes: int) -> list[int]:
    process = Process(sizes)
    with pytest.raises(asyncio.CancelledError):
        await give_back(process.trim, process.size, seconds=0)
    return process.trimmed


async def test_what_is_much_above_the_least_is_given_back() -> None:
    small, large = 60 * MB, 60 * MB + WORTH
    assert await _trims(small, small, large, small, small) == [large]


async def test_what_stayed_in_use_is_looked_at_again() -> None:
    small, large = 60 * MB, 60 * MB + WORTH
    assert await _trims(small, large, large, large, small, small) == [large, large]


async def test_the_least_is_the_least_that_ever_was() -> None:
    assert await _trims(90 * MB, 60 * MB, 60 * MB + WORTH, 70 * MB) == [60 * MB + WORTH]


async def test_nothing_is_done_where_the_allocator_cannot_be_asked() -> None:
    await asyncio.wait_for(give_back(None), 10)


MANY_THREADS = """
import ctypes, sys, threading
from cpa.memory import tune_allocator

tune_allocator({})
held, taken = threading.Barrier(13), []

def take():
    taken.extend(b"x" * size for size in range(1000, 2000))
    held.wait()
    held.wait()

for _ in range(12):
    threading.Thread(target=take).start()
held.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stream)
libc.fflush(stream)
held.wait()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="asks glibc")
@pytest.mark.parametrize(("environ", "arenas"), [({}, 8), ({"MALLOC_ARENA_MAX": "3"}, 3)])
def test_threads_bound_arenas_unless_somebody_chose(environ: dict[str, str], arenas: int) -> None:
    script = MANY_THREADS.replace("({})", f"({environ})")
    told = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environ}, capture_output=True, check=True
    ).stdout
    assert told.count(b"<heap nr=") == arenas


OVER_AND_OVER = """
import resource
from cpa.memory import tune_allocator

tune_allocator({})
for number in range(300):
    if number == 100:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    streams = [b"x" * 80_000 for _ in range(8)]
    joined = b"".join(streams)
    del streams, joined
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="tells glibc")
@pytest.mark.parametrize(("environ", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_memory_that_is_used_again_is_kept_unless_somebody_chose(environ: dict[str, str], kept: bool) -> None:
    script = OVER_AND_OVER.replace("({})", f"({environ})")
    faults = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environ}, capture_output=True, check=True
    ).stdout
    assert (int(faults) < 1000) is kept


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_size_of_this_process_is_known() -> None:
    assert resident() > MB


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_glibc_can_be_asked() -> None:
    trim = allocator_trim()
    assert trim is None or trim() in (0, 1)
