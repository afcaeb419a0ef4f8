"""The formats ``openai-response`` (Responses) and ``codex`` (its dialect at the Codex backend)."""

from cpa.formats.openai_response.codec import CodexCodec, OpenAIResponseCodec

__all__ = ["CodexCodec", "OpenAIResponseCodec"]
