"""Regular expressions compiled by RE2, whose time is linear in the text, whatever they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

MEMORY = 8 * 1024 * 1024


def compile_re2(pattern: str | bytes, *, memory: int = MEMORY) -> Any:
    """The expression, with the methods of :mod:`re`'s, for the caller alone to keep; of bytes it matches bytes.

    It grows as it meets texts, up to ``memory`` bytes. The module ``re2`` would keep the last 128 of all that were ever
    compiled. Raises ``re2.error``.
    """
    import re2  # two megabytes that most configurations do not need

    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory
    if isinstance(pattern, bytes):
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(pattern, options)
    finally:
        re2.purge()


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """An expression of a user, see :func:`compile_re2`. Raises ValueError with what is wrong with it, and no more."""
    import re2

    try:
        return compile_re2(pattern)
    except re2.error as fault:
        reason = fault.args[0] if fault.args else fault
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
