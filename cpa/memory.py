"""Keep no more memory than is in use."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path

M_ARENA_MAX = -8
"""Of ``mallopt(3)``."""
ARENAS = 8
LOOK_SECONDS = 30.0
WORTH = 32 * 1024 * 1024
"""Bytes above the least that the process ever took, from which on it is asked what of them it needs."""


def settle() -> None:
    """What lives from here on is looked at by the garbage collector no more, the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()


def bound_arenas(environ: Mapping[str, str] = os.environ) -> None:
    """Let threads take memory from a few places, unless ``environ`` says from how many. Call it before there are any.

    glibc has up to eight for each processor, and what a thread has ever taken it gives back from none but the first.
    Few are enough for the threads that write to have their own: they would keep the event loop waiting.
    """
    if "MALLOC_ARENA_MAX" not in environ and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_ARENA_MAX, ARENAS)


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
