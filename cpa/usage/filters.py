"""Which events are asked for, and reading that from the parameters of a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from cpa.errors import CpaError
from cpa.usage.event import LATEST_MS, parse_timestamp

LARGEST_PAGE = 1000
_MILLISECONDS_FROM = 10_000_000_000
_LARGEST_PAGE_NUMBER = 10**9


class WrongQuery(CpaError):
    """A parameter cannot be used; the text says which."""


class EventFilter(Struct, kw_only=True):
    """Which events are wanted. Times are Unix milliseconds, both ends count."""

    page: int = 1
    page_size: int = 100
    start_ms: int | None = None
    end_ms: int | None = None
    models: tuple[str, ...] = ()
    source: str = ""
    """An account, its index, or a provider."""
    auth_index: str = ""
    provider: str = ""
    group: str = ""
    request_id: str = ""
    failed: bool | None = None
    status: int | None = None
    after_id: int | None = None
    """Only events before this one, which a cursor names."""
    after_ms: int = 0


def parse_filter(query: Mapping[str, str], models: tuple[str, ...] = ()) -> EventFilter:
    """Read a filter from query parameters. Raises WrongQuery."""
    result = _first(query, "result").lower()
    if result not in ("", "success", "failed"):
        raise WrongQuery("result must be success or failed")
    status = _first(query, "status_code", "status")
    if status and not (status.isascii() and status.isdigit() and len(status) <= 3):
        raise WrongQuery("status_code must be an HTTP status")
    found = EventFilter(
        page=min(_positive(query, "page must be a positive integer", 1, "page"), _LARGEST_PAGE_NUMBER),
        page_size=min(
            _positive(query, "page_size must be a positive integer", 100, "page_size", "pageSize", "limit"),
            LARGEST_PAGE,
        ),
        start_ms=_moment(query, "invalid start_time", "start_time", "start", "from"),
        end_ms=_moment(query, "invalid end_time", "end_time", "end", "to"),
        models=tuple(model.strip() for model in models if model.strip()),
        source=_first(query, "source"),
        auth_index=_first(query, "auth_index", "authIndex"),
        provider=_first(query, "provider"),
        group=_first(query, "api_group_key", "client"),
        request_id=_first(query, "request_id"),
        failed=None if not result else result == "failed",
        status=int(status) if status else None,
    )
    if cursor := _first(query, "cursor"):
        ms, _, identity = cursor.partition(".")
        if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (ms, identity)):
            raise WrongQuery("invalid cursor")
        found.after_ms, found.after_id = int(ms), int(identity)
    return found


def event_conditions(wanted: EventFilter) -> tuple[str, list[Any]]:
    """Everything a filter says of events but time."""
    parts, values = _of_place(wanted)
    parts += _of_result(wanted)
    for column, value in (("request_id", wanted.request_id or None), ("status_code", wanted.status)):
        if value is not None:
            parts.append(f"{column} = ?")
            values.append(value)
    return " AND ".join(parts) or "1", values


def sum_conditions(wanted: EventFilter) -> tuple[list[str], list[Any]]:
    """What it says of sums: the same without request and status."""
    parts, values = _of_place(wanted)
    if parts:
        parts = [f"place_id IN (SELECT id FROM usage_places WHERE {' AND '.join(parts)})"]  # noqa: S608
    return parts + _of_result(wanted), values


def _of_place(wanted: EventFilter) -> tuple[list[str], list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    if wanted.models:
        parts.append(f"model IN ({', '.join('?' * len(wanted.models))})")
        values += wanted.models
    if wanted.source:
        parts.append("(source = ? OR auth_index = ? OR provider = ?)")
        values += [wanted.source] * 3
    for column, value in (
        ("auth_index", wanted.auth_index),
        ("provider", wanted.provider),
        ("api_group_key", wanted.group),
    ):
        if value:
            parts.append(f"{column} = ?")
            values.append(value)
    return parts, values


def _of_result(wanted: EventFilter) -> list[str]:
    failed = True if (wanted.status or 0) >= 400 else wanted.failed
    return [] if failed is None else [f"failed = {int(failed)}"]


def _first(query: Mapping[str, str], *names: str) -> str:
    return next((query[name].strip() for name in names if query.get(name, "").strip()), "")


def _positive(query: Mapping[str, str], complaint: str, default: int, *names: str) -> int:
    text = next((query[name].strip() for name in names if name in query), "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text[:12]) < 1:
        raise WrongQuery(complaint)
    return int(text[:12])


def _moment(query: Mapping[str, str], complaint: str, *names: str) -> int | None:
    """Unix milliseconds of an RFC 3339 time, or of a number of seconds or milliseconds."""
    text = _first(query, *names)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        try:
            found = parse_timestamp(text.replace(" ", "+"))
        except (ValueError, OverflowError):
            raise WrongQuery(complaint) from None
        return min(max(found, 0), LATEST_MS)
    if not 0 <= number <= LATEST_MS:
        raise WrongQuery(complaint)
    return min(int(number if number > _MILLISECONDS_FROM else number * 1000), LATEST_MS)
