"""Google's Gemini format and the envelope of Gemini CLI's backend around it."""

from cpa.formats.gemini.codec import GeminiCliCodec, GeminiCodec

__all__ = ["GeminiCliCodec", "GeminiCodec"]
