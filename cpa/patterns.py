"""Regular expressions of users: compiled by RE2, whose time is linear in the text, whatever they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """The expression, with the methods of :mod:`re`'s. Raises ValueError with what is wrong with it, and no more."""
    import re2  # two megabytes that most configurations do not need

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        reason = fault.args[0] if fault.args else fault
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
