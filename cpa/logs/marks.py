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
_ALL_THE_SAME = bytes(range(128)) + b"\x7f" * 128


class Marks:
    """Some words, any of which may stand in a text in upper or in lower case."""

    def __init__(self, words: Iterable[bytes]) -> None:
        """Words may overlap; an empty one stands in every text."""
        folded = sorted({_text(word).lower() for word in words}, key=len)
        fewest: list[str] = []
        for word in folded:
            if not any(known in word for known in fewest):
                fewest.append(word)
        pattern = "|".join("".join([f"\\x{ord(letter):02x}" for letter in word]) for word in fewest)
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
        found: bool = self._any.isinstance_python(_text(content))
        return found


def _search(pattern: str) -> Any:
    """What tells whether a text matches in lower case, which is made of it five times as fast as Python makes it."""
    from pydantic_core import SchemaValidator, core_schema  # five megabytes that only histories need

    lower = core_schema.str_schema(to_lower=True)
    return SchemaValidator(core_schema.chain_schema([lower, core_schema.str_schema(pattern=pattern)]))


def _text(content: bytes) -> str:
    """As text in which all that is not ASCII is the same."""
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        return content.translate(_ALL_THE_SAME).decode("ascii")
