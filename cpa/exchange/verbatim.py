"""Write a changed JSON body so that what did not change keeps its bytes.

Number spelling (``1.0``, ``1e2``, integers beyond 64 bits), escapes and inner white space of untouched members
survive: prompt caches and signatures depend on them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

_split = msgspec.json.Decoder(dict[str, msgspec.Raw])


def serialise(body: dict[str, Any], original: dict[str, Any], raw: bytes) -> bytes:
    """JSON of ``body``. Members that are the same objects as in ``original`` are copied from ``raw``, its text."""
    if not raw:
        return orjson.dumps(body)
    if body is original:
        return raw
    if (renamed := _renamed(body, original, raw)) is not None:
        return renamed
    try:
        members = _split.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return orjson.dumps(body)
    pieces = []
    for key, value in body.items():
        if key in members and original.get(key) is value:
            text: Any = members[key]
        else:
            text = orjson.dumps(value)
        pieces.append(b"%b:%b" % (orjson.dumps(key), text))
    return b"{" + b",".join(pieces) + b"}"


def _renamed(body: dict[str, Any], original: dict[str, Any], raw: bytes) -> bytes | None:
    """The text of a body that asks for another model and begins with its name, as most do; None for others."""
    if body.keys() != original.keys() or [key for key in body if body[key] is not original[key]] != ["model"]:
        return None
    before = b'{"model":%b' % orjson.dumps(original["model"])
    if not raw.startswith(before) or raw.count(b'"model"') != 1:
        return None
    return b'{"model":%b%b' % (orjson.dumps(body["model"]), raw[len(before) :])
