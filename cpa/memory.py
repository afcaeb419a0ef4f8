"""Keep no more memory than is in use."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path

MB = 1024 * 1024
ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1
"""Parameters of ``mallopt(3)``."""
SETTINGS = {
    "MALLOC_ARENA_MAX": (ARENA_MAX, 8),
    "MALLOC_MMAP_THRESHOLD_": (MMAP_THRESHOLD, 4 * MB),
    "MALLOC_TRIM_THRESHOLD_": (TRIM_THRESHOLD, 8 * MB),
}
"""Parameters and what they are set to, by the variables with which glibc lets others choose."""
LOOK_SECONDS = 30.0
WORTH = 32 * MB
"""Bytes above the least that the process ever took, from which on it is asked what of them it needs."""


def settle() -> None:
    """What lives from here on is looked at by the garbage collector no more, the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()


def tune_allocator(environ: Mapping[str, str] = os.environ) -> None:
    """Settle how glibc takes memory and gives it back, unless ``environ`` does. Call it before there are threads.

    Threads take memory from a few places: what a thread has ever taken goes back from none but the first, yet those
    that write need their own, or they would keep the event loop waiting. What is free is kept: to give it back and take
    it again for each stream costs more than to write the stream. glibc learns that, if large requests come, by and by;
    :func:`give_back` sees to it that nothing is kept for long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (parameter, value) in SETTINGS.items():
        if variable not in environ:
            mallopt(parameter, value)


def resident() -> int:
    """Bytes of memory that the process takes now; 0 where that is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def allocator_trim() -> Callable[[], object] | None:
    """What makes the allocator give free pages back to the system; None where it cannot be asked to (not glibc).

    By itself it gives back the end of its memory only, and large requests leave small things there that stay: of a
    crowd of them it keeps all the memory it ever took.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: trim(0)


async def give_back(
    trim: Callable[[], object] | None, resident: Callable[[], int] = resident, seconds: float = LOOK_SECONDS
) -> None:
    """Every so many ``seconds`` give back what a crowd of large requests took, until cancelled."""
    if trim is None:
        return
    least = resident()
    while True:
        await asyncio.sleep(seconds)
        now = resident()
        if now >= least + WORTH:
            await asyncio.to_thread(trim)
            now = resident()
        least = min(least, now)
