"""The format ``openai``: Chat Completions."""

from cpa.formats.openai.codec import OpenAICodec

__all__ = ["OpenAICodec"]
