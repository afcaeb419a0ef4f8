"""Find any of many texts in another one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

FEW = 16
"""Of more texts Python's own expressions take longer the more there are; RE2's do not."""
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
        if not self._texts:
            return False
        try:
            return self._pattern.search(text) is not None
        except UnicodeEncodeError:  # half a character, which RE2 does not read
            return self._thorough.search(text) is not None

    def replaced(self, text: str, by: str) -> str:
        """The text with ``by``, which holds no backslash, in place of every one of them."""
        if not self._texts:
            return text
        try:
            return str(self._pattern.sub(by, text))
        except UnicodeEncodeError:
            return self._thorough.sub(by, text)

    @cached_property
    def _pattern(self) -> Any:
        if len(self._texts) <= FEW:
            return self._thorough
        import re2  # two megabytes that few keys do not need

        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        try:
            return re2.compile("|".join(map(re2.escape, self._texts)), options)
        except (re2.error, UnicodeEncodeError):
            return self._thorough

    @cached_property
    def _thorough(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._texts)))
