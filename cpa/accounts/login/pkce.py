"""Proof key for code exchange (RFC 7636): who began a login is who ends it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from hashlib import sha256

from msgspec import Struct

VERIFIER_BYTES = 96


class Pkce(Struct, frozen=True):
    """A verifier and its challenge, method ``S256``."""

    verifier: str
    """128 URL-safe characters; sent with the code only."""
    challenge: str
    """Sent with the browser."""

    def __repr__(self) -> str:
        return "Pkce()"


def new_pkce(random: Callable[[int], bytes] = secrets.token_bytes) -> Pkce:
    """A pair for one login; ``random(n)`` gives n unpredictable bytes."""
    verifier = base64.urlsafe_b64encode(random(VERIFIER_BYTES)).rstrip(b"=").decode()
    return Pkce(verifier, challenge_of(verifier))


def challenge_of(verifier: str) -> str:
    """The ``S256`` challenge of a verifier."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
