"""Answers and refusals of the management API, and the reading of its JSON bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from aiohttp import web

from cpa.errors import CpaError

LARGEST_BODY = 4 * 1024 * 1024
_JSON = "application/json; charset=utf-8"
_Kind = TypeVar("_Kind")


class Refusal(CpaError):
    """A management request that cannot be done: an HTTP status, a stable code or short text, a sentence for people.

    ``code`` is for errors whose text varies; others are their own. ``retry_after``: seconds.
    """

    def __init__(
        self,
        status: int,
        error: str,
        message: str = "",
        *,
        code: str = "",
        retry_after: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.body: dict[str, Any] = {**more, "error": error, **({"message": message} if message else {})}


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    response = web.Response(body=_dumped(value), status=status, headers=headers)
    response.headers["Content-Type"] = _JSON
    return response


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a whole number of more than 64 bits, which YAML and Python have
        return json.dumps(value, ensure_ascii=False).encode()


def ok(**more: Any) -> web.Response:
    """``{"status": "ok"}`` and what else there is to say."""
    return answer({"status": "ok", **more})


async def read_body(request: web.Request, limit: int = LARGEST_BODY) -> bytes:
    """The body's bytes. Refuses one above ``limit`` bytes before it is read whole."""
    if (request.content_length or 0) > limit:
        raise Refusal(413, "body too large", f"at most {limit} bytes are accepted")
    content = bytearray()
    async for chunk in request.content.iter_chunked(65536):
        content += chunk
        if len(content) > limit:
            raise Refusal(413, "body too large", f"at most {limit} bytes are accepted")
    return bytes(content)


def parse_json(content: bytes, error: str = "invalid body") -> Any:
    """The first JSON value in ``content``; what follows it is ignored. Refuses anything else with 400 ``error``."""
    try:
        value, _ = json.JSONDecoder().raw_decode(content.decode("utf-8-sig").lstrip())
    except (ValueError, RecursionError):
        raise Refusal(400, error) from None
    return value


async def read_json(request: web.Request, error: str = "invalid body") -> Any:
    """The request's JSON value, see :func:`parse_json`."""
    return parse_json(await read_body(request), error)


async def read_object(request: web.Request, error: str = "invalid body") -> dict[str, Any]:
    """The request's JSON object, its names in lower case."""
    value = await read_json(request, error)
    if not isinstance(value, dict):
        raise Refusal(400, error)
    return {str(name).lower(): member for name, member in value.items()}


def member(body: Mapping[str, Any], name: str, kind: type[_Kind], error: str = "invalid body") -> _Kind | None:
    """A member of a body; None when it is absent or null. Refuses another type (a bool is no number)."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refusal(400, error)
    return value


def query_index(request: web.Request, name: str = "index") -> int | None:
    """A position from the query: its leading digits; None when there are none."""
    text = request.query.get(name, "").strip()
    sign = -1 if text.startswith("-") else 1
    digits = ""
    for character in text.lstrip("+-"):
        if not character.isascii() or not character.isdigit():
            break
        digits += character
    return sign * int(digits[:9]) if digits else None
