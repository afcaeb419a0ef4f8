"""Which codecs exist. Plugins may add formats; the registry is built once at start and then only read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cpa.errors import PluginError
from cpa.formats.codec import Codec


class FormatRegistry:
    """Codecs by format name."""

    def __init__(self, codecs: Iterable[Codec] = ()) -> None:
        self._codecs: dict[str, Codec] = {}
        for codec in codecs:
            self.add(codec)

    def add(self, codec: Codec) -> None:
        """Register a codec. Raises PluginError when its name is taken."""
        if codec.name in self._codecs:
            raise PluginError(f"format {codec.name!r} is registered twice")
        self._codecs[codec.name] = codec

    def __getitem__(self, name: str) -> Codec:
        return self._codecs[name]

    def __contains__(self, name: str) -> bool:
        return name in self._codecs

    def __iter__(self) -> Iterator[Codec]:
        return iter(self._codecs.values())


def builtin_formats() -> FormatRegistry:
    """A registry of the formats that ship with cpa."""
    from cpa.formats.claude import ClaudeCodec
    from cpa.formats.gemini import GeminiCliCodec, GeminiCodec
    from cpa.formats.openai import OpenAICodec
    from cpa.formats.openai_response import CodexCodec, OpenAIResponseCodec

    return FormatRegistry(
        [OpenAICodec(), OpenAIResponseCodec(), CodexCodec(), ClaudeCodec(), GeminiCodec(), GeminiCliCodec()]
    )
