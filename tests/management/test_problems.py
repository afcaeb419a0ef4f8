"""Refusals: the short form that panels read, and RFC 9457 for whoever asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.management.problem import PROBLEM, code_of
from tests.management.conftest import Managed, Start

CASES: list[tuple[str, str, Any, str]] = [
    ("PUT", "/debug", {}, "invalid_body"),
    ("DELETE", "/api-keys", None, "missing_index_or_value"),
    ("DELETE", "/api-keys?value=no", None, "item_not_found"),
    ("PUT", "/routing/strategy", {"value": "x"}, "invalid_strategy"),
    ("PUT", "/vertex-api-key", [{"base-url": "https://v.example"}], "missing_member"),
    ("PATCH", "/auth-files/fields", {"name": "a.json", "priority": 1.5}, "invalid_field"),
    ("PUT", "/prompt-rules", [{"name": "r", "target": "x"}], "invalid_prompt_rules"),
    ("PUT", "/config.yaml", [], "invalid_yaml"),
    ("GET", "/logs", None, "logging_to_file_disabled"),
]


@pytest.mark.parametrize(("method", "path", "body", "code"), CASES)
async def test_a_refusal_is_a_problem_for_whoever_asks(
    managed: Managed, method: str, path: str, body: Any, code: str
) -> None:
    plain = await managed.call(method, path, body)
    told = await managed.call(method, path, body, Accept=f"{PROBLEM}, application/json")
    assert told.headers["Content-Type"] == PROBLEM
    assert plain.headers["Content-Type"] == "application/json; charset=utf-8"
    assert plain.status == told.status == told.json["status"]
    assert (told.json["code"], told.json["type"]) == (code, f"urn:cpa:error:{code}")
    assert told.json["title"]
    assert told.json["detail"][0].isupper()
    assert plain.json.items() <= told.json.items()
    assert set(plain.json) <= {"error", "message", "index"}


async def test_whoever_is_shut_out_is_told_until_when(managed: Managed) -> None:
    for _ in range(5):
        await managed.call("GET", "/debug", key="wrong")
    told = await managed.call("GET", "/debug", Accept=PROBLEM)
    assert (told.status, told.json["code"]) == (403, "banned")
    assert 1700 < int(told.headers["Retry-After"]) <= 1800


async def test_a_file_that_cannot_be_saved_is_one_kind_of_problem(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("cpa.config.file.write_atomically", refuse)
    told = await managed.call("PUT", "/debug", {"value": True}, Accept=PROBLEM)
    assert (told.status, told.json["code"]) == (500, "failed_to_save_config")
    assert told.json["error"] == "failed to save config: Read-only file system"


def test_codes_hold_no_part_that_varies() -> None:
    assert code_of("failed to save config: No space left") == "failed_to_save_config"
    assert code_of("item not found") == "item_not_found"


async def test_a_route_of_a_plugin_is_described_as_it_says(start: Start) -> None:
    daemon: Managed = await start()
    document = (await daemon.call("GET", "/openapi.json")).json
    dry_run = document["paths"]["/v0/management/prompt-rules/dry-run"]["post"]
    assert dry_run["tags"] == ["Plugins"]
    assert dry_run["requestBody"]["content"]["application/json"]["schema"]["required"] == ["body"]
    assert dry_run["responses"]["200"]["content"]["application/json"]["schema"]["required"]


async def test_a_question_about_rules_is_limited_like_others(managed: Managed) -> None:
    answer = await managed.call("POST", "/prompt-rules/dry-run", data=b"x" * (4 * 1024 * 1024 + 1))
    assert answer.status == 413
