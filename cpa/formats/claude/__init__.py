"""The format ``claude``: Anthropic Messages."""

from cpa.formats.claude.codec import ClaudeCodec

__all__ = ["ClaudeCodec"]
