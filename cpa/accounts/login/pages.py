"""The pages a browser ends at. Fixed text: nothing of a request ever appears in them, and no script runs."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["success", "received", "denied", "failed", "unknown"]
"""What became of a login. ``received``: it goes on, ``unknown``: none is waiting for this callback."""

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1.05rem/1.5 system-ui,sans-serif;display:grid;place-content:center;min-height:90vh;margin:0 1.5rem}"
    "main{max-width:32rem}"
    "h1{font-size:1.5rem;margin:0 0 .5rem}"
    "h1::before{content:'';display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.5em}"
    ".good h1::before{background:#2e9e5b}.bad h1::before{background:#d0473d}.wait h1::before{background:#d9a321}"
    "p{margin:.3rem 0;opacity:.85}"
)
_TEXTS: dict[Outcome, tuple[str, str, str]] = {
    "success": ("good", "You are logged in", "cpa has stored the login. You can close this page."),
    "received": ("wait", "Almost done", "cpa goes on with the login where you started it. You can close this page."),
    "denied": ("bad", "Login cancelled", "You did not agree, so nothing was stored. You can close this page."),
    "failed": (
        "bad",
        "The login failed",
        "Nothing was stored. The place where you started the login says why; start it there again.",
    ),
    "unknown": (
        "bad",
        "No login is waiting for this page",
        "It was finished already, took too long, or was started elsewhere. Start it again.",
    ),
}
_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every page."""


def page(outcome: Outcome) -> bytes:
    """The page for an outcome."""
    mood, title, text = _TEXTS[outcome]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title} - cpa</title><style>{_STYLE}</style></head>"
        f'<body><main class="{mood}"><h1>{title}</h1><p>{text}</p></main></body></html>\n'
    ).encode()


def status_of(outcome: Outcome) -> int:
    """The HTTP status of a page: 400 for a login that did not happen."""
    return 200 if outcome in ("success", "received") else 400


def outcome_of(code: str) -> Outcome:
    """The outcome for the ``code`` of a LoginError; '' is success."""
    if not code:
        return "success"
    return "denied" if code == "access_denied" else "failed"
