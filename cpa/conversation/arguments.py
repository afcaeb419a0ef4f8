"""Arguments of tool calls for formats that carry them as objects.

Models now and then write almost-JSON: single quotes, bare words. What can only be meant one way is read that way.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<single>'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>-?\d[\d.eE+\-]*)"""
    r"""|(?P<word>[^\W\d][\w.\-/]*)"""
    r"""|(?P<rest>[\s,:{}\[\]])""",
    re.DOTALL,
)
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_LONGEST = 1 << 20
"""Longer texts, in characters, are not worth repairing."""
UNREADABLE = "INVALID_JSON"
"""The member in which Anthropic advises to send back arguments that are no JSON
(https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming)."""


def arguments_or_text(text: str) -> dict[str, Any]:
    """As :func:`arguments_object`; what cannot be read is kept as text, so that no call is made without its arguments.

    Whoever is called, or reads the conversation, sees what was said.
    """
    value = arguments_object(text)
    return {UNREADABLE: text} if value is None else value


def arguments_object(text: str) -> dict[str, Any] | None:
    """The arguments a JSON text stands for: empty when it is blank or no object, None when it cannot be read."""
    if not text.strip():
        return {}
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _repaired(text)
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    """The object, also one that was written as text twice; empty for any other value."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _repaired(text: str) -> dict[str, Any] | None:
    """The object in a text with single quotes or bare words for strings; None when it is cut off or anything else."""
    if len(text) > _LONGEST or not text.lstrip().startswith("{"):
        return None
    written: list[str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return None
        token, at = found.group(), found.end()
        if found.lastgroup == "single":
            token = _quoted(token[1:-1])
        elif found.lastgroup == "word":
            token = _WORDS.get(token) or orjson.dumps(token).decode()
        written.append(token)
    try:
        value: Any = orjson.loads("".join(written))
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _quoted(inner: str) -> str:
    """The inside of a single-quoted string in double quotes; its other escapes stay."""
    return '"' + re.sub(r"""\\'|\\.|["\n\r\t]""", _escape, inner, flags=re.DOTALL) + '"'


_ESCAPES = {"\\'": "'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found.group(), found.group())
