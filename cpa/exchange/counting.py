"""Count tokens locally, for upstreams without a counting endpoint."""

from __future__ import annotations

import asyncio
import os
from typing import Any

_BYTES_PER_TOKEN = 4
_CL100K = ("gpt-4-", "gpt-4", "gpt-3.5")
_O200K = ("gpt-4o", "gpt-4.1", "gpt-4.5")


async def count_tokens(text: str, model: str) -> int:
    """Tokens of ``text``: by tiktoken where it is installed with its vocabularies cached, else estimated.

    Tiktoken downloads vocabularies on first use, which a daemon must not do behind its user's back: it is used only
    when ``TIKTOKEN_CACHE_DIR`` says they are there. The estimate is one token for four bytes of UTF-8, rounded up.
    """
    if not text:
        return 0
    if os.environ.get("TIKTOKEN_CACHE_DIR"):
        counted = await asyncio.to_thread(_by_tiktoken, text, model)
        if counted is not None:
            return counted
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def _by_tiktoken(text: str, model: str) -> int | None:
    try:
        import tiktoken

        encoding: Any = tiktoken.get_encoding(_encoding_name(model))
        return len(encoding.encode_ordinary(text))
    except Exception:
        return None


def _encoding_name(model: str) -> str:
    if model.startswith(_O200K):
        return "o200k_base"
    return "cl100k_base" if model.startswith(_CL100K) else "o200k_base"
