"""Which attempts and requests are asked for, and reading that from the parameters of a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from cpa.errors import CpaError
from cpa.usage.event import LATEST_MS, parse_timestamp
from cpa.usage.tables import UNUSUAL, USUAL

LARGEST_PAGE = 1000
_MILLISECONDS_FROM = 10_000_000_000
_LARGEST_PAGE_NUMBER = 10**9
_LAST_CHARACTER = chr(0x10FFFF)


class WrongQuery(CpaError):
    """A parameter cannot be used; the text says which."""


class Filter(Struct, kw_only=True):
    """Which attempts are wanted; what is empty does not count. Times are Unix milliseconds, both ends count."""

    MODELS: ClassVar[tuple[str, ...]] = ("model",)
    """The columns that may have one of the models."""
    SAME_TIME: ClassVar[str] = "id"
    """The column that tells the order of what began at one moment."""

    start_ms: int | None = None
    end_ms: int | None = None
    models: tuple[str, ...] = ()
    account: str = ""
    """An account, its index, or a provider."""
    auth_index: str = ""
    provider: str = ""
    client: str = ""
    """The id of a client key."""
    request_id: str = ""
    failed: bool | None = None
    status: int | None = None
    latency_ms: int = 0
    """What took less is not wanted."""
    before: tuple[int, int | str] | None = None
    """Only what comes after this in a list, which its last line names: its time, and its ``SAME_TIME``."""

    def of_place(self) -> tuple[str, list[Any]]:
        """A condition on the places of attempts, and its values; empty when all are wanted."""
        parts: list[str] = []
        values: list[Any] = []
        if self.models:
            marks = ", ".join("?" * len(self.models))
            parts.append(f"({' OR '.join(f'{column} IN ({marks})' for column in self.MODELS)})")
            values += self.models * len(self.MODELS)
        if self.account:
            parts.append("(source = ? OR auth_index = ? OR provider = ?)")
            values += [self.account] * 3
        for column, value in (
            ("auth_index", self.auth_index),
            ("provider", self.provider),
            ("api_group_key", self.client),
        ):
            if value:
                parts.append(f"{column} = ?")
                values.append(value)
        return " AND ".join(parts), values

    def of_attempt(self) -> tuple[str, list[Any]]:
        """A condition on attempts themselves, without time, place and status, and its values."""
        condition, values = self.of_request()
        latency = [f"latency_ms >= {self.latency_ms:d}"] if self.latency_ms else []
        return " AND ".join([self.of_result(), *latency, *([condition] if condition else [])]), values

    def of_status(self) -> str:
        """A condition on the status of attempts; what is not ``USUAL`` can be found by its index."""
        if self.status is None:
            return "1"
        return f"status_code = {self.status:d}" + (f" AND {UNUSUAL}" if self.is_unusual else "")

    @property
    def is_unusual(self) -> bool:
        """Whether another status is wanted than nearly everything has."""
        return self.status not in (None, USUAL)

    def of_sums(self) -> str:
        """A condition on sums in which there may be such attempts, without time and place."""
        return self.of_result()

    def of_result(self) -> str:
        """A condition on attempts and sums alike."""
        return "1" if self.failed is None else f"failed = {int(self.failed)}"

    def of_request(self) -> tuple[str, list[Any]]:
        """A condition on ``request_id``, and its values; empty when every request is wanted."""
        return ("request_id = ?", [self.request_id]) if self.request_id else ("", [])


class EventFilter(Filter, kw_only=True):
    """Which attempts are wanted, and which page of them. With ``before`` the number of the page does not count."""

    page: int = 1
    page_size: int = 100


class RequestFilter(Filter, kw_only=True):
    """Which requests are wanted: each is its last attempt. ``request_id`` may be the beginning of one."""

    MODELS: ClassVar[tuple[str, ...]] = ("model", "requested_model")
    SAME_TIME: ClassVar[str] = "request_id"

    limit: int = 100

    def of_attempt(self) -> tuple[str, list[Any]]:
        """The same of last attempts."""
        condition, values = super().of_attempt()
        return f"final = 1 AND {condition}", values

    def of_sums(self) -> str:
        """The same of last attempts."""
        return f"final_count > 0 AND {super().of_sums()}"

    def of_request(self) -> tuple[str, list[Any]]:
        """The same for the beginning of an id."""
        if not self.request_id:
            return "", []
        return "request_id >= ? AND request_id < ?", [self.request_id, self.request_id + _LAST_CHARACTER]


def parse_events(query: Mapping[str, str], models: Sequence[str] = ()) -> EventFilter:
    """Read a filter from query parameters. Raises WrongQuery."""
    page = min(_positive(query, "page must be a positive integer", 1, "page"), _LARGEST_PAGE_NUMBER)
    moment, identity = _cursor(query)
    if moment is not None and not (identity.isascii() and identity.isdigit() and len(identity) < 19):
        raise WrongQuery("invalid cursor")
    before = None if moment is None else (moment, int(identity))
    return EventFilter(page=page, page_size=_page_size(query), before=before, **_wanted(query, models))


def parse_requests(query: Mapping[str, str], models: Sequence[str] = ()) -> RequestFilter:
    """The same for a list of requests."""
    if _positive(query, "page must be a positive integer", 1, "page") > 1:
        raise WrongQuery("further pages are asked for with cursor")
    moment, identity = _cursor(query)
    before = None if moment is None else (moment, identity)
    return RequestFilter(limit=_page_size(query), before=before, **_wanted(query, models))


def _wanted(query: Mapping[str, str], models: Sequence[str]) -> dict[str, Any]:
    """The fields of a Filter but ``before``."""
    result = _first(query, "result").lower()
    if result not in ("", "success", "failed"):
        raise WrongQuery("result must be success or failed")
    status = _first(query, "status_code", "status")
    if status and not (status.isascii() and status.isdigit() and len(status) <= 3):
        raise WrongQuery("status_code must be an HTTP status")
    return {
        "start_ms": _moment(query, "invalid start_time", "start_time", "start", "from"),
        "end_ms": _moment(query, "invalid end_time", "end_time", "end", "to"),
        "models": tuple(model.strip() for model in models if model.strip()),
        "account": _first(query, "source"),
        "auth_index": _first(query, "auth_index", "authIndex"),
        "provider": _first(query, "provider"),
        "client": _first(query, "api_group_key", "api_key_hash", "client"),
        "request_id": _first(query, "request_id"),
        "failed": None if not result else result == "failed",
        "status": int(status) if status else None,
        "latency_ms": _positive(query, "min_latency_ms must be a positive integer", 0, "min_latency_ms"),
    }


def _page_size(query: Mapping[str, str]) -> int:
    names = ("page_size", "pageSize", "limit")
    return min(_positive(query, "page_size must be a positive integer", 100, *names), LARGEST_PAGE)


def _cursor(query: Mapping[str, str]) -> tuple[int | None, str]:
    """When the last line of an earlier answer began, and what tells it from others of that moment."""
    text = _first(query, "cursor")
    begun, _, identity = text.partition(".")
    if text and not (identity and begun.isascii() and begun.isdigit() and len(begun) < 19):
        raise WrongQuery("invalid cursor")
    return (int(begun) if text else None), identity


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
