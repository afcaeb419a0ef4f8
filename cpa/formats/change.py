"""How frames of a run are shown, so that what was shown can be made of them once again."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

Varying = tuple[re.Pattern[bytes], bytes]
"""A member that is different in every frame and means nothing here, and what is put in its place."""
OBFUSCATION: tuple[Varying, ...] = ((re.compile(rb'"obfuscation":"[^"\\]*"'), b'"obfuscation":""'),)
"""Random text with which OpenAI hides how long a delta is."""
NUMBERS: tuple[Varying, ...] = ((re.compile(rb'"sequence_number":[0-9]+'), b'"sequence_number":0'),)
"""The number of an event of the Responses API."""
KINDS: tuple[Varying, ...] = OBFUSCATION + NUMBERS
"""All that may vary. Their numbers are stored in histories: more are added at the end."""


class Change(Struct, frozen=True):
    """What surrounds the texts of some frames, and what surrounds them where they are shown."""

    before: bytes
    after: bytes
    shown_before: bytes
    shown_after: bytes
    varying: tuple[int, ...] = ()
    """Which of :data:`KINDS` were not looked at."""
    empty: bool = True
    """Whether a frame without text is shown as well."""

    def texts_of(self, frames: bytes) -> list[bytes]:
        """The texts of a run of such frames. Raises ValueError when they are others."""
        frames = without(frames, tuple(KINDS[number] for number in self.varying if number < len(KINDS)))
        begin, end = len(self.before), len(frames) - len(self.after)
        if begin > end or not (frames.startswith(self.before) and frames.endswith(self.after)):
            raise ValueError("frames are not what they were")
        return frames[begin:end].split(self.after + self.before)

    def came(self, texts: list[bytes]) -> bytes:
        """The frames of these texts, at least one, as they came; where something varies that is not known any more."""
        return b"".join((self.before, (self.after + self.before).join(texts), self.after))

    def shown(self, texts: list[bytes]) -> bytes:
        """The frames of these texts as they were shown."""
        if not self.empty:
            texts = [text for text in texts if text]
        if not texts:
            return b""
        return b"".join((self.shown_before, (self.shown_after + self.shown_before).join(texts), self.shown_after))


Note = Callable[[Change, list[bytes]], None]
"""Is told the texts of frames that pass in a run, and how they are shown."""


def without(chunk: bytes, varying: tuple[Varying, ...]) -> bytes:
    """The chunk without what varies."""
    for pattern, constant in varying:
        chunk = pattern.sub(constant, chunk)
    return chunk
