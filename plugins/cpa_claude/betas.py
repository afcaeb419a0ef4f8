"""Beta flags that what a request asks for depends on.

https://docs.anthropic.com/en/api/beta-headers
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

OAUTH = "oauth-2025-04-20"
"""Without this flag the API takes no OAuth token."""
Body = dict[str, Any]


@lru_cache(maxsize=64)
def merged(*lists: str) -> str:
    """Beta flags of several comma lists, each once, in order."""
    flags = (flag.strip() for text in lists for flag in text.split(","))
    return ",".join(dict.fromkeys(flag for flag in flags if flag))


def needed(body: Body, known: str) -> str:
    """The flags a body needs beside the ``known`` ones (a comma list); any version of a flag will do."""
    return ",".join([flag for flag, family, is_needed in _NEEDS if family not in known and is_needed(body)])


def _thinks_between_calls(body: Body) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive") and bool(body.get("tools"))


def _has_a_format(body: Body) -> bool:
    config = body.get("output_config")
    return bool(body.get("output_format")) or (isinstance(config, dict) and bool(config.get("format")))


def _caches_for_an_hour(body: Body) -> bool:
    return any(isinstance(mark, dict) and mark.get("ttl") == "1h" for mark in _cache_marks(body))


def _cache_marks(body: Body) -> Iterator[Any]:
    for section in (body.get("tools"), body.get("system")):
        yield from _marks(section)
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield from _marks(message.get("content"))


def _marks(blocks: Any) -> Iterator[Any]:
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and "cache_control" in block:
            yield block["cache_control"]


_NEEDED_FOR: dict[str, Callable[[Body], bool]] = {
    "interleaved-thinking-2025-05-14": _thinks_between_calls,
    "structured-outputs-2025-12-15": _has_a_format,
    "context-management-2025-06-27": lambda body: bool(body.get("context_management")),
    "fast-mode-2026-02-01": lambda body: body.get("speed") == "fast",
    "extended-cache-ttl-2025-04-11": _caches_for_an_hour,
}
_NEEDS = tuple((flag, flag.rsplit("-", 3)[0], is_needed) for flag, is_needed in _NEEDED_FOR.items())
"""Flags, each with its name without the date."""
