"""Tokens of logins never reach a log, however many logins there are."""

from __future__ import annotations

from cpa.logs import Secrets
from cpa.logs.token_words import TokenWords

REFRESH = "1//0gAbCdEfGhIjKlMnOpQrStUvWx-yz_0123"
OPAQUE = "rt_Zx81kP0aQ9sW7eD6cV5fR4tG3bH2nJ1m"


def test_a_token_is_masked_wherever_it_stands() -> None:
    secrets = Secrets()
    secrets.tokens.add([REFRESH, OPAQUE])
    for text in (
        f"refused {OPAQUE}.",
        f"refresh={OPAQUE}&x=1",
        f'{{"refresh_token":"{REFRESH}"}}',
        f"https://host/path/{OPAQUE}/x",
        f"({OPAQUE})",
    ):
        masked = secrets.mask_text(text)
        assert OPAQUE not in masked
        assert REFRESH[5:] not in masked
        assert "***" in masked


def test_a_log_line_with_a_token_in_a_harmless_field_is_masked() -> None:
    secrets = Secrets()
    secrets.tokens.add([OPAQUE])
    line = secrets(None, "info", {"event": "answer", "reason": f"upstream said {OPAQUE}"})
    assert OPAQUE not in str(line)
    assert secrets(None, "info", {"event": "an ordinary line", "path": "/v1/chat/completions"})["event"]


def test_a_token_of_two_accounts_stays_secret_until_both_are_gone() -> None:
    words = TokenWords()
    words.add([OPAQUE])
    words.add([OPAQUE])
    words.remove([OPAQUE])
    assert words.found(f"x {OPAQUE} y")
    words.remove([OPAQUE])
    assert not words.found(f"x {OPAQUE} y")
    assert len(words) == 0
