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
