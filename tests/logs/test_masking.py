"""Secrets are taken out of histories by name, by shape and by value; everything else stays as it is."""

from __future__ import annotations

import base64
import gc
import re
import time
from urllib.parse import quote

import pytest

from cpa.logs.history import Clipped, pieces_of
from cpa.logs.masking import MOST_LITERALS, Masker, cut_ends, header_secrets, mask_header, mask_query, mask_value
from cpa.logs.redaction import Secrets

KEY = "known+secret/key-0123456789"


@pytest.fixture
def masker() -> Masker:
    """Knows one key and the token of one login."""
    secrets = Secrets()
    secrets.replace([KEY])
    secrets.tokens.add(["token-of-a-login-0123456789abcdef-and-more"])
    return Masker(secrets)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("sk-abcdefghijkl", "sk-a...ijkl"),
        ("123456789", "1234...6789"),
        ("12345678", "12...78"),
        ("12345", "12...45"),
        ("1234", "1...4"),
        ("123", "1...3"),
        ("12", "**"),
        ("", "**"),
    ],
)
def test_only_the_ends_of_a_value_are_left(value: str, masked: str) -> None:
    assert mask_value(value) == masked


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("Authorization", "Bearer sk-abcdefghijkl", "Bearer sk-a...ijkl"),
        ("authorization", "sk-abcdefghijkl", "sk-a...ijkl"),
        ("AUTHORIZATION", "Basic  dXNlcjpwYXNz", "Basic dXNl...YXNz"),
        ("Authorization", "Bearer ", "Be...r "),
        ("Proxy-Authorization", "Basic dXNlcjpwYXNz", "Basic dXNl...YXNz"),
        ("X-Api-Key", "sk-abcdefghijkl", "sk-a...ijkl"),
        ("x-goog-api-key", "AIzaabcdefgh", "AIza...efgh"),
        ("Set-Cookie", "session=abcdefgh", "sess...efgh"),
        ("X-Auth-Token", "abcdefghijkl", "abcd...ijkl"),
        ("Content-Type", "application/json", "application/json"),
        ("User-Agent", "claude-cli/2.0", "claude-cli/2.0"),
        ("anthropic-version", "2023-06-01", "2023-06-01"),
    ],
)
def test_headers_are_masked_by_their_names(name: str, value: str, masked: str) -> None:
    assert mask_header(name, value) == masked


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("/v1/x", "/v1/x"),
        ("/v1/x?", "/v1/x?"),
        ("/v1/x?alt=sse&key=AIzaabcdefgh", "/v1/x?alt=sse&key=AIza...efgh"),
        ("/v1/x?KEY=abcdefghijkl", "/v1/x?KEY=abcd...ijkl"),
        ("/v1/x?key[]=abcdefghijkl&key%5B%5D=abcdefghijkl", "/v1/x?key[]=abcd...ijkl&key%5B%5D=abcd...ijkl"),
        ("/v1/x?my_api_key=abcdefghijkl", "/v1/x?my_api_key=abcd...ijkl"),
        ("/v1/x?access_token=abcdefghijkl#a", "/v1/x?access_token=abcd...kl#a"),
        ("/v1/x?key=&key&=b", "/v1/x?key=&key&=b"),
        ("/v1/x?keyboard=german&q=a%20b+c", "/v1/x?keyboard=german&q=a%20b+c"),
        ("/v1/x?q=a=b&key=abcdefghi=jkl", "/v1/x?q=a=b&key=abcd...=jkl"),
    ],
)
def test_parameters_are_masked_by_their_names_and_the_rest_stays(url: str, masked: str) -> None:
    assert mask_query(url) == masked


@pytest.mark.parametrize(
    ("body", "masked"),
    [
        ('{"api_key": "abc"}', '{"api_key": "***"}'),
        ('{"apiKey":"abc","model":"m"}', '{"apiKey":"***","model":"m"}'),
        ('{"OPENAI_API_KEY" : "a\\"b"}', '{"OPENAI_API_KEY" : "***"}'),
        ('{"refresh_token":"r","id_token":"i"}', '{"refresh_token":"***","id_token":"***"}'),
        ('{"client_secret":"c","db_password":"p"}', '{"client_secret":"***","db_password":"***"}'),
        ('{"text":"{\\"api_key\\": \\"abc\\"}"}', '{"text":"{\\"api_key\\": \\"***\\"}"}'),
        ('{"max_tokens": 5, "token_count": "7"}', '{"max_tokens": 5, "token_count": "7"}'),
        ('{"api_key": null, "password": 5}', '{"api_key": null, "password": 5}'),
        ('{"key": "of a map"}', '{"key": "of a map"}'),
        ("say Bearer abcdefgh12345 to it", "say Bearer *** to it"),
        ("http://x/y?a=b&key=abc&c=d", "http://x/y?a=b&key=***&c=d"),
    ],
)
def test_values_are_masked_by_what_they_are_called(masker: Masker, body: str, masked: str) -> None:
    assert masker.body(body.encode()).decode() == masked


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-abcdefgh",
        "AIzaSyD-abcdefghijklmnopqrstu",
        "ya29.a0AfB_byC-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\\nMIIEow==\\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_key_is_masked_anywhere(masker: Masker, secret: str) -> None:
    for text in (f"use {secret} now", f'"{secret}"', f"<{secret}>"):
        masked = masker.body(text.encode()).decode()
        assert "***" in masked
        assert secret not in masked
        assert masked[0] == text[0]
        assert masker.text(text).find(secret) == -1


@pytest.mark.parametrize("text", ["ask-me-anything-now", "risk-based", "AIza", "task-sk-", "eyJ.a.b", "a basic idea"])
def test_words_that_look_a_little_like_one_stay(masker: Masker, text: str) -> None:
    assert masker.body(text.encode()).decode() == text
    assert masker.clean(text.encode(), text.encode())


def forms(secret: str) -> list[bytes]:
    """As it is, in a URL, in JSON, and in Base64 after so many other bytes."""
    encoded = [base64.b64encode(b"user:"[:before] + secret.encode() + b"!") for before in range(6)]
    return [secret.encode(), quote(secret, safe="").encode(), secret.replace("/", "\\/").encode(), *encoded]


@pytest.mark.parametrize("form", forms(KEY))
def test_a_known_key_is_found_in_every_form(masker: Masker, form: bytes) -> None:
    text = b"before " + form + b" after"
    inner = base64.b64encode(KEY.encode())[4:-4]
    for masked in (masker.body(text), masker.text(text.decode()).encode()):
        assert b"***" in masked
        assert form not in masked
        assert inner not in masked
        assert masked.startswith(b"before ")
        assert masked.endswith(b" after")
    assert not masker.clean(text, b"")
    assert not masker.clean(b"", text)


@pytest.mark.parametrize("more", ["", "-cut", "-and-more", "-and-moreover"])
def test_the_token_of_a_login_is_found_even_cut_or_grown(masker: Masker, more: str) -> None:
    masked = masker.body(f"a token-of-a-login-0123456789abcdef{more} b".encode())
    assert masked == b"a *** b"


def test_tokens_of_thousands_of_logins_are_found_as_fast() -> None:
    secrets = Secrets()
    tokens = [f"token-{number:06}-of-a-login-abcdefgh" for number in range(5000)]
    assert sum(map(len, tokens)) > MOST_LITERALS
    secrets.tokens.add(tokens)
    masker = Masker(secrets)
    text = ("ordinary words of a prompt, " * 40_000 + f"{tokens[4321]} and {tokens[0]}.").encode()
    masker.body(b"")
    begun = time.process_time()
    masked = masker.body(text)
    assert time.process_time() - begun < 2
    assert masked.endswith(b" *** and ***.")
    assert not masker.clean(text, b"")


def test_secrets_that_come_later_are_known_at_once(masker: Masker) -> None:
    secrets = Secrets()
    later = Masker(secrets)
    assert later.body(b"a newcomer-0123 b") == b"a newcomer-0123 b"
    secrets.replace(["newcomer-0123"])
    assert later.body(b"a newcomer-0123 b") == b"a *** b"
    secrets.tokens.add(["another-newcomer-0123456789"])
    assert later.body(b"another-newcomer-0123456789") == b"***"


def test_bytes_that_are_no_text_stay_as_they_are(masker: Masker) -> None:
    content = bytes(range(256)) * 3
    assert masker.body(content) == content
    assert masker.body(content + KEY.encode()) == content + b"***"


@pytest.mark.parametrize(
    "hostile",
    [
        b'{"password":"' + b"\\" * 200_000,
        b"eyJ" + b"a" * 200_000,
        b"sk-" * 70_000,
        b"?key=" * 40_000,
        b'"api_key"' * 9000,
    ],
)
def test_nothing_that_a_client_writes_takes_long(masker: Masker, hostile: bytes) -> None:
    begun = time.process_time()
    masker.body(hostile)
    masker.clean(hostile, hostile)
    assert time.process_time() - begun < 2


# -- bodies without their middle ------------------------------------------------------------------------------------


def test_words_at_a_cut_go_they_may_be_parts_of_a_secret() -> None:
    assert cut_ends(b"one two sk-half", b"of-a-key three four") == (b"one two ", b" three four")
    assert cut_ends(b"", b"") == (b"", b"")
    assert cut_ends(b"ends well. ", b" begins well") == (b"ends well. ", b" begins well")


def test_a_cut_through_a_word_without_end_takes_its_nearest_part_only() -> None:
    head, tail = cut_ends(b"a " + b"x" * 10_000, b"y" * 10_000 + b" b")
    assert (len(head), len(tail)) == (10_002 - 4096, 10_002 - 4096)


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_no_part_of_a_key_is_left_wherever_a_body_is_cut(masker: Masker, cut: int) -> None:
    content = f"begin {KEY} end".encode()
    at = len("begin ") + cut
    shown = b"".join(map(masker.body, pieces_of(Clipped(content[:at], 1000, content[at:]), 1 << 20)))
    assert b"TRUNCATED" in shown
    for part in (KEY[:cut], KEY[cut:]):
        assert len(part) < 4 or part.encode() not in shown


def test_what_is_left_out_is_counted_exactly(masker: Masker) -> None:
    content = b" ".join(b"w%d" % number for number in range(1000))
    shown = b"".join(map(masker.body, pieces_of(content, 400)))
    head, omitted, tail = shown.partition(b"\n[TRUNCATED: ")[0], shown.split()[-1], shown.rpartition(b"]\n")[2]
    assert omitted
    assert len(head) + len(tail) + int(shown.partition(b"[TRUNCATED: ")[2].split()[0]) == len(content)
    assert content.startswith(head)
    assert content.endswith(tail)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("X-Door", "Qm9-what-opens-the-door", ["Qm9-what-opens-the-door"]),
        ("X-Door", "Token 0123456789abcdef", ["0123456789abcdef"]),
        ("Authorization", "Bearer abcdef", ["Bearer abcdef", "abcdef"]),
        ("X-Api-Key", "short", ["short"]),
        ("X-Door", "fifteen-letters", []),
        ("anthropic-version", "2023-06-01", []),
        ("anthropic-beta", "fine-grained-tool-streaming-2025-05-14", []),
        ("User-Agent", "claude-cli/1.2.3-of-somebody", []),
        ("OpenAI-Organization", "org-0123456789abcdef", []),
        ("X-Callback", "https://example.com/a/long/address", []),
        ("X-Since", "2026-01-01T00:00:00.000Z", []),
        ("X-Kind", "application/vnd.example+json", []),
    ],
)
def test_what_is_secret_among_the_headers_of_an_account(name: str, value: str, secret: list[str]) -> None:
    assert list(header_secrets({name: value})) == secret


@pytest.mark.parametrize("number", [1, 100])
def test_expressions_for_secrets_that_are_no_more_are_let_go(number: int) -> None:
    secrets = Secrets()
    masker = Masker(secrets)
    for turn in range(4):
        secrets.replace([f"secretofturn{turn}number{each:03}" for each in range(number)])
        secrets.tokens.add([f"tokenofturn{turn}number0123456789"])
        assert masker.body(f"it is secretofturn{turn}number000".encode()) == b"it is ***"
        assert secrets.mask_text(f"it is secretofturn{turn}number000") == "it is ***"
        secrets.tokens.remove([f"tokenofturn{turn}number0123456789"])
    assert _turns_known() == {"3"}


def _turns_known() -> set[str]:
    """The turns whose secrets an expression that is kept looks for."""
    gc.collect()
    patterns = [
        str(getattr(each, "pattern", "")) for each in gc.get_objects() if type(each).__module__ in ("re", "re2")
    ]
    return set(re.findall(r"ofturn(\d)", " ".join(patterns)))
