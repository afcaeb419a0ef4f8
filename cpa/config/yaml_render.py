"""Write values that are new to a YAML file."""

from __future__ import annotations

import re
from typing import Any

import yaml

from cpa.config.yaml_tree import plain_value
from cpa.errors import ConfigError

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_SAFE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./@+~^$%()=:-]*")
"""Plain texts that need no closer look, unless they mean something else or end in a colon."""
_LITERAL = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ufeff\u2028\u2029][^\x00-\x09\x0b-\x1f\x7f-\x9f\ufeff\u2028\u2029]*")
_OLD_BOOLEANS = frozenset({"y", "n", "yes", "no", "on", "off"})
"""Texts in YAML 1.2, booleans for older readers: quoted, so that both agree."""


def one_line(value: Any, style: str = "") -> str:
    """A value on one line, usable inside ``[...]`` as well. ``style`` is the quote to prefer for a text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{one_line(key)}: {one_line(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(one_line(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _dumped(value)
    if not isinstance(value, str):
        raise ConfigError(f"a {type(value).__name__} cannot be written to the configuration")
    return _text(value, style)


def _text(value: str, style: str) -> str:
    if style in ('"', "'"):
        quote = '"' if "\n" in value else style
        return _dumped(value, quote)
    if _SAFE.fullmatch(value) and value.lower() not in _OLD_BOOLEANS and _is_plain(value):
        return value
    if "\n" in value:
        return _dumped(value, '"')
    text = _dumped([value])[1:-1]
    return _dumped(value, '"') if text == value and not _is_plain(value) else text


def _is_plain(value: str) -> bool:
    """Whether an unquoted text reads as that text."""
    return not value.endswith(":") and plain_value(value) == value


def _dumped(value: Any, style: str | None = None) -> str:
    try:
        text = yaml.dump(
            value, Dumper=_Dumper, default_flow_style=True, default_style=style, width=1 << 30, allow_unicode=True
        )
    except (yaml.YAMLError, UnicodeError):
        raise ConfigError("a text that is not valid Unicode cannot be written to the configuration") from None
    return str(text).removesuffix("\n").removesuffix("\n...")


def literal(value: Any) -> list[str] | None:
    """The lines of a text of several lines in block style, marker first; None where that is not possible."""
    if not isinstance(value, str) or "\n" not in value or not _LITERAL.fullmatch(value):
        return None
    if value.endswith("\n\n"):
        return None
    return ["|" if value.endswith("\n") else "|-", *("  " + line if line else "" for line in value.splitlines())]


def block(value: Any, offset: int = 2) -> list[str]:
    """The lines of a value in block style. ``offset`` is how far dashes stand right of their key."""
    if isinstance(value, dict) and value:
        lines: list[str] = []
        for key, inner in value.items():
            lines += entry(one_line(key), inner, offset)
        return lines
    if isinstance(value, list | tuple) and value:
        lines = []
        for item in value:
            head, *rest = block(item, offset)
            lines += ["- " + head, *("  " + line if line else "" for line in rest)]
        return lines
    return literal(value) or [one_line(value)]


def entry(key: str, value: Any, offset: int) -> list[str]:
    """The lines of ``key: value``."""
    if isinstance(value, dict | list | tuple) and value:
        indent = " " * (offset if not isinstance(value, dict) else 2)
        return [f"{key}:", *(indent + line if line else "" for line in block(value, offset))]
    head, *rest = block(value, offset)
    return [f"{key}: {head}", *rest]
