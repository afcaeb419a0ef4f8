"""What is to be said of an account, in words: its state, its quota, its times."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

GOOD, DULL, DOUBTFUL, BAD = "green", "dim", "yellow", "red"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SHORT = {18000.0: "5h", 604800.0: "7d", 86400.0: "1d", 2592000.0: "month", 2628000.0: "month"}
_OVER = {
    "invalid_grant": "revoked or ended",
    "refresh_token_reused": "renewed by another program",
    "refresh_token_expired": "not used for too long",
    "refresh_token_invalidated": "revoked",
}
"""What vendors' error codes mean for the user."""
_BRIEF = {"no plugin serves": "no plugin serves it", "ok (refresh failed": "ok (refresh failed)"}
LONGEST = 60
"""Characters of a state in a list."""
_ADDRESS = re.compile(r"([\w.+%-])[\w.+%-]*@([\w-])[\w-]*(\.[\w.-]+)")


class Words(Struct, frozen=True):
    """A text and the colour that goes with it."""

    text: str
    style: str = ""


def state(account: Mapping[str, Any], now: float) -> Words:
    """How an account fares, as a person would say it. ``now`` in Unix seconds."""
    said = str(account.get("status_message") or "")
    if account.get("projects") and account["disabled"]:
        return Words(f"as its {len(account['projects'])} projects", DULL)
    if account["disabled"]:
        return Words("disabled", DULL)
    if account.get("login_again"):
        return Words(f"log in again: {over_because(said)}", BAD)
    if account["unavailable"]:
        return Words(_cooling(account["cooldown"], now), DOUBTFUL)
    if account["status"] == "error" and not account["models"]:
        return Words(said or "does not work", BAD)
    if not account["offers"]:
        return Words("offers no model", DULL)
    if token_is_over(account, now):
        return Words("log in again: its token has ended", BAD)
    if account["models"]:
        return Words(_some_cooling(account["models"], account["offers"], now), DOUBTFUL)
    return Words(f"ok ({said})", DOUBTFUL) if said else Words("ok", GOOD)


def over_because(said: str) -> str:
    """Why a login is over, in a few words where the vendor's error is a known one."""
    for code, words in _OVER.items():
        if code in said:
            return words
    return said.removeprefix("log in again:").strip() or "its token is refused"


def brief(words: Words) -> Words:
    """A state for a list: what is said of a cause that has a long story is left to ``cpa accounts show``."""
    for beginning, instead in _BRIEF.items():
        if words.text.startswith(beginning):
            return Words(instead, words.style)
    return words if len(words.text) <= LONGEST else Words(f"{words.text[: LONGEST - 1].rstrip()}…", words.style)


def token_is_over(account: Mapping[str, Any], now: float) -> bool:
    """Whether its token has ended and nothing can renew it."""
    expires = account["expires_at"]
    return account["kind"] == "oauth" and expires is not None and expires <= now and not account["renewable"]


def _cooling(cooldown: Mapping[str, Any], now: float) -> str:
    return f"cooling until {moment(seconds_of(cooldown['until']), now)} ({reason(cooldown['reason'])})"


def _some_cooling(models: Mapping[str, Mapping[str, Any]], offered: int, now: float) -> str:
    if len(models) == 1:
        ((name, cooldown),) = models.items()
        return f"ok, but {name} {_cooling(cooldown, now)}"
    return f"ok, but {len(models)} of {offered} models are cooling"


def reason(word: str) -> str:
    """A cooldown's reason without underscores."""
    return word.replace("_", " ")


def seconds_of(text: str) -> float:
    """Unix seconds of a time the management API gave."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def moment(at: float, now: float) -> str:
    """A time of day in local time, with the day when it is not today."""
    there, here = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if there.date() == here.date():
        return f"{there:%H:%M}"
    return f"{there:%a %H:%M}" if abs(at - now) < 6 * 86400 else f"{there:%Y-%m-%d}"


def span(seconds: float) -> str:
    """A length of time in one or two units: ``4 d 3 h``, ``12 min``."""
    rest = max(0, round(seconds))
    for position, (unit, name) in enumerate(_UNITS):
        if rest >= unit or unit == 1:
            whole, left = divmod(rest, unit)
            if position + 1 < len(_UNITS) and unit > 60 and whole < 10:
                smaller, other = _UNITS[position + 1]
                if left >= smaller:
                    return f"{whole} {name} {left // smaller} {other}"
            return f"{whole} {name}"
    raise AssertionError("unreachable")


def expiry(account: Mapping[str, Any], now: float) -> Words:
    """When the token of a login ends."""
    expires = account["expires_at"]
    if account["kind"] != "oauth" or expires is None:
        return Words("")
    if expires > now:
        return Words(f"{span(expires - now)}", "" if account["renewable"] or expires - now > 86400 else DOUBTFUL)
    if account["renewable"] and not account.get("login_again"):
        return Words("renews", DULL)
    return Words("ended", BAD)


def window_name(window: Mapping[str, Any]) -> str:
    """``5h``, ``7d``, ``7d opus``: by its length where that is known, by its name else."""
    name, _, part = str(window["name"]).partition(":")
    length = window.get("limit_seconds")
    words = {"five_hour": "5h", "seven_day": "7d"}.get(name, name.replace("_", " "))
    short = _SHORT.get(float(length), words) if length else words
    return f"{short} {part}".strip() if part else short


def used(window: Mapping[str, Any]) -> Words:
    """The share of a window that is used."""
    ratio = window["used_ratio"]
    if ratio is None:
        return Words("?", DULL)
    return Words(f"{ratio:.0%}", BAD if ratio >= 1 else DOUBTFUL if ratio >= 0.8 else GOOD)


def general(windows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The windows that say something about every model, the shortest first."""
    found = [window for window in windows if ":" not in window["name"] and not window.get("amount")]
    return sorted(found, key=lambda window: (window.get("limit_seconds") or 0, window["name"]))


def printable(text: str) -> str:
    """The text without what a terminal would act upon: names come from files, and whoever writes those."""
    return "".join(letter if letter.isprintable() or letter in "\n" else "\ufffd" for letter in text)


def one_line(text: str) -> str:
    """The same of what must stay on its line."""
    return printable(text).replace("\n", "\ufffd")


def masked(text: str) -> str:
    """The text with its e-mail addresses made unreadable: ``a***@e***.com``."""
    return _ADDRESS.sub(r"\1***@\2***\3", text)


def iso(at: float | None) -> str | None:
    """Unix seconds as RFC 3339 in UTC, for JSON."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def now() -> float:
    """Unix seconds."""
    return time.time()
