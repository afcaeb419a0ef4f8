"""Settings named on a command line: ``routing.strategy``, ``claude-api-key[0].prefix``, ``a."b.c"``."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Any

from cpa.config.file import KeyPath
from cpa.config.load import dotted
from cpa.config.section import Section, fields_of
from cpa.config.settings import Config
from cpa.config.yaml_reader import parse
from cpa.config.yaml_tree import plain_value
from cpa.errors import ConfigError

_PART = re.compile(r'\[(\d{1,6})\]|\.?(?:"([^"]+)"|([^.\[\]"]+))')


def parse_key_path(text: str) -> KeyPath:
    """The keys and positions in a name. Raises ConfigError."""
    path: list[str | int] = []
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise ConfigError(f"{text!r} names no setting; write for example routing.strategy or api-keys[0]")
        path.append(int(part[1]) if part[1] else part[2] or part[3])
        position = part.end()
    if not path or isinstance(path[0], int):
        raise ConfigError("the name of a setting is missing; write for example routing.strategy")
    return tuple(path)


def type_at(path: KeyPath) -> Any:
    """What a setting must be: an annotation. Raises ConfigError for a name cpa does not know, with similar ones."""
    kind: Any = Config
    for position, key in enumerate(path):
        found = [inner for option in _options(kind) for inner in _inside(option, key)]
        if not found:
            raise ConfigError(_unknown(path[: position + 1], kind))
        kind = found[0]
    return kind


def typed_value(text: str, path: KeyPath) -> Any:
    """What a text from the command line means for a setting: YAML, or the text itself where a text is wanted."""
    options = _options(type_at(path))
    if text[:1] in ("[", "{", '"', "'"):
        return parse(f"value: {text}")[0]["value"]
    if str in options and not {bool, int, float} & {*options}:
        return text
    value = plain_value(text) if text else ""
    return text if value is None and str in options else value


def value_at(data: Any, path: KeyPath) -> Any:
    """The value at a path in a configuration's data. Raises ConfigError where there is none."""
    for position, key in enumerate(path):
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            raise ConfigError(f"{dotted(path[: position + 1])} is not set") from None
    return data


def _options(kind: Any) -> list[Any]:
    """The members of a union; None is left out."""
    if typing.get_origin(kind) is typing.Annotated:
        return _options(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(kind) for option in _options(part) if option is not type(None)]
    return [kind]


def _inside(kind: Any, key: str | int) -> list[Any]:
    """The type of a member; nothing when there is no such member."""
    if kind is Any:
        return [Any]
    if isinstance(kind, type) and issubclass(kind, Section):
        field = fields_of(kind).get(key) if isinstance(key, str) else None
        return [field.annotation] if field is not None else []
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict and isinstance(key, str):
        return [arguments[1]]
    if origin in (tuple, list) and isinstance(key, int):
        return [arguments[0]]
    return []


def _unknown(path: KeyPath, kind: Any) -> str:
    known = [
        name
        for option in _options(kind)
        if isinstance(option, type) and issubclass(option, Section)
        for name in fields_of(option)
    ]
    similar = difflib.get_close_matches(str(path[-1]), known, n=3)
    hint = f"; did you mean {' or '.join(dotted((*path[:-1], name)) for name in similar)}?" if similar else ""
    return f"{dotted(path)} is no setting of cpa{hint}"
