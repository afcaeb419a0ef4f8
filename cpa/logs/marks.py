"""Tell texts that cannot hold a secret from those that may, several times as fast as looking for one.

Whatever a mask matches has one of a few short words in it. They are looked for all at once with vector instructions, by
the regex engine in the core of pydantic; RE2, which does the masking, reads byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MOST = 64
"""Words that are looked for at once; with more, RE2 is faster."""
SLICE = 32 * 1024
"""Bytes that are looked through at once: copies of more would take memory that has to be asked for every time."""
_FOLD = bytes(range(128)).lower() + b"\x7f" * 128


class Marks:
    """Some words, any of which may stand in a text in upper or in lower case."""

    def __init__(self, words: Iterable[bytes]) -> None:
        """Words may overlap; an empty one stands in every text."""
        folded = sorted({_fold(word) for word in words}, key=len)
        fewest: list[bytes] = []
        for word in folded:
            if not any(known in word for known in fewest):
                fewest.append(word)
        pattern = "|".join("".join([f"\\x{byte:02x}" for byte in word]) for word in fewest)
        self._any: Any = _search(pattern) if 0 < len(fewest) <= MOST else None
        self._none = not fewest
        self._step = SLICE - max(map(len, fewest), default=0)
        """Slices overlap by a word."""

    def may_stand_in(self, content: bytes) -> bool:
        """Whether one of the words stands in it; sometimes also when none does."""
        if self._any is None:
            return not self._none
        if len(content) <= SLICE:
            return self._stand_in(content)
        if self._step <= 0:
            return True
        return any(self._stand_in(content[at : at + SLICE]) for at in range(0, len(content), self._step))

    def _stand_in(self, content: bytes) -> bool:
        found: bool = self._any.isinstance_python(_fold(content).decode("ascii"))
        return found


def _search(pattern: str) -> Any:
    """What tells whether a text matches."""
    from pydantic_core import SchemaValidator, core_schema  # five megabytes that only histories need

    return SchemaValidator(core_schema.str_schema(pattern=pattern))


def _fold(content: bytes) -> bytes:
    """In lower case; what is not ASCII is all the same."""
    return content.lower() if content.isascii() else content.translate(_FOLD)
