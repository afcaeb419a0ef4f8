"""The parts of a login that know no network: PKCE, states, what is pasted, codes, where a login is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cpa.accounts.files import AuthFile
from cpa.accounts.login.callback import Callback, callback_of, code_of, is_state, new_state, parse_pasted
from cpa.accounts.login.device import DeviceCode, device_code_of, poll
from cpa.accounts.login.pages import HEADERS, page, status_of
from cpa.accounts.login.pkce import challenge_of, new_pkce
from cpa.accounts.login.stored import merged_login, name_part, place
from cpa.errors import LoginError, OAuthError


def test_a_verifier_is_128_characters_and_its_challenge_is_sha_256() -> None:
    one, other = new_pkce(), new_pkce()
    assert one != other
    assert len(one.verifier) == 128
    assert set(one.verifier) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert challenge_of("A" * 128) == "tqw8wQOGMxx2XwTwQcFH0PJ48q7Y6qAh4tAFf8b2_54"
    assert one.challenge == challenge_of(one.verifier)
    assert one.verifier not in repr(one)


def test_states_have_128_bits_and_can_be_told_from_what_is_none() -> None:
    states = {new_state() for _ in range(1000)}
    assert len(states) == 1000
    assert all(len(state) == 32 and is_state(state) for state in states)
    for text in ("gem-1767322800000000000", "a.b_c-D", "a" * 128):
        assert is_state(text)
    for text in ("", "a" * 129, "..", "a..b", "a/b", "../x", "a b", "é", "a\n"):
        assert not is_state(text), text


@pytest.mark.parametrize(
    ("text", "code", "state"),
    [
        ("http://localhost:54545/callback?code=a&state=b", "a", "b"),
        ("  https://x.example/cb?state=b&code=a  ", "a", "b"),
        ("?code=a&state=b", "a", "b"),
        ("code=a&state=b", "a", "b"),
        ("localhost:1455/auth/callback?code=a&state=b", "a", "b"),
        ("/auth/callback?code=a&state=b", "a", "b"),
        ("http://localhost/cb#code=a&state=b", "a", "b"),
        ("http://localhost/cb?code=A%23S", "A", "S"),
        ("http://localhost/cb?code=A%23S&state=b", "A#S", "b"),
        ("a-b_c#state-1", "a-b_c", "state-1"),
        ("code=a&state=b&code=c", "c", "b"),
    ],
)
def test_an_address_is_understood_however_it_was_copied(text: str, code: str, state: str) -> None:
    found = parse_pasted(text)
    assert found is not None
    assert (found.code, found.state, found.error) == (code, state, "")


def test_an_empty_line_is_nothing_and_a_description_alone_is_an_error() -> None:
    assert parse_pasted("") is None
    assert parse_pasted(" \r\n") is None
    found = parse_pasted("http://localhost/cb?error_description=no")
    assert found is not None
    assert found.error == "no"


@pytest.mark.parametrize(
    "text", ["hello", "http://localhost/cb", "http://[::1", "?state=b", "x" * 20_000, "a=" + "&a=" * 100]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(LoginError) as caught:
        parse_pasted(text)
    assert caught.value.code == "invalid_callback_url"


@pytest.mark.parametrize(
    ("callback", "code", "said"),
    [
        ({"error": "access_denied"}, "access_denied", "cancelled"),
        ({"error": "server_error"}, "server_error", "try again later"),
        ({"error": "odd", "error_description": "why\x1b]0;x\x07 not"}, "odd", "authentication failed: why ]0;x not"),
        ({"state": "s"}, "no_code", "without an authorization code"),
        ({"code": "c"}, "no_state", "without the state"),
        ({"code": "c", "state": "S"}, "invalid_state", "another login"),
        ({"code": "c", "state": "é"}, "invalid_state", "another login"),
    ],
)
def test_a_callback_is_believed_only_with_code_and_state(callback: dict[str, str], code: str, said: str) -> None:
    with pytest.raises(LoginError) as caught:
        code_of(callback_of(callback), "s")
    assert caught.value.code == code
    assert said in str(caught.value)
    assert code_of(Callback(code="c", state="s"), "s") == "c"
    assert "secret" not in repr(Callback(code="secret", state="secret"))


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def now(self) -> float:
        return sum(self.slept)


async def ask_through(*answers: Any, code: DeviceCode | None = None) -> tuple[Any, list[float]]:
    """What polling gives for these answers in turn, and how long it slept each time."""
    clock, left = Clock(), list(answers)

    async def ask() -> Any:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    code = code or DeviceCode(verification_uri="https://x", user_code="c", interval=5.0, expires_in=900.0)
    return await poll(code, ask, sleep=clock.sleep, clock=clock.now), clock.slept


def failure(code: str = "", status: int = 400, retry_after: float | None = None) -> OAuthError:
    return OAuthError("no", status=status, code=code, retry_after=retry_after)


async def test_polling_goes_on_while_nobody_has_confirmed_and_slows_down_when_told() -> None:
    pending, slow = failure("authorization_pending"), failure("slow_down")
    assert await ask_through(pending, None, slow, pending, "yes") == ("yes", [5.0, 5.0, 5.0, 10.0, 10.0])
    assert await ask_through(failure(status=429, retry_after=30.0), "yes") == ("yes", [5.0, 30.0])
    assert await ask_through(failure(status=503), failure("network", 0), "yes") == ("yes", [5.0, 10.0, 20.0])


async def test_polling_ends_with_the_code() -> None:
    short = DeviceCode(verification_uri="https://x", user_code="c", interval=5.0, expires_in=12.0)
    with pytest.raises(LoginError) as caught:
        await ask_through(*[None] * 10, code=short)
    assert caught.value.code == "expired_token"
    for code in ("expired_token", "access_denied", "invalid_grant"):
        with pytest.raises(LoginError) as caught:
            await ask_through(failure(code))
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("answer", "interval", "expires_in"),
    [
        ({}, 5.0, 900.0),
        ({"interval": "8", "expires_in": "60"}, 8.0, 60.0),
        ({"interval": 1, "expires_in": 99999}, 5.0, 900.0),
        ({"interval": "soon", "expires_in": None}, 5.0, 900.0),
        ({"interval": True, "expires_in": -1}, 5.0, 900.0),
    ],
)
def test_a_vendors_numbers_are_read_and_bounded(answer: dict[str, Any], interval: float, expires_in: float) -> None:
    code = device_code_of({"user_code": "c", "verification_uri": "https://x", **answer})
    assert (code.interval, code.expires_in) == (interval, expires_in)


def test_a_code_needs_a_page_that_a_browser_may_open() -> None:
    assert device_code_of({"usercode": "c"}, page="https://own").page == "https://own"
    for answer in (
        {"user_code": "c"},
        {"verification_uri": "https://x"},
        {"user_code": "c", "verification_uri": "file:"},
    ):
        with pytest.raises(LoginError):
            device_code_of(answer)


def test_pages_are_fixed_and_run_nothing() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    for outcome in ("success", "received", "denied", "failed", "unknown"):
        content = page(outcome)  # type: ignore[arg-type]
        assert b"<script" not in content
        assert b"http" not in content.replace(b"http-equiv", b"")
        assert status_of(outcome) == (200 if outcome in ("success", "received") else 400)  # type: ignore[arg-type]


def identity(data: Any) -> dict[str, str]:
    return {name: data[name] for name in ("email", "account_id") if name in data}


def files(**found: dict[str, Any]) -> list[AuthFile]:
    return [AuthFile(f"{name}.json", Path(f"/auth/{name}.json"), data, "") for name, data in found.items()]


NEW = {"type": "x", "email": "a@b.c", "account_id": "1"}


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({}, "x.json"),
        ({"x": NEW}, "x.json"),
        ({"x": {"type": "x", "email": "A@B.C"}}, "x.json"),
        ({"x": {**NEW, "account_id": "2"}}, "spare.json"),
        ({"x": {**NEW, "account_id": "2"}, "spare": {**NEW, "account_id": "3"}}, "x-2.json"),
        ({"mine": NEW}, "mine.json"),
        ({"mine": NEW, "x": NEW}, "x.json"),
        ({"mine": {**NEW, "type": "y"}}, "x.json"),
        ({"mine": {"type": "x"}}, "x.json"),
        ({"x": {"type": "y"}}, "spare.json"),
    ],
)
def test_a_login_goes_where_it_was_and_never_over_another(known: dict[str, Any], name: str) -> None:
    assert place("x.json", "spare.json", NEW, identity, files(**known)) == name


def test_two_accounts_are_never_mixed_up_without_a_spare_name() -> None:
    other = files(x={**NEW, "account_id": "2"})
    assert place("x.json", "", NEW, identity, other) == "x-2.json"


def test_another_login_replaces_what_was_of_the_old_one_and_keeps_the_rest() -> None:
    old = {"type": "x", "access_token": "old", "id_token": "old", "expires_at": 1, "note": "n", "unknown": {"a": 1}}
    merged = merged_login(old, {"type": "x", "access_token": "new", "expired": "2030-01-01T00:00:00Z"})
    assert merged == {
        "type": "x",
        "note": "n",
        "unknown": {"a": 1},
        "access_token": "new",
        "expired": "2030-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a@b.c", "a@b.c"),
        ("..", "login"),
        ("a/b\\c:d", "a_b_c_d"),
        (" Ü x ", "_x"),
        ("", "login"),
        ("a" * 500, "a" * 80),
    ],
)
def test_a_part_of_a_name_is_harmless(text: str, part: str) -> None:
    assert name_part(text) == part
