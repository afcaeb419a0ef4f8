"""The text of a Responses body that counts as prompt."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.formats.openai_response.fields import Object, objects

_TEXTS = ("text", "refusal", "name", "arguments", "input", "role")


def countable_text(body: Object) -> str:
    """Instructions, texts, calls and tools, joined by newlines; media is left out."""
    lines: list[str] = []
    for name in ("instructions", "input"):
        value = body.get(name)
        if isinstance(value, str):
            lines.append(value)
        else:
            for item in objects(value):
                _item(item, lines)
    text = body.get("text")
    schema = text.get("format") if isinstance(text, dict) else None
    structures = [value for value in (body.get("tools"), body.get("tool_choice"), schema) if value]
    lines += [value if isinstance(value, str) else orjson.dumps(value).decode() for value in structures]
    return "\n".join(line for line in lines if line)


def _item(item: Object, lines: list[str]) -> None:
    lines += [item[name] for name in _TEXTS if isinstance(item.get(name), str)]
    for name in ("content", "output", "summary"):
        value: Any = item.get(name)
        if isinstance(value, str):
            lines.append(value)
        else:
            for part in objects(value):
                lines += [part[member] for member in ("text", "refusal") if isinstance(part.get(member), str)]
