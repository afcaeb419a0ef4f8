"""Thousands of tokens recognised in a text at the cost of looking up its long words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[\w~-][\w.~-]{14,}[\w~-]")


class TokenWords:
    """The tokens of logins, each kept as its long words, so that the number of logins does not count.

    Texts with line breaks (private keys) are left to the masks for shapes.
    """

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self.version = 0
        """Another one for other words."""

    def __len__(self) -> int:
        return len(self._words)

    def add(self, tokens: Iterable[str]) -> None:
        """These are secret from now on; a token may be added several times."""
        self.version += 1
        for word in _words(tokens):
            self._words[word] = self._words.get(word, 0) + 1

    def remove(self, tokens: Iterable[str]) -> None:
        """Take back one ``add``."""
        self.version += 1
        for word in _words(tokens):
            left = self._words.get(word, 0) - 1
            if left > 0:
                self._words[word] = left
            else:
                self._words.pop(word, None)

    def words(self) -> list[str]:
        """All of them; may be asked for in another thread."""
        return list(self._words)

    def found(self, text: str) -> bool:
        """Whether a token stands in the text."""
        return bool(self._words) and any(word in self._words for word in _WORD.findall(text))

    def mask(self, text: str, by: str) -> str:
        """The text with ``by`` in place of tokens."""
        if not self._words:
            return text
        return _WORD.sub(lambda found: by if found[0] in self._words else found[0], text)


def _words(tokens: Iterable[str]) -> Iterator[str]:
    for token in tokens:
        if "\n" not in token:
            yield from _WORD.findall(token)
