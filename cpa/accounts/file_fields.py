"""What any auth file may say, whatever its provider: options of its account, and when its token ends.

A provider's ``accounts_from_file`` calls :func:`file_account` and adds what is its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from cpa.accounts.account import Account, account_index
from cpa.accounts.files import type_of
from cpa.accounts.renaming import first_path
from cpa.config.provider_sections import ErrorRule
from cpa.config.section import InvalidSection
from cpa.durations import seconds_of

PROVIDERS = {"gemini": "gemini-cli"}
"""Provider keys of types that are named otherwise."""
EXPIRY_KEYS = ("expired", "expire", "expires_at", "expiresAt", "expiry", "expires")
LAST_REFRESH_KEYS = ("last_refresh", "lastRefresh", "last_refreshed_at", "lastRefreshedAt")
REFRESH_INTERVAL_KEYS = (
    "refresh_interval_seconds",
    "refreshIntervalSeconds",
    "refresh_interval",
    "refreshInterval",
)
_MILLISECONDS = 10**12
_LARGEST_WEIGHT = 1_000_000
_DAYTIME = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2})?)(\.\d+)?(?:\s*(Z|[+-]\d{2}:?\d{2}))?$", re.I)


def provider_of(data: Mapping[str, Any]) -> str:
    """The provider key an auth file's ``type`` names; empty when it has none."""
    kind = type_of(dict(data))
    return PROVIDERS.get(kind, kind)


def file_account(path: str, data: dict[str, Any], **fields: Any) -> Account:
    """The account of an auth file with every common option applied; ``fields`` win over them.

    ``path`` is absolute. Pass at least what makes it work (``secret``); ``settings`` are added to the common ones.
    A type that no plugin serves gives an account, too: it is listed and serves nothing.
    """
    provider = provider_of(data)
    settings = {**file_settings(data), **fields.pop("settings", {})}
    chosen: dict[str, Any] = {
        "id": os.path.basename(path),
        "index": file_index(path, data),
        "provider": provider,
        "kind": "oauth",
        "label": _text(data, "email") or _text(data, "label") or provider,
        **file_options(data),
        **fields,
    }
    return Account(source=path, metadata=data, settings=settings, **chosen)


def file_index(path: str, data: Mapping[str, Any], project: str = "") -> str:
    """The account index of an auth file, or of one of its projects."""
    seed = f"{type_of(dict(data))}:{first_path(path, data)}"
    return account_index(f"{seed}::{project}" if project else seed)


def file_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """The account fields that every auth file may set. What cannot be used is ignored, never an error."""
    return {
        "prefix": _prefix(data),
        "priority": _integer(_first(data, "priority")) or 0,
        "weight": _weight(_first(data, "weight")),
        "note": _text(data, "note"),
        "proxy_url": _text(data, "proxy_url"),
        "headers": _headers(_first(data, "headers")),
        "excluded_models": patterns(_first(data, "excluded_models")),
        "disabled": _boolean(_first(data, "disabled")) is True,
        "disable_cooling": _boolean(_first(data, "disable_cooling")),
        "request_retry": _retry(_first(data, "request_retry")),
        "concurrency": max(0, _integer(_first(data, "concurrency")) or 0),
        "websockets": _boolean(_first(data, "websockets")) is True,
    }


def file_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Common options that are no account field; only those that are set.

    ``model_aliases`` as written (:func:`cpa.catalog.offer.aliases_of` reads them), ``request_scoped_errors`` as in a
    configuration and ``refresh_interval`` in seconds.
    """
    found: dict[str, Any] = {}
    aliases = _first(data, "model_aliases")
    if isinstance(aliases, list) and aliases:
        found["model_aliases"] = tuple(entry for entry in aliases if isinstance(entry, dict))
    rules = _first(data, "request_scoped_errors")
    if isinstance(rules, list) and rules:
        found["request_scoped_errors"] = tuple(_error_rules(rules))
    interval = refresh_interval(data)
    if interval is not None:
        found["refresh_interval"] = interval
    return found


def _error_rules(entries: list[Any]) -> Iterator[ErrorRule]:
    for entry in entries:
        with suppress(InvalidSection):
            yield ErrorRule.from_plain(entry)


def patterns(value: Any) -> tuple[str, ...]:
    """Exclusion patterns from JSON: lower case, trimmed, each once, sorted."""
    if not isinstance(value, list):
        return ()
    return tuple(sorted({item.strip().lower() for item in value if isinstance(item, str) and item.strip()}))


def expires_at(data: Mapping[str, Any]) -> float | None:
    """When the access token ends (Unix seconds), at the top level or inside ``token``; None when unknown."""
    return _first_time(data, EXPIRY_KEYS)


def last_refresh(data: Mapping[str, Any]) -> float | None:
    """When the token was last renewed (Unix seconds); None when unknown."""
    return _first_time(data, LAST_REFRESH_KEYS)


def refresh_interval(data: Mapping[str, Any]) -> float | None:
    """The file's own refresh cadence in seconds: a number, or a duration such as ``1h30m``; None when not set."""
    for key in REFRESH_INTERVAL_KEYS:
        value = data.get(key)
        seconds = _number(value)
        if seconds is None and isinstance(value, str):
            seconds = seconds_of(value)
        if seconds is not None and seconds > 0:
            return seconds
    return None


def read_time(value: Any) -> float | None:
    """Unix seconds from RFC 3339, ``YYYY-MM-DD HH:MM[:SS]`` (UTC), Unix seconds or milliseconds; None for others."""
    number = _number(value)
    if number is not None:
        if number <= 0:
            return None
        return number / 1000 if number > _MILLISECONDS else number
    if not isinstance(value, str):
        return None
    found = _DAYTIME.match(value.strip())
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    microseconds = (fraction or "")[:7]  # more digits than a datetime can hold
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'.' + microseconds[1:].ljust(6, '0') if fraction else ''}")
        offset = datetime.fromisoformat(f"2000-01-01T00:00:00{(zone or 'Z').upper()}").tzinfo or UTC
    except ValueError:
        return None
    return moment.replace(tzinfo=offset).timestamp()


def _first_time(data: Mapping[str, Any], keys: Iterable[str]) -> float | None:
    for place in (data, data.get("token"), data.get("Token")):
        if isinstance(place, Mapping):
            for key in keys:
                moment = read_time(place.get(key))
                if moment is not None:
                    return moment
    return None


def _first(data: Mapping[str, Any], key: str) -> Any:
    """A member by its name with underscores or with hyphens."""
    value = data.get(key)
    return data.get(key.replace("_", "-")) if value is None else value


def _text(data: Mapping[str, Any], key: str) -> str:
    value = _first(data, key)
    return value.strip() if isinstance(value, str) else ""


def _prefix(data: Mapping[str, Any]) -> str:
    prefix = _text(data, "prefix").strip("/").strip()
    return "" if "/" in prefix else prefix


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < 1e16 else None


def _integer(value: Any) -> int | None:
    """An integer, a number without fraction, or an integer's text."""
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d{1,15}\s*", value):
        return None
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


def _weight(value: Any) -> int:
    weight = _integer(value)
    return 1 if weight is None else min(max(weight, 0), _LARGEST_WEIGHT)


def _retry(value: Any) -> int | None:
    retries = _integer(value)
    return retries if retries is not None and retries >= 0 else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    pairs = ((name.strip(), text.strip()) for name, text in value.items() if isinstance(text, str))
    return {name: text for name, text in pairs if name and text and "\n" not in text and "\r" not in text}
