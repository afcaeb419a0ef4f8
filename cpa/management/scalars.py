"""Single settings: ``GET`` gives ``{"<name>": value}``, ``PUT`` and ``PATCH`` take ``{"value": value}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web
from msgspec import Struct

from cpa.config.file import assign
from cpa.management.answers import Refusal, answer, ok, read_object
from cpa.management.route import Handler, Route, Schema
from cpa.management.services import Management

Check: TypeAlias = Callable[[Any], Any]
"""Gives the value to store, or raises Refusal."""

_TYPES: dict[type, Schema] = {bool: {"type": "boolean"}, int: {"type": "integer"}, str: {"type": "string"}}
_STRATEGIES = {
    "": "round-robin",
    "round-robin": "round-robin",
    "roundrobin": "round-robin",
    "rr": "round-robin",
    "fill-first": "fill-first",
    "fillfirst": "fill-first",
    "ff": "fill-first",
    "weighted-round-robin": "weighted-round-robin",
    "quota-aware": "quota-aware",
}
_PROXY_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})


def _as_given(value: Any) -> Any:
    return value


def _not_negative(value: int) -> int:
    return max(0, value)


def _natural(value: int) -> int:
    if value < 0:
        raise Refusal(400, "invalid value", "expected a number that is not negative")
    return value


def _ten_if_negative(value: int) -> int:
    return 10 if value < 0 else value


def _strategy(value: str) -> str:
    known = _STRATEGIES.get(value.strip().lower())
    if known is None:
        raise Refusal(400, "invalid strategy", f"expected one of {', '.join(sorted(set(_STRATEGIES.values())))}")
    return known


def proxy_url(value: str) -> str:
    """A proxy URL that can be used, ``direct``, ``none`` or nothing. Refuses others."""
    clean = value.strip()
    if clean.lower() in ("", "direct", "none"):
        return clean
    try:
        parts = urlsplit(clean)
        usable = parts.scheme.lower() in _PROXY_SCHEMES and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise Refusal(400, "invalid proxy-url", "expected http, https, socks5 or socks5h, or direct")
    return clean


def web_url(value: str) -> str:
    """An http or https URL, or nothing. Refuses others."""
    clean = value.strip()
    if clean and not (clean.startswith(("http://", "https://")) and urlsplit(clean).netloc):
        raise Refusal(400, "invalid url", "expected an http or https URL")
    return clean


class Scalar(Struct, frozen=True):
    """One setting."""

    path: str
    """Below ``/v0/management``, and with ``.`` for ``/`` the key in the file."""
    kind: type
    check: Check = _as_given
    deletable: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Where it stands in the file."""
        return tuple(self.path.split("/"))

    @property
    def name(self) -> str:
        """Its name in answers."""
        return self.keys[-1]


SCALARS = (
    Scalar("debug", bool),
    Scalar("logging-to-file", bool),
    Scalar("logs-max-total-size-mb", int, _not_negative),
    Scalar("error-logs-max-files", int, _ten_if_negative),
    Scalar("usage-statistics-enabled", bool),
    Scalar("proxy-url", str, proxy_url, deletable=True),
    Scalar("quota-exceeded/switch-project", bool),
    Scalar("quota-exceeded/switch-preview-model", bool),
    Scalar("request-log", bool),
    Scalar("ws-auth", bool),
    Scalar("request-retry", int, _natural),
    Scalar("max-retry-credentials", int, _natural),
    Scalar("max-retry-interval", int, _natural),
    Scalar("force-model-prefix", bool),
    Scalar("routing/strategy", str, _strategy),
    Scalar("ampcode/upstream-url", str, web_url, deletable=True),
    Scalar("ampcode/upstream-api-key", str, str.strip, deletable=True),
    Scalar("ampcode/restrict-management-to-localhost", bool),
    Scalar("ampcode/force-model-mappings", bool),
)


def routes(management: Management) -> list[Route]:
    """The routes of every setting."""
    return [route for scalar in SCALARS for route in _routes(management, scalar)]


def _routes(management: Management, scalar: Scalar) -> list[Route]:
    schema = _TYPES[scalar.kind]
    path = f"/{scalar.path}"
    body = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    shown = {"type": "object", "properties": {scalar.name: schema}, "required": [scalar.name]}
    put = _put(management, scalar)
    found = [
        Route(method="GET", path=path, handler=_get(management, scalar), summary=f"{scalar.path}", answer=shown),
        Route(method="PUT", path=path, handler=put, summary=f"Set {scalar.path}", body=body),
        Route(method="PATCH", path=path, handler=put, summary=f"Set {scalar.path}", body=body),
    ]
    if scalar.deletable:
        found.append(Route(method="DELETE", path=path, handler=_delete(management, scalar), summary=f"Clear {path}"))
    return found


def _get(management: Management, scalar: Scalar) -> Handler:
    async def get(request: web.Request) -> web.Response:
        value: Any = management.config
        for key in scalar.keys:
            value = getattr(value, key.replace("-", "_"))
        return answer({scalar.name: value})

    return get


def _put(management: Management, scalar: Scalar) -> Handler:
    async def put(request: web.Request) -> web.Response:
        value = (await read_object(request)).get("value")
        if type(value) is not scalar.kind:
            raise Refusal(400, "invalid body")
        checked = scalar.check(value)
        await management.writer.edit(request, lambda data: assign(data, scalar.keys, checked))
        return ok()

    return put


def _delete(management: Management, scalar: Scalar) -> Handler:
    async def delete(request: web.Request) -> web.Response:
        await management.writer.edit(request, lambda data: assign(data, scalar.keys, ""))
        return ok()

    return delete
