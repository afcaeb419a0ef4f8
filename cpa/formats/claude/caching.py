"""Prompt-cache marks: set where a client set none, kept to what Anthropic allows. Copy on write.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cpa.formats.claude.fields import Object, a_list, an_object, without

EPHEMERAL = {"type": "ephemeral"}
MOST_MARKS = 4

Place = tuple[str | int, ...]


def with_cache_marks(body: Object, *, inject: bool) -> Object:
    """The body with marks where it has none (``inject``), at most four of them, in the order of their lifetimes."""
    marks = list(_marks(body))
    if not marks:
        return _injected(body) if inject else body
    if len(marks) > MOST_MARKS:
        for place in _surplus(marks):
            body = _edit(body, place, lambda block: without(block, "cache_control"))
        marks = list(_marks(body))
    return _ordered(body, marks)


def _marks(body: Object) -> Iterator[Place]:
    """Where marks stand, in the order in which they count: tools, system, messages."""
    for section in ("tools", "system"):
        for index, block in enumerate(a_list(body.get(section))):
            if isinstance(block, dict) and block.get("cache_control") is not None:
                yield (section, index)
    for at, message in enumerate(a_list(body.get("messages"))):
        for index, block in enumerate(a_list(an_object(message).get("content"))):
            if isinstance(block, dict) and block.get("cache_control") is not None:
                yield ("messages", at, "content", index)


def _surplus(marks: list[Place]) -> list[Place]:
    """The marks to drop: early system blocks, early tools, early messages, then the last of system and tools."""
    system = [place for place in marks if place[0] == "system"]
    tools = [place for place in marks if place[0] == "tools"]
    messages = [place for place in marks if place[0] == "messages"]
    order = system[:-1] + tools[:-1] + messages + system[-1:] + tools[-1:]
    return order[: len(marks) - MOST_MARKS]


def _ordered(body: Object, marks: list[Place]) -> Object:
    """After a mark of the default lifetime none may ask for an hour."""
    short = False
    for place in marks:
        mark = _at(body, place).get("cache_control")
        hour = isinstance(mark, dict) and mark.get("ttl") == "1h"
        if hour and short:
            body = _edit(body, place, lambda b: {**b, "cache_control": without(b["cache_control"], "ttl")})
        elif not hour:
            short = True
    return body


def _injected(body: Object) -> Object:
    """Marks on the last tool that is not loaded later, the last system block and the last but one user message."""
    tools = a_list(body.get("tools"))
    loaded = [at for at, tool in enumerate(tools) if isinstance(tool, dict) and not tool.get("defer_loading")]
    if loaded:
        body = _edit(body, ("tools", loaded[-1]), _mark)
    system = body.get("system")
    if isinstance(system, str) and system:
        body = {**body, "system": [{"type": "text", "text": system}]}
    blocks = a_list(body.get("system"))
    if blocks and isinstance(blocks[-1], dict):
        body = _edit(body, ("system", len(blocks) - 1), _mark)
    return _mark_messages(body)


def _mark_messages(body: Object) -> Object:
    messages = a_list(body.get("messages"))
    users = [at for at, message in enumerate(messages) if an_object(message).get("role") == "user"]
    if len(users) < 2:
        return body
    at = users[-2]
    content = messages[at].get("content")
    if isinstance(content, str) and content:
        body = _edit(body, ("messages", at), lambda m: {**m, "content": [{"type": "text", "text": content}]})
    blocks = a_list(a_list(body.get("messages"))[at].get("content"))
    if blocks and isinstance(blocks[-1], dict) and blocks[-1].get("type") not in ("thinking", "redacted_thinking"):
        marked: Object = _edit(body, ("messages", at, "content", len(blocks) - 1), _mark)
        return marked
    return body


def _mark(block: Object) -> Object:
    return {**block, "cache_control": EPHEMERAL}


def _at(node: Any, place: Place) -> Any:
    for key in place:
        node = node[key]
    return node


def _edit(node: Any, place: Place, change: Any) -> Any:
    """A copy of ``node`` along ``place`` only, with the value there changed."""
    if not place:
        return change(node)
    key, rest = place[0], place[1:]
    copy: Any = list(node) if isinstance(node, list) else dict(node)
    copy[key] = _edit(node[key], rest, change)
    return copy
