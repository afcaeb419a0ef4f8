"""Recognise whose reasoning signature a string is, by its shape.

Providers reject each other's proofs, so an encoder sends on only what its own family made. The shapes: OpenAI's
``encrypted_content`` is a Fernet token; Claude's is a base64 protobuf whose first byte is 0x12 (or that, base64
encoded once more); Gemini's is any other base64 protobuf.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal, TypeAlias

SignatureFamily: TypeAlias = Literal["gpt", "claude", "gemini", "unknown"]

GEMINI_SKIP_VALIDATION = "skip_thought_signature_validator"
"""Literal a Gemini backend accepts instead of a thought signature."""

_GEMINI_LITERALS = frozenset({GEMINI_SKIP_VALIDATION, "context_engineering_is_the_way_to_go"})
_FERNET_MINIMUM = 73


def _decode(text: str) -> bytes | None:
    padded = text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None


def family_of(signature: str | None) -> SignatureFamily:
    """Who made ``signature``; ``unknown`` when its shape fits nobody."""
    if not signature:
        return "unknown"
    if signature in _GEMINI_LITERALS:
        return "gemini"
    raw = _decode(signature)
    if raw is None:
        return "unknown"
    if signature.startswith("gAAAA"):
        body = len(raw) - 1 - 8 - 16 - 32
        return "gpt" if len(raw) >= _FERNET_MINIMUM and raw[0] == 0x80 and body % 16 == 0 else "unknown"
    if raw[:1] == b"\x12":
        return "claude"
    if signature.startswith("R"):
        inner = _decode(raw.decode("ascii", errors="replace"))
        if inner is not None and inner[:1] == b"\x12":
            return "claude"
    return "gemini" if raw else "unknown"
