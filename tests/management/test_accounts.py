"""All accounts, a trial of one, other names for one, and why a model goes where it goes."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from tests.management.conftest import Managed, Start

KEYS = """\
claude-api-key:
  - {api-key: sk-secret-one, base-url: 'http://127.0.0.1:9', models: [{name: m}]}
  - {api-key: sk-secret-two, base-url: 'http://127.0.0.1:9', models: [{name: m}], priority: 5}
"""
LOGIN = {
    "type": "claude",
    "email": "a@example.com",
    "access_token": "sk-ant-oat01-very-secret",
    "refresh_token": "sk-ant-ort01-very-secret",
    "expired": "2099-01-01T00:00:00Z",
}


async def accounts(daemon: Managed) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await daemon.call("GET", "/accounts")).json["accounts"]
    return entries


async def with_login(start: Start, more: str = "", **members: Any) -> tuple[Managed, dict[str, Any]]:
    daemon: Managed = await start(more)
    assert (await daemon.call("POST", "/auth-files?name=a.json", {**LOGIN, **members})).status == 200
    return daemon, next(entry for entry in await accounts(daemon) if entry["name"] == "a.json")


async def test_the_list_holds_keys_and_logins_and_no_secret(start: Start) -> None:
    daemon, login = await with_login(start, KEYS)
    answer = await daemon.call("GET", "/accounts")
    assert "secret" not in answer.text
    shown = {(entry["provider"], entry["source"], entry["kind"]) for entry in answer.json["accounts"]}
    assert {("claude", "config", "apikey"), ("claude", "file", "oauth"), ("demo", "memory", "none")} <= shown
    assert login["expires_at"] == 4070908800.0
    assert login["renewable"]
    assert login["offers"] > 0
    keys = [entry for entry in answer.json["accounts"] if entry["source"] == "config"]
    assert [(entry["config_section"], entry["config_position"]) for entry in keys] == [
        ("claude-api-key", 0),
        ("claude-api-key", 1),
    ]


async def test_a_model_is_explained(start: Start) -> None:
    daemon: Managed = await start(KEYS)
    one, two = [account.id for account in daemon.daemon.pool if account.provider == "claude"]
    await daemon.call("POST", "/auth-files?name=off.json", {**LOGIN, "disabled": True})
    told = (await daemon.call("GET", "/route/explain?model=m")).json
    assert (told["chosen"], told["strategy"]) == (two, "round-robin")
    assert [candidate["account_id"] for candidate in told["candidates"]] == [two, one]
    (left,) = told["left_out"]
    assert (left["account_id"], left["provider"], left["because"]) == ("off.json", "claude", "disabled")
    daemon.daemon.pool.fail(two, "m", scope="model", reason="quota", seconds=60, message="too much")
    told = (await daemon.call("GET", "/route/explain?model=m")).json
    assert told["chosen"] == one
    assert told["candidates"][0]["skipped_because"] == "cooling down: quota (too much)"
    unknown = await daemon.call("GET", "/route/explain?model=nothing")
    assert (unknown.status, unknown.json["error"]) == (404, "model_not_found")
    assert (await daemon.call("GET", "/route/explain")).status == 400


async def test_an_account_is_tried_and_says_what_happened(start: Start) -> None:
    daemon: Managed = await start(KEYS)
    demo = next(entry for entry in await accounts(daemon) if entry["provider"] == "demo")
    told = (await daemon.call("POST", "/accounts/test", {"auth_index": demo["auth_index"]})).json
    assert (told["ok"], told["status"], told["credential"]) == (True, 200, "key")
    key = next(entry for entry in await accounts(daemon) if entry["source"] == "config")
    told = (await daemon.call("POST", "/accounts/test", {"auth_index": key["auth_index"]})).json
    assert (told["ok"], told["model"]) == (False, "m")
    assert "127.0.0.1" in told["message"]
    other = await daemon.call("POST", "/accounts/test", {"auth_index": key["auth_index"], "model": "demo"})
    assert (other.json["ok"], other.json["status"]) == (False, None)
    assert "does not offer" in other.json["message"]


async def test_a_trial_is_recorded_under_an_id_like_any_other(start: Start) -> None:
    daemon: Managed = await start("usage-statistics-enabled: true\n")
    demo = next(entry for entry in await accounts(daemon) if entry["provider"] == "demo")
    assert (await daemon.call("POST", "/accounts/test", {"auth_index": demo["auth_index"]})).json["ok"]
    for _ in range(100):
        recorded = (await daemon.call("GET", "/usage/events")).json["events"]
        if recorded:
            break
        await asyncio.sleep(0.05)
    (event,) = recorded
    assert event["api_group_key"] == "account-test"
    assert re.fullmatch(r"[0-9a-f]{16}", event["request_id"])


async def test_an_account_that_rests_is_tried_all_the_same(start: Start) -> None:
    daemon: Managed = await start()
    demo = next(entry for entry in await accounts(daemon) if entry["provider"] == "demo")
    daemon.daemon.pool.fail(demo["id"], "demo", scope="account", reason="quota", seconds=900, message="full")
    told = (await daemon.call("POST", "/accounts/test", {"auth_index": demo["auth_index"], "model": "demo"})).json
    assert told["ok"]


async def test_a_disabled_account_is_not_asked(start: Start) -> None:
    daemon, login = await with_login(start, disabled=True)
    told = (await daemon.call("POST", "/accounts/test", {"auth_index": login["auth_index"]})).json
    assert (told["ok"], told["message"]) == (False, "disabled: nothing was sent")


async def test_what_names_no_account_is_refused(start: Start) -> None:
    daemon: Managed = await start(KEYS)
    key = next(entry for entry in await accounts(daemon) if entry["source"] == "config")
    for path, method in (("/accounts/test", "POST"), ("/accounts/name", "PATCH")):
        assert (await daemon.call(method, path, {"auth_index": "0" * 16})).status == 404
        assert (await daemon.call(method, path, {})).status == 400
    assert (await daemon.call("PATCH", "/accounts/name", {"auth_index": key["auth_index"], "label": "x"})).status == 400


async def test_a_login_gets_another_label_and_its_tokens_stay(start: Start, tmp_path: Path) -> None:
    daemon, login = await with_login(start)
    body = {"auth_index": login["auth_index"], "label": "  work "}
    assert (await daemon.call("PATCH", "/accounts/name", body)).status == 200
    again = next(entry for entry in await accounts(daemon) if entry["name"] == "a.json")
    assert (again["label"], again["email"], again["auth_index"]) == ("work", "a@example.com", login["auth_index"])
    assert json.loads((tmp_path / "auth" / "a.json").read_bytes()) == {**LOGIN, "label": "work"}
    assert (await daemon.call("PATCH", "/accounts/name", {**body, "label": ""})).status == 200
    assert json.loads((tmp_path / "auth" / "a.json").read_bytes()) == LOGIN


async def test_a_file_gets_another_name_and_the_account_stays_the_same(start: Start, tmp_path: Path) -> None:
    daemon, login = await with_login(start)
    folder = tmp_path / "auth"
    for name in ("b.json", "c.json"):
        body = {"auth_index": login["auth_index"], "file": name}
        assert (await daemon.call("PATCH", "/accounts/name", body)).status == 200
        assert [file.name for file in folder.glob("*.json")] == [name]
        (entry,) = [entry for entry in await accounts(daemon) if entry["source"] == "file"]
        assert (entry["name"], entry["auth_index"]) == (name, login["auth_index"])
    (folder / "copy.json").write_bytes((folder / "c.json").read_bytes())
    await daemon.daemon.auth_files.check(["copy.json"])
    indexes = {entry["name"]: entry["auth_index"] for entry in await accounts(daemon) if entry["source"] == "file"}
    assert indexes["c.json"] == login["auth_index"] != indexes["copy.json"]
    taken = {"auth_index": login["auth_index"], "file": "copy.json"}
    assert (await daemon.call("PATCH", "/accounts/name", taken)).status == 409
    for wrong in ("../x.json", ".x.json", "x", "a/b.json"):
        answer = await daemon.call("PATCH", "/accounts/name", {"auth_index": login["auth_index"], "file": wrong})
        assert answer.status == 400, wrong
    assert daemon.daemon.pool.get("c.json").index == login["auth_index"]  # type: ignore[union-attr]


async def test_quota_is_asked_of_logins_and_failures_are_told(start: Start) -> None:
    settings = "plugins: {configs: {claude: {oauth: {usage-url: 'http://127.0.0.1:9/usage'}}}}\n"
    daemon, login = await with_login(start, settings)
    told = (await daemon.call("POST", "/quota", {"auth_index": login["auth_index"]})).json["accounts"]
    assert (told[0]["id"], told[0]["told"]) == ("a.json", False)
    assert told[0]["error"]
    assert told[0]["not_before"] > told[0]["asked_at"]
    known = (await daemon.call("GET", f"/quota?auth_index={login['auth_index']}")).json["accounts"]
    assert known[0]["error"] == told[0]["error"]
