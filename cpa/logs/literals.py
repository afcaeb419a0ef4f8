"""Find any of many texts in another one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from cpa.patterns import compile_re2

FEW = 16
"""So many are looked for one after the other; of more RE2 looks for all at once."""
_MEMORY = 256 * 1024 * 1024
"""The most that RE2 may take for an expression."""


class Literals:
    """Some texts that are looked for, in any number."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted(set(texts), key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def found(self, text: str) -> bool:
        """Whether one of them stands in a text."""
        if (pattern := self._pattern) is not None:
            try:
                return pattern.search(text) is not None
            except UnicodeEncodeError:  # half a character, which RE2 does not read
                pass
        return any(known in text for known in self._texts)

    def replaced(self, text: str, by: str) -> str:
        """The text with ``by``, which holds no backslash, in place of every one of them, of longer ones first."""
        if (pattern := self._pattern) is not None:
            try:
                return str(pattern.sub(by, text))
            except UnicodeEncodeError:
                pass
        for known in self._texts:
            text = text.replace(known, by)
        return text

    @cached_property
    def _pattern(self) -> Any:
        """None when they are looked for one after the other."""
        if len(self._texts) <= FEW:
            return None
        import re2

        try:
            return compile_re2("|".join(map(re2.escape, self._texts)), memory=_MEMORY)
        except (re2.error, UnicodeEncodeError):
            return None
