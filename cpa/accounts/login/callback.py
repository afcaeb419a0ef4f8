"""What an authorization server sends back through the browser (RFC 6749, section 4.1.2), and whether to believe it."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from cpa.errors import LoginError

LONGEST_PASTE = 16 * 1024
_STATE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CODE_AND_STATE = re.compile(r"[A-Za-z0-9._~+/=-]+#[A-Za-z0-9._-]{1,128}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")
_REASONS = {
    "access_denied": "you did not agree, so the login was cancelled",
    "invalid_request": "the authorization server did not understand the request",
    "server_error": "the authorization server failed, try again later",
    "temporarily_unavailable": "the authorization server is busy, try again later",
}


class Callback(Struct, frozen=True):
    """The members that count; empty where there are none."""

    code: str = ""
    state: str = ""
    error: str = ""
    error_description: str = ""

    def __repr__(self) -> str:
        return f"Callback(error={self.error!r})"


def new_state(random: Callable[[int], str] = secrets.token_hex) -> str:
    """128 bits that nobody can guess, as 32 hex digits; ``random(n)`` gives n unpredictable bytes in hex."""
    return random(16)


def is_state(text: str) -> bool:
    """Whether a text could be a state at all: it is looked up, and may have been made elsewhere."""
    return bool(_STATE.fullmatch(text)) and ".." not in text


def callback_of(query: Mapping[str, str]) -> Callback:
    """The callback in the parameters of a request."""
    return Callback(**{name: query.get(name, "").strip() for name in Callback.__struct_fields__})


def parse_callback_url(url: str) -> Callback:
    """The callback in a URL, in its query or else in its fragment. Raises LoginError when it is no URL."""
    try:
        parts = urlsplit(url)
        query, fragment = (dict(parse_qsl(text, max_num_fields=50)) for text in (parts.query, parts.fragment))
    except ValueError:
        raise _invalid() from None
    found = callback_of({**fragment, **query})
    if "#" in found.code and not found.state:
        code, _, state = found.code.partition("#")
        found = replace(found, code=code, state=state)
    if found.error_description and not found.error:
        found = replace(found, error=found.error_description)
    return found


def parse_pasted(text: str) -> Callback | None:
    """The callback in what somebody pasted: the URL their browser ended at, its query, or ``CODE#STATE``.

    None for an empty line. Raises LoginError (``invalid_callback_url``) for anything else.
    """
    text = text.strip()
    if not text:
        return None
    if len(text) > LONGEST_PASTE:
        raise _invalid()
    if _CODE_AND_STATE.fullmatch(text) and "://" not in text:
        code, _, state = text.partition("#")
        return Callback(code=code, state=state)
    found = parse_callback_url(_as_url(text))
    if not found.code and not found.error:
        raise LoginError("invalid_callback_url", "the callback URL has no code: copy the whole address")
    return found


def _as_url(text: str) -> str:
    if "://" in text:
        return text
    if text.startswith("?"):
        return f"http://localhost{text}"
    if any(mark in text for mark in "/?#:"):
        return f"http://{text}"
    if "=" in text:
        return f"http://localhost/?{text}"
    raise _invalid()


def _invalid() -> LoginError:
    return LoginError("invalid_callback_url", "that is no callback URL: copy the whole address your browser ended at")


def code_of(callback: Callback, state: str) -> str:
    """The authorization code of the login that sent ``state``. Raises LoginError for every other callback."""
    if callback.error:
        raise refused(callback.error, callback.error_description)
    if not callback.code:
        raise LoginError("no_code", "the browser came back without an authorization code")
    if not callback.state:
        raise LoginError("no_state", "the browser came back without the state it was sent with")
    if not hmac.compare_digest(callback.state.encode(), state.encode()):
        raise LoginError("invalid_state", "the browser came back from another login: start again")
    return callback.code


def refused(error: str, description: str = "") -> LoginError:
    """What an ``error`` of an authorization server means to the one who logs in."""
    said = printable(description or error)
    return LoginError(printable(error) or "failed", _REASONS.get(error) or f"authentication failed: {said}")


def printable(text: str, longest: int = 200) -> str:
    """Somebody else's words, safe to print on a terminal."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())[:longest]
