"""Arguments of a function call that Vertex streams in pieces (``streamFunctionCallArguments``).

Each piece names a place by JSON path (``$.city``, ``$.days[0]``) and a scalar; strings may continue.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from cpa.formats.gemini.fields import Object

_SEGMENT = re.compile(r"\.([A-Za-z_$][\w$-]*)|\[(\d{1,5})\]|\[(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\]")
_VALUES = ("stringValue", "numberValue", "boolValue")
_MAX_INDEX = 10_000


class PartialArguments:
    """A call whose arguments are still arriving."""

    def __init__(self, name: str, call_id: Any, signature: str | None) -> None:
        self.name = name
        self.call_id = call_id
        self.signature = signature
        self.arguments: Object = {}

    def add(self, call: Object) -> None:
        """Take over what one ``functionCall`` part brings. Pieces that make no sense are skipped."""
        whole = call.get("args")
        if isinstance(whole, dict):
            self.arguments.update(whole)
        pieces = call.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                self._add_piece(piece)

    def _add_piece(self, piece: Object) -> None:
        path = _parse_path(piece.get("jsonPath"))
        if not path:
            return
        key = next((name for name in _VALUES if name in piece), None)
        if key is None and "nullValue" not in piece:
            return
        value = piece[key] if key is not None else None
        holder: Any = self.arguments
        for segment, following in pairwise(path):
            holder = _child(holder, segment, following)
        _put(holder, path[-1], value)


def _parse_path(path: Any) -> list[str | int]:
    if not isinstance(path, str) or not path.startswith("$"):
        return []
    segments: list[str | int] = []
    position = 1
    while position < len(path):
        match = _SEGMENT.match(path, position)
        if match is None:
            return []
        name, index, single, double = match.groups()
        segments.append(
            int(index) if index is not None else next(text for text in (name, single, double) if text is not None)
        )
        position = match.end()
    return segments


def _child(holder: Any, segment: str | int, following: str | int) -> Any:
    """The container at ``segment``, made when it is not there."""
    found = _at(holder, segment)
    if not isinstance(found, (dict, list)):
        found = [] if isinstance(following, int) else {}
        _set(holder, segment, found)
    return found


def _at(holder: Any, segment: str | int) -> Any:
    if isinstance(holder, dict) and isinstance(segment, str):
        return holder.get(segment)
    if isinstance(holder, list) and isinstance(segment, int) and segment < len(holder):
        return holder[segment]
    return None


def _put(holder: Any, segment: str | int, value: Any) -> None:
    """Set a scalar; a string continues the string that is there."""
    old = _at(holder, segment)
    _set(holder, segment, old + value if isinstance(old, str) and isinstance(value, str) else value)


def _set(holder: Any, segment: str | int, value: Any) -> None:
    if isinstance(holder, dict) and isinstance(segment, str):
        holder[segment] = value
    elif isinstance(holder, list) and isinstance(segment, int) and segment < _MAX_INDEX:
        holder.extend([None] * (segment + 1 - len(holder)))
        holder[segment] = value
