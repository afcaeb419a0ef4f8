"""Tell a stream from a whole answer by its first bytes: not all upstreams and proxies name its type rightly."""

from __future__ import annotations

import re
from typing import Any

import orjson
from msgspec import Struct

from cpa.exchange.transport import bad_answer, plain
from cpa.formats.codec import JsonObject
from cpa.formats.sse import is_whole
from cpa.upstream.client import UpstreamResponse, read_whole

_MEANS_NOTHING = re.compile(rb"(?:[\s\xef\xbb\xbf]+|:[^\r\n]*[\r\n])*+")
"""White space, byte order marks and comments, which stand before a stream or a body while an upstream thinks."""
_FIELDS = b"deir"
"""How the lines of an event begin: ``data:``, ``event:``, ``id:`` and ``retry:``."""
_WHOLE = b"{[\x1f\x28"
"""How JSON begins, and what is packed."""


class Opening(Struct):
    """What is known of an answer once it is clear what it is."""

    content: bytes
    """Of a stream its first bytes, or all of it where it was packed; else the whole body. What means nothing before it
    is left out."""
    body: JsonObject | None = None
    """The whole answer; None for a stream, which is to be read on."""


async def read_opening(response: UpstreamResponse) -> Opening:
    """Read an answer as far as needed. Raises UpstreamError as ``read`` does, or for what is neither."""
    kind = response.headers.get("Content-Type", "").lower()
    begun = await _beginning(response)
    if _is_stream(begun[:1], kind):
        return Opening(begun)
    content = plain(begun + await read_whole(response))
    content = content[_after_nothing(content) :]
    if _is_stream(content[:1], kind):
        return Opening(content)
    if "event-stream" in kind and not is_whole(content):
        return Opening(content)
    value = _parsed(content)
    if isinstance(value, list) and len(value) > 1:
        return Opening(b"".join([b"data: %b\n\n" % orjson.dumps(each) for each in value]))
    return Opening(content, _object(value))


def parse_body(content: bytes) -> JsonObject:
    """The JSON object an upstream sent. Raises UpstreamError when it is none."""
    return _object(_parsed(content))


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise bad_answer("the upstream's answer is not JSON") from None


def _object(value: Any) -> JsonObject:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise bad_answer("the upstream's answer is not a JSON object")
    return value


async def _beginning(response: UpstreamResponse) -> bytes:
    """The first piece that means anything, from there on; empty at the end of the answer."""
    in_comment = False
    while chunk := await response.read():
        if in_comment:
            chunk = b":" + chunk
        at = _after_nothing(chunk)
        in_comment = chunk[at : at + 1] == b":"
        if at < len(chunk) and not in_comment:
            return chunk[at:] if at else chunk
    return b""


def _after_nothing(data: bytes) -> int:
    """Where something begins that means anything, or a comment that does not end."""
    found = _MEANS_NOTHING.match(data)
    return found.end() if found else 0


def _is_stream(first: bytes, kind: str) -> bool:
    """Whether an answer that begins with this byte (an empty one with none) and names this type is a stream."""
    if first and first in _WHOLE:
        return False
    return "event-stream" in kind or (first in _FIELDS if first else "json" not in kind)
