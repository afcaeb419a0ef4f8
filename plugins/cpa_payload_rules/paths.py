"""Paths into JSON as gjson and sjson write them: dots, indexes, ``-1``, ``\\.``, ``:123`` and ``#(key=="v")``.

All functions copy on write and never raise on data: a path that leads nowhere changes nothing.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

MISSING: Any = object()
LONGEST_GAP = 10_000
"""Empty members that are made at most to reach an index."""
DEEPEST = 64
"""A longer path sets nothing: what it made could not be written as JSON."""

_QUERY = re.compile(r"#\((?P<path>[^=<>!%]*)(?P<op>==|!=|<=|>=|<|>|!%|%)(?P<value>.*)\)(?P<all>#?)", re.DOTALL)


def split(path: str) -> list[str]:
    """Segments of a path; a backslash takes the next character literally, queries stay whole."""
    segments: list[str] = []
    current: list[str] = []
    depth, position = 0, 0
    while position < len(path):
        character = path[position]
        if character == "\\" and position + 1 < len(path):
            current.append(path[position + 1])
            position += 2
            continue
        depth += (character == "(") - (character == ")")
        if character == "." and depth <= 0:
            segments.append("".join(current))
            current = []
        else:
            current.append(character)
        position += 1
    segments.append("".join(current))
    return segments


def get(value: Any, path: str) -> Any:
    """The value at a path, MISSING when there is none."""
    for segment in split(path):
        places = _places(value, segment)
        if not places:
            return MISSING
        value = value[places[0]]
    return value


def set_value(root: Any, path: str, value: Any) -> Any:
    """``root`` with ``value`` at ``path``; missing objects and arrays are made. The same object when impossible."""
    segments = split(path)
    return _set(root, segments, value) if len(segments) <= DEEPEST else root


def delete(root: Any, path: str) -> Any:
    """``root`` without what is at ``path``; the same object when nothing is there."""
    return _delete(root, split(path))


def _places(node: Any, segment: str) -> list[Any]:
    """Keys or indexes of ``node`` a segment means."""
    if isinstance(node, dict):
        key = segment[1:] if segment.startswith(":") and segment[1:].isdigit() else segment
        return [key] if key in node else []
    if not isinstance(node, list):
        return []
    if segment == "-1":
        return [len(node) - 1] if node else []
    if segment.isascii() and segment.isdigit():
        return [int(segment)] if int(segment) < len(node) else []
    query = _QUERY.fullmatch(segment)
    if query is None:
        return []
    found = [index for index, item in enumerate(node) if _holds(item, query)]
    return found if query["all"] else found[:1]


def _holds(item: Any, query: re.Match[str]) -> bool:
    path, operator, text = query["path"].strip(), query["op"], query["value"].strip()
    actual = get(item, path) if path else item
    if actual is MISSING:
        return False
    try:
        wanted = orjson.loads(text)
    except orjson.JSONDecodeError:
        wanted = text
    match operator:
        case "==":
            return bool(actual == wanted)
        case "!=":
            return bool(actual != wanted)
        case "%" | "!%":
            pattern = ".*".join(re.escape(piece) for piece in str(wanted).split("*")).replace(r"\?", ".")
            like = isinstance(actual, str) and re.fullmatch(pattern, actual, re.DOTALL) is not None
            return like == (operator == "%")
    numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in (actual, wanted))
    if not (numbers or (isinstance(actual, str) and isinstance(wanted, str))):
        return False
    comparisons = {"<": actual < wanted, "<=": actual <= wanted, ">": actual > wanted, ">=": actual >= wanted}
    return bool(comparisons[operator])


def _set(node: Any, segments: list[str], value: Any) -> Any:
    if not segments:
        return value
    segment, rest = segments[0], segments[1:]
    if segment.startswith("#"):
        for place in _places(node, segment):
            node = _replaced(node, place, _set(node[place], rest, value))
        return node
    if any(character in segment for character in "*?|@"):
        places = _places(node, segment)
        return _replaced(node, places[0], _set(node[places[0]], rest, value)) if places else node
    if isinstance(node, list):
        return _set_in_list(node, segment, rest, value)
    if not isinstance(node, dict):
        is_index = segment == "-1" or (segment.isascii() and segment.isdigit())
        return _set_in_list([], segment, rest, value) if is_index else _set({}, segments, value)
    key = segment[1:] if segment.startswith(":") and segment[1:].isdigit() else segment
    return {**node, key: _set(node.get(key), rest, value)}


def _set_in_list(node: list[Any], segment: str, rest: list[str], value: Any) -> Any:
    if segment == "-1":
        return [*node, _set(None, rest, value)]
    if not (segment.isascii() and segment.isdigit()) or int(segment) > len(node) + LONGEST_GAP:
        return node
    index = int(segment)
    padded = node + [None] * max(0, index + 1 - len(node))
    return _replaced(padded, index, _set(padded[index], rest, value))


def _replaced(node: Any, place: Any, value: Any) -> Any:
    if isinstance(node, list):
        return [*node[:place], value, *node[place + 1 :]]
    return {**node, place: value}


def _delete(node: Any, segments: list[str]) -> Any:
    segment, rest = segments[0], segments[1:]
    for place in sorted(_places(node, segment), key=str if isinstance(node, dict) else int, reverse=True):
        if rest:
            inner = _delete(node[place], rest)
            if inner is not node[place]:
                node = _replaced(node, place, inner)
        elif isinstance(node, list):
            node = [*node[:place], *node[place + 1 :]]
        else:
            node = {key: value for key, value in node.items() if key != place}
    return node
