"""Who gets in, and who is kept out."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from cpa.config import ConfigStore
from cpa.config.load import load_text
from cpa.errors import ConfigError
from cpa.management.access import Gate
from cpa.management.answers import Refusal
from cpa.management.lockout import BAN_SECONDS, DECAY_SECONDS, Lockout, attempts_of, duration_text
from tests.management.conftest import HASH, KEY, Managed, Start

PLAIN = "remote-management:\n  secret-key: 'right'\n"


async def test_without_any_key_there_is_no_management_api(start: Start) -> None:
    daemon: Managed = await start(secret_key="")
    answer = await daemon.call("GET", "/config")
    assert (answer.status, answer.text) == (404, "404 page not found")
    assert "X-CPA-VERSION" not in answer.headers


async def test_a_key_added_while_running_opens_it_and_one_removed_closes_it(start: Start) -> None:
    daemon: Managed = await start(secret_key="")
    text = daemon.file
    daemon.edit(text.replace("secret-key: ''", f"secret-key: '{HASH}'"))
    assert (await daemon.call("GET", "/config", key="wrong")).status == 401
    assert (await daemon.call("GET", "/config")).status == 200
    daemon.edit(text)
    answer = await daemon.call("GET", "/config", key="wrong")
    assert (answer.status, answer.body) == (404, b"")


async def test_the_environment_password_works_without_a_key_in_the_file_and_survives_a_reload(start: Start) -> None:
    daemon: Managed = await start(secret_key="", environ={"MANAGEMENT_PASSWORD": " from-env "})
    assert (await daemon.call("GET", "/config", key="from-env")).status == 200
    daemon.edit(daemon.file + "debug: true\n")
    assert (await daemon.call("GET", "/debug", key="from-env")).json == {"debug": True}


async def test_an_environment_password_of_blanks_is_none(start: Start) -> None:
    daemon: Managed = await start(secret_key="", environ={"MANAGEMENT_PASSWORD": "  "})
    assert (await daemon.call("GET", "/config", key="  ")).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"Authorization": KEY},
        {"X_Management_Key": KEY},
    ],
)
async def test_the_key_may_stand_in_two_headers(managed: Managed, headers: dict[str, str]) -> None:
    assert (await managed.call("GET", "/debug", key=None, **headers)).status == 200


async def test_a_wrong_authorization_is_not_mended_by_the_other_header(managed: Managed) -> None:
    assert (await managed.call("GET", "/debug", key="wrong", X_Management_Key=KEY)).status == 401


async def test_missing_and_wrong_keys_are_told_apart_and_carry_the_version(managed: Managed) -> None:
    missing = await managed.call("GET", "/debug", key=None)
    wrong = await managed.call("GET", "/debug", key="wrong")
    assert (missing.status, missing.json) == (401, {"error": "missing management key"})
    assert (wrong.status, wrong.json) == (401, {"error": "invalid management key"})
    assert missing.headers["X-CPA-VERSION"]
    assert wrong.headers["Cache-Control"] == "no-store"


async def test_five_wrong_keys_shut_an_address_out(managed: Managed) -> None:
    for _ in range(5):
        assert (await managed.call("GET", "/debug", key="wrong")).status == 401
    answer = await managed.call("GET", "/debug")
    assert answer.status == 403
    assert re.fullmatch(r"IP banned due to too many failed attempts. Try again in \d+m\d+s", answer.json["error"])


FROM_A_PAGE: dict[str, tuple[dict[str, str], str | None]] = {
    "a script of another site": ({"Origin": "https://evil.example"}, "wrong"),
    "a frame without origin": ({"Origin": "null"}, "wrong"),
    "a picture": ({"Sec_Fetch_Site": "cross-site"}, None),
    "a link with a password in it": ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, "Basic eDp5"),
    "a picture in an old browser": ({"User_Agent": "Mozilla/5.0 (X11)"}, None),
    "a name that leads here": ({"Origin": "http://evil.example", "Host": "evil.example"}, "wrong"),
}
"""What a browser may be made to send: headers, and the key."""


@pytest.mark.parametrize("how", FROM_A_PAGE)
async def test_a_web_page_cannot_shut_the_owner_out(managed: Managed, how: str) -> None:
    headers, key = FROM_A_PAGE[how]
    for _ in range(8):
        assert (await managed.call("GET", "/debug", key=key, **headers)).status in (401, 403, 421)
    assert (await managed.call("GET", "/debug")).status == 200


async def test_a_page_of_a_name_nobody_vouched_for_is_counted_apart(start: Start) -> None:
    """Where the name is let in, its pages may guess as often as anybody, and shut out nobody but themselves."""
    daemon: Managed = await start("allowed-hosts: ['*']\n")
    page = {"Origin": "http://box.example", "Host": "box.example"}
    assert [(await daemon.call("GET", "/debug", key="wrong", **page)).status for _ in range(6)] == [401] * 5 + [403]
    assert (await daemon.call("GET", "/debug", **page)).status == 403
    assert (await daemon.call("GET", "/debug")).status == 200


async def test_a_new_key_begins_with_a_clean_slate(managed: Managed) -> None:
    """Whoever can change the key is the owner, and wants to get in."""
    for _ in range(5):
        await managed.call("GET", "/debug", key="wrong")
    assert (await managed.call("GET", "/debug")).status == 403
    managed.edit(managed.file.replace(HASH, bcrypt.hashpw(b"another", bcrypt.gensalt(4)).decode()))
    assert (await managed.call("GET", "/debug", key="another")).status == 200


async def test_wrong_keys_at_the_same_moment_cost_no_more_than_one_after_the_other(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def check(key: str, hashed: str) -> bool:
        checked.append(key)
        return False

    monkeypatch.setattr("cpa.management.access._bcrypt_matches", check)
    answers = await asyncio.gather(*(managed.call("GET", "/debug", key=f"guess-{n}") for n in range(60)))
    assert sorted({answer.status for answer in answers}) == [401, 403]
    assert len(checked) == 5


async def test_pages_of_this_machine_and_of_listed_origins_may_manage(start: Start) -> None:
    daemon: Managed = await start("cors-origins: ['https://panel.example']\n")
    for origin in (
        "http://localhost:5173",
        "http://127.0.0.1:9",
        "http://[::1]:9",
        "https://panel.example",
        daemon.url,
    ):
        answer = await daemon.call("GET", "/debug", Origin=origin)
        assert answer.status == 200, origin
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "X-CPA-VERSION" in answer.headers["Access-Control-Expose-Headers"]
    assert (await daemon.call("GET", "/debug", Origin="https://other.example")).status == 403
    assert (await daemon.call("GET", "/debug", Origin="null")).status == 403


async def test_preflights_need_no_key_and_unknown_paths_are_not_found(managed: Managed) -> None:
    assert (await managed.call("OPTIONS", "/config", key=None)).status == 204
    assert (await managed.call("GET", "/no-such-thing", key=None)).text == "404 page not found"
    assert (await managed.call("DELETE", "/config", key=None)).text == "404 page not found"


async def test_a_trailing_slash_does_not_lead_past_the_key(managed: Managed) -> None:
    assert (await managed.call("GET", "/config/", key=None)).status == 401
    assert (await managed.call("GET", "/config/")).status == 200


async def test_a_key_in_clear_is_hashed_at_start_and_nothing_else_changes(start: Start) -> None:
    daemon: Managed = await start("debug: false # quiet\n", secret_key="plain-key")
    lines = daemon.file.splitlines()
    assert re.fullmatch(r"  secret-key: '?\$2b\$10\$[^ ]{53}'? # the key", lines[6])
    assert lines[0] == "# the daemon of a test"
    assert lines[-1] == "debug: false # quiet"
    assert (await daemon.call("GET", "/debug", key="plain-key")).status == 200


async def test_a_key_in_clear_saved_while_running_works_and_is_hashed(managed: Managed) -> None:
    managed.edit(managed.file.replace(HASH, "new-key"))
    assert (await managed.call("GET", "/debug", key="new-key")).status == 200
    async with asyncio.timeout(10):
        while "new-key" in managed.file:
            await asyncio.sleep(0.01)
    assert (await managed.call("GET", "/debug", key="new-key")).status == 200


async def test_the_local_password_is_a_key_of_its_own(start: Start) -> None:
    daemon: Managed = await start(secret_key="", local_password="desktop")
    assert (await daemon.call("GET", "/debug", key="desktop")).status == 200
    daemon.edit(daemon.file + "debug: true\n")
    assert (await daemon.call("GET", "/debug", key="desktop")).status == 200


async def test_fifty_requests_at_once_check_the_hash_once(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = 0
    original = __import__("bcrypt").checkpw

    def counting(*arguments: Any) -> bool:
        nonlocal checked
        checked += 1
        return bool(original(*arguments))

    monkeypatch.setattr("bcrypt.checkpw", counting)
    answers = await asyncio.gather(*(managed.call("GET", "/debug") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert checked == 1


@pytest.mark.parametrize(
    ("local", "allow_remote", "environment", "outcome"),
    [
        (True, False, False, "in"),
        (False, False, False, "remote management disabled"),
        (False, True, False, "in"),
        (False, False, True, "in"),
    ],
)
async def test_remote_callers_need_permission(local: bool, allow_remote: bool, environment: bool, outcome: str) -> None:
    gate = Gate({"MANAGEMENT_PASSWORD": "right"} if environment else {})
    config = load_text(f"{PLAIN}  allow-remote: {str(allow_remote).lower()}\n", environ={}).config
    try:
        await gate.check("right", "192.0.2.7", local, config)
        found = "in"
    except Refusal as refusal:
        found = refusal.body["error"]
    assert found == outcome


async def test_a_refused_remote_caller_is_not_counted() -> None:
    gate = Gate({})
    config = load_text(PLAIN, environ={}).config
    for _ in range(7):
        with pytest.raises(Refusal):
            await gate.check("wrong", "192.0.2.7", False, config)
    assert gate.lockout.remaining("192.0.2.7") == 0


async def test_the_local_password_is_worth_nothing_from_elsewhere() -> None:
    gate = Gate({}, "desktop")
    config = load_text(f"{PLAIN}  allow-remote: true\n", environ={}).config
    await gate.check("desktop", "127.0.0.1", True, config)
    with pytest.raises(Refusal, match="invalid management key"):
        await gate.check("desktop", "192.0.2.7", False, config)


async def test_forwarded_addresses_count_only_from_trusted_proxies(start: Start) -> None:
    daemon: Managed = await start()
    assert (await daemon.call("GET", "/debug", X_Forwarded_For="8.8.8.8")).status == 200
    behind: Managed = await start("trusted-proxies: [127.0.0.1]\n")
    answer = await behind.call("GET", "/debug", X_Forwarded_For="127.0.0.1, 8.8.8.8")
    assert answer.json == {"error": "remote management disabled"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_ban_ends_and_the_count_starts_anew() -> None:
    clock = Clock()
    lockout = Lockout(clock)
    for _ in range(5):
        lockout.failed("a")
    assert lockout.remaining("a") == BAN_SECONDS
    assert lockout.remaining("b") == 0
    clock.now += BAN_SECONDS
    assert lockout.remaining("a") == 0
    for _ in range(4):
        lockout.failed("a")
    assert lockout.remaining("a") == 0


def test_a_right_key_and_time_both_forgive() -> None:
    clock = Clock()
    lockout = Lockout(clock)
    for _ in range(4):
        lockout.failed("a")
    lockout.succeeded("a")
    for _ in range(4):
        lockout.failed("a")
    clock.now += DECAY_SECONDS + 1
    lockout.failed("a")
    assert lockout.remaining("a") == 0


def test_many_addresses_do_not_fill_the_memory_and_bans_outlive_idle_entries() -> None:
    clock = Clock()
    lockout = Lockout(clock)
    for number in range(25_000):
        lockout.failed(f"2001:db8:{number:x}::")
    assert len(lockout._records) <= 10_000
    clock.now += DECAY_SECONDS + 1
    lockout.failed("another")
    assert len(lockout._records) == 1


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_a_host_is_one_guesser_however_many_addresses_it_has(address: str, who: str) -> None:
    assert attempts_of(address) == who


@pytest.mark.parametrize(("seconds", "text"), [(1799.4, "29m59s"), (3723, "1h2m3s"), (0.2, "1s"), (60, "1m0s")])
def test_waiting_times_are_written_in_whole_seconds(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_key_that_cannot_be_hashed_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"remote-management:\n  secret-key: {'x' * 73}\n")
    with pytest.raises(ConfigError, match=r"line 2: .*failed to hash remote management key"):
        ConfigStore(path, {})
    path.write_text(f"remote-management:\n  secret-key: {'x' * 72}\n")
    assert ConfigStore(path, {}).current.remote_management.secret_key == "x" * 72


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
async def test_a_stored_hash_is_taken_as_it_is(start: Start, prefix: str) -> None:
    stored = HASH.replace("$2b$", prefix)
    daemon: Managed = await start(secret_key=stored)
    assert stored in daemon.file
    assert (await daemon.call("GET", "/debug")).status == 200
