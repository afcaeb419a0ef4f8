"""Lists in the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.management.conftest import Answer, Managed, Start

KEYS = "api-keys: [k1, k2, k1x]\n"
CLAUDE = """\
claude-api-key:
  # the first
  - api-key: same
    base-url: https://one.example
    mine: kept # unknown
  - api-key: same # the second
    base-url: ''
  - api-key: other
"""


async def keys(daemon: Managed) -> Any:
    return (await daemon.call("GET", "/api-keys")).json["api-keys"]


async def entries(daemon: Managed, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await daemon.call("GET", f"/{name}")).json[name]
    return [{key: value for key, value in entry.items() if key != "auth-index"} for entry in found]


# -- client keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'["a"," b ","a",""]', ["a", "b"]),
        (b'{"items":["a"]}', ["a"]),
        (b"[]", []),
        (b"null", []),
        (b'{"items":[]}', 400),
        (b'{"other":1}', 400),
        (b"[1]", []),
        (b"[tru", 400),
    ],
)
async def test_client_keys_are_replaced(start: Start, body: bytes, outcome: Any) -> None:
    daemon: Managed = await start(KEYS)
    answer = await daemon.call("PUT", "/api-keys", data=body)
    if outcome == 400:
        assert (answer.status, answer.json) == (400, {"error": "invalid body"})
        assert await keys(daemon) == ["k1", "k2", "k1x"]
    else:
        assert answer.status == 200
        assert await keys(daemon) == outcome


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"index": 1, "value": "new"}, ["k1", "new", "k1x"]),
        ({"index": 9, "value": "new"}, 404),
        ({"old": "k1", "new": "new"}, ["new", "k2", "k1x"]),
        ({"old": "missing", "new": "new"}, ["k1", "k2", "k1x", "new"]),
        ({"old": None, "new": "new"}, ["k1", "k2", "k1x", "new"]),
        ({"index": 0, "value": "a", "old": "k2", "new": "b"}, ["a", "k2", "k1x"]),
        ({"old": "k1"}, 400),
        ({}, 400),
    ],
)
async def test_one_client_key_is_changed(start: Start, body: Any, outcome: Any) -> None:
    daemon: Managed = await start(KEYS)
    answer = await daemon.call("PATCH", "/api-keys", body)
    if isinstance(outcome, int):
        assert answer.status == outcome
    else:
        assert (answer.status, await keys(daemon)) == (200, outcome)


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("index=0", ["k2", "k1x"]),
        ("index=1abc", ["k1", "k1x"]),
        ("index=9", 404),
        ("value=%20k2%20", ["k1", "k1x"]),
        ("value=none", 404),
        ("", 400),
        ("index=abc", 400),
    ],
)
async def test_client_keys_are_removed(start: Start, query: str, outcome: Any) -> None:
    daemon: Managed = await start(KEYS)
    answer = await daemon.call("DELETE", f"/api-keys?{query}")
    if isinstance(outcome, int):
        assert answer.status == outcome
    else:
        assert (answer.status, await keys(daemon)) == (200, outcome)


async def test_keys_with_names_stay_what_they_are_when_the_list_is_written_back(start: Start) -> None:
    daemon: Managed = await start("api-keys:\n  - key: k1\n    name: laptop # mine\n  - k2\n")
    assert await keys(daemon) == ["k1", "k2"]
    assert (await daemon.call("PUT", "/api-keys", ["k1", "k2", "k3"])).status == 200
    assert "name: laptop # mine" in daemon.file
    assert (await daemon.call("PATCH", "/api-keys", {"old": "k1", "new": "k9"})).status == 200
    assert "name: laptop # mine" in daemon.file
    assert await keys(daemon) == ["k9", "k2", "k3"]


# -- provider keys -------------------------------------------------------------------------------------------------


async def test_a_list_can_be_read_and_written_back_without_a_change(start: Start) -> None:
    daemon: Managed = await start(CLAUDE)
    before = daemon.file
    shown = (await daemon.call("GET", "/claude-api-key")).json["claude-api-key"]
    assert all(len(entry["auth-index"]) == 16 for entry in shown[:1])
    assert (await daemon.call("PUT", "/claude-api-key", shown)).status == 200
    assert daemon.file == before
    again = (await daemon.call("GET", "/claude-api-key")).json["claude-api-key"]
    assert again == shown


async def test_the_index_of_a_key_is_that_of_its_account(start: Start) -> None:
    daemon: Managed = await start(CLAUDE)
    shown = (await daemon.call("GET", "/claude-api-key")).json["claude-api-key"]
    live = {account.index for account in daemon.daemon.pool if account.provider == "claude"}
    assert {entry["auth-index"] for entry in shown} == live


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("api-key=other", 2),
        ("api-key=same", "multiple items match api-key; base-url is required"),
        ("api-key=same&base-url=https://one.example", 2),
        ("api-key=same&base-url=", 2),
        ("api-key=same&base-url=https://two.example", "item not found"),
        ("api-key=none", "item not found"),
        ("index=2", 2),
        ("index=7", "item not found"),
        ("index=x", "missing api-key or index"),
        ("", "missing api-key or index"),
    ],
)
async def test_a_provider_key_is_removed_by_key_and_address(start: Start, query: str, left: Any) -> None:
    daemon: Managed = await start(CLAUDE)
    answer = await daemon.call("DELETE", f"/claude-api-key?{query}")
    if isinstance(left, str):
        assert answer.json == {"error": left}
    else:
        assert len(await entries(daemon, "claude-api-key")) == left
        assert "# the first" in daemon.file or "one.example" in query


async def test_a_member_that_is_given_replaces_and_others_stay(start: Start) -> None:
    daemon: Managed = await start(CLAUDE)
    value = {"prefix": "/team/", "headers": {" X ": " 1 ", "": "2", "Y": ""}, "excluded-models": [" A*", "a*", ""]}
    answer = await daemon.call("PATCH", "/claude-api-key", {"index": 0, "value": value})
    assert answer.status == 200
    entry = (await entries(daemon, "claude-api-key"))[0]
    assert (entry["prefix"], entry["headers"], entry["excluded-models"]) == ("team", {"X": "1"}, ["a*"])
    assert "mine: kept # unknown" in daemon.file
    assert entry["base-url"] == "https://one.example"


async def test_an_index_out_of_range_leaves_the_choice_to_the_key(start: Start) -> None:
    daemon: Managed = await start(CLAUDE)
    body = {"index": 9, "match": " other ", "value": {"prefix": "a/b"}}
    assert (await daemon.call("PATCH", "/claude-api-key", body)).status == 200
    assert "prefix" not in (await entries(daemon, "claude-api-key"))[2]
    assert (await daemon.call("PATCH", "/claude-api-key", {"match": "no", "value": {}})).status == 404
    assert (await daemon.call("PATCH", "/claude-api-key", {"match": "other"})).json == {"error": "invalid body"}


@pytest.mark.parametrize(
    ("name", "entry", "value", "left"),
    [
        ("gemini-api-key", {"api-key": "g"}, {"api-key": ""}, 0),
        ("codex-api-key", {"api-key": "c", "base-url": "https://c.example"}, {"base-url": " "}, 0),
        ("vertex-api-key", {"api-key": "v", "base-url": "https://v.example"}, {"base-url": ""}, 0),
        ("claude-api-key", {"api-key": "a"}, {"api-key": ""}, 1),
        ("openai-compatibility", {"name": "o", "base-url": "https://o.example"}, {"base-url": ""}, 0),
    ],
)
async def test_emptying_what_makes_an_entry_removes_it(
    managed: Managed, name: str, entry: Any, value: Any, left: int
) -> None:
    assert (await managed.call("PUT", f"/{name}", [entry])).status == 200
    assert (await managed.call("PATCH", f"/{name}", {"index": 0, "value": value})).status == 200
    assert len(await entries(managed, name)) == left


@pytest.mark.parametrize(
    ("name", "given", "outcome"),
    [
        ("codex-api-key", [{"api-key": "a"}, {"api-key": "b", "base-url": "https://b.example/"}], ["b"]),
        ("gemini-api-key", [{"api-key": "a"}, {"api-key": " a "}, {"api-key": ""}, {"api-key": "b"}], ["a", "b"]),
        ("vertex-api-key", [{"api-key": "a"}, {"base-url": "x"}], "vertex-api-key[1].api-key is required"),
        ("claude-api-key", {"items": []}, "invalid body"),
        ("claude-api-key", ["text"], "invalid body"),
        ("claude-api-key", {"items": [{"api-key": "a"}]}, ["a"]),
        ("claude-api-key", [], []),
    ],
)
async def test_lists_are_tidied_when_they_are_written(managed: Managed, name: str, given: Any, outcome: Any) -> None:
    answer = await managed.call("PUT", f"/{name}", given)
    if isinstance(outcome, str):
        assert answer.json["error"] == outcome
    else:
        assert [entry["api-key"] for entry in await entries(managed, name)] == outcome


async def test_an_entry_of_the_wrong_shape_is_refused_by_name(managed: Managed) -> None:
    answer = await managed.call("PUT", "/claude-api-key", [{"api-key": "a", "priority": "many"}])
    assert answer.status == 400
    assert "priority" in answer.json["message"]


async def test_a_star_takes_a_key_out_of_use(start: Start) -> None:
    daemon: Managed = await start("claude-api-key: [{api-key: a, models: [{name: m, alias: only-here}]}]\n")
    assert daemon.daemon.catalog.get_model("only-here")
    body = {"match": "a", "value": {"excluded-models": ["*"]}}
    assert (await daemon.call("PATCH", "/claude-api-key", body)).status == 200
    assert daemon.daemon.catalog.get_model("only-here") is None


async def test_compatible_providers_are_changed_by_name(managed: Managed) -> None:
    provider = {
        "name": "or",
        "base-url": " https://or.example/v1/ ",
        "api-key-entries": [{"api-key": "s1"}, {"api-key": "s2"}],
        "models": [{"name": "up", "alias": "a"}, {"alias": "", "name": ""}],
        "disable-cooling": True,
    }
    assert (await managed.call("PUT", "/openai-compatibility", [provider, {"name": "none"}])).status == 200
    shown = (await managed.call("GET", "/openai-compatibility")).json["openai-compatibility"]
    assert [entry["base-url"] for entry in shown] == ["https://or.example/v1"]
    assert shown[0]["disable-cooling"] is True
    assert shown[0]["models"] == [{"name": "up", "alias": "a"}]
    assert [len(key["auth-index"]) for key in shown[0]["api-key-entries"]] == [16, 16]
    body = {"name": "or", "value": {"disabled": True}}
    assert (await managed.call("PATCH", "/openai-compatibility", body)).status == 200
    assert (await entries(managed, "openai-compatibility"))[0]["disabled"] is True
    assert (await managed.call("DELETE", "/openai-compatibility?name=OR")).status == 404
    assert (await managed.call("DELETE", "/openai-compatibility")).json == {"error": "missing name or index"}
    assert (await managed.call("DELETE", "/openai-compatibility?name=or")).status == 200
    assert await entries(managed, "openai-compatibility") == []


# -- maps ----------------------------------------------------------------------------------------------------------


async def test_excluded_models_by_provider(managed: Managed) -> None:
    async def shown() -> Any:
        return (await managed.call("GET", "/oauth-excluded-models")).json["oauth-excluded-models"]

    path = "/oauth-excluded-models"
    assert (await managed.call("PUT", path, {" Claude ": [" A ", "a", ""], "": ["x"]})).status == 200
    assert await shown() == {"claude": ["a"]}
    assert (await managed.call("PUT", path, {"items": {"codex": ["b"]}})).status == 200
    assert await shown() == {"codex": ["b"]}
    assert (await managed.call("PATCH", path, {"provider": "KIMI", "models": ["c"]})).status == 200
    assert await shown() == {"codex": ["b"], "kimi": ["c"]}
    refusals: list[tuple[Answer, int, str]] = [
        (await managed.call("PATCH", path, {"provider": "no", "models": []}), 404, "provider not found"),
        (await managed.call("PATCH", path, {"models": ["x"]}), 400, "invalid provider"),
        (await managed.call("DELETE", path), 400, "missing provider"),
        (await managed.call("DELETE", f"{path}?provider=no"), 404, "provider not found"),
    ]
    for answer, status, error in refusals:
        assert (answer.status, answer.json) == (status, {"error": error})
    assert (await managed.call("PATCH", path, {"provider": "kimi", "models": []})).status == 200
    assert (await managed.call("DELETE", f"{path}?provider=codex")).status == 200
    assert await shown() == {}
    assert "oauth-excluded-models" not in managed.file


async def test_aliases_by_channel(managed: Managed) -> None:
    async def shown() -> Any:
        return (await managed.call("GET", "/oauth-model-alias")).json["oauth-model-alias"]

    path = "/oauth-model-alias"
    aliases = [
        {"name": "n", "alias": "a", "fork": True},
        {"name": "m", "alias": "A"},
        {"name": "same", "alias": "SAME"},
        {"name": "", "alias": "x"},
        {"id": "by-id", "alias": "b", "fork": False},
    ]
    assert (await managed.call("PATCH", path, {"channel": "Codex", "aliases": aliases})).status == 200
    expected = [{"name": "n", "alias": "a", "fork": True}, {"name": "by-id", "alias": "b"}]
    assert await shown() == {"codex": expected}
    assert (await managed.call("PATCH", path, {"provider": "codex", "aliases": []})).status == 200
    assert await shown() == {}
    assert "oauth-model-alias: {}" in managed.file


async def test_rules_for_errors_of_logins(managed: Managed) -> None:
    async def shown() -> Any:
        return (await managed.call("GET", "/oauth-request-scoped-errors")).json["oauth-request-scoped-errors"]

    path = "/oauth-request-scoped-errors"
    assert await shown() == {}
    rule = {"status": 400, "match": ["too long"], "action": "stop"}
    assert (await managed.call("PUT", path, {"Codex": [rule], "claude": []})).status == 200
    assert await shown() == {"codex": [rule]}
    other = {"match-regexr": ["^a+$"], "action": "continue-and-cooldown"}
    assert (await managed.call("PATCH", path, {"channel": "kimi", "rules": [other]})).status == 200
    assert (await managed.call("PATCH", path, {"provider": "claude", "rules": [{"status": 400}]})).status == 200
    assert await shown() == {"codex": [rule], "kimi": [other], "claude": [{"status": 400, "action": "stop"}]}
    before = managed.file
    for body, status, error in (
        ({"channel": "kimi", "rules": [{"action": "shout"}]}, 400, "invalid_config"),
        ({"channel": "kimi", "rules": [{"match-regexr": ["("]}]}, 400, "invalid regex"),
        ({"channel": "kimi", "rules": [{"match-regexr": 5}]}, 400, "invalid body"),
        ({"channel": "kimi", "rules": ["x"]}, 400, "invalid body"),
        ({"rules": [rule]}, 400, "invalid channel"),
        ({"channel": "none", "rules": []}, 404, "channel not found"),
    ):
        answer = await managed.call("PATCH", path, body)
        assert (answer.status, answer.json["error"]) == (status, error)
    assert managed.file == before
    assert (await managed.call("DELETE", path)).json == {"error": "missing channel"}
    for channel in ("codex", "kimi", "claude"):
        assert (await managed.call("DELETE", f"{path}?channel={channel}")).status == 200
    assert "oauth-request-scoped-errors" not in managed.file
    assert (await managed.call("DELETE", f"{path}?channel=codex")).json == {"error": "channel not found"}
    assert (await managed.call("DELETE", path)).json == {"error": "missing channel"}
    assert (await managed.call("PATCH", path, {"aliases": []})).json == {"error": "invalid channel"}


# -- prompt rules --------------------------------------------------------------------------------------------------

INJECT = {"name": "r1", "enabled": True, "target": " System ", "action": "INJECT", "content": "be brief"}
STRIP = {"name": "r2", "enabled": False, "target": "user", "action": "strip", "pattern": "x+"}


async def test_prompt_rules_are_written_and_shown_whole(managed: Managed) -> None:
    for body in ([INJECT, STRIP], {"prompt-rules": [INJECT, STRIP]}, {"items": [INJECT, STRIP]}):
        assert (await managed.call("PUT", "/prompt-rules", body)).status == 200
        shown = (await managed.call("GET", "/prompt-rules")).json["prompt-rules"]
        assert [rule["name"] for rule in shown] == ["r1", "r2"]
        assert shown[0] == {
            "name": "r1",
            "enabled": True,
            "models": [],
            "target": "system",
            "action": "inject",
            "content": "be brief",
            "marker": "",
            "position": "append",
            "pattern": "",
        }
    assert (await managed.call("PUT", "/prompt-rules", data=b"")).status == 200
    assert (await managed.call("GET", "/prompt-rules")).json == {"prompt-rules": []}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": ""}, "name is required"),
        ({"models": [{"name": "m", "protocol": "smtp"}]}, 'protocol "smtp" is not a recognized source format'),
        ({"target": "all"}, 'invalid target "all"'),
        ({"action": "shout"}, 'invalid action "shout"'),
        ({"position": "middle"}, 'invalid position "middle"'),
        ({"content": ""}, "content is required for inject"),
        ({"pattern": "x"}, "pattern must be empty for inject"),
        ({"action": "strip"}, "pattern is required for strip"),
        ({"action": "strip", "content": "", "pattern": "x" * 1025}, "pattern length 1025 exceeds max 1024"),
        ({"action": "strip", "content": "", "pattern": "("}, "invalid regex"),
        ({"action": "strip", "pattern": "x"}, "content and marker must be empty for strip"),
        ({"name": "r0"}, "duplicate name (also at index 0)"),
    ],
)
async def test_a_wrong_rule_is_refused_with_its_place_and_reason(managed: Managed, change: Any, reason: str) -> None:
    first = {**INJECT, "name": "r0"}
    assert (await managed.call("PUT", "/prompt-rules", [first])).status == 200
    before = managed.file
    answer = await managed.call("PUT", "/prompt-rules", [first, {**INJECT, **change}])
    assert (answer.status, answer.json["index"]) == (400, 1)
    assert reason in answer.json["error"]
    assert answer.json["error"].startswith("prompt-rules[1] ")
    assert managed.file == before


async def test_one_rule_is_replaced_appended_and_removed(managed: Managed) -> None:
    async def names() -> list[str]:
        return [rule["name"] for rule in (await managed.call("GET", "/prompt-rules")).json["prompt-rules"]]

    for body in ({"match": "new", "value": INJECT}, {"value": STRIP}):
        assert (await managed.call("PATCH", "/prompt-rules", body)).status == 200
    assert await names() == ["r1", "r2"]
    assert (
        await managed.call("PATCH", "/prompt-rules", {"match": "r1", "value": {**STRIP, "name": "r3"}})
    ).status == 200
    assert await names() == ["r3", "r2"]
    assert "be brief" not in managed.file
    assert (await managed.call("DELETE", "/prompt-rules?index=1x")).json == {"error": "missing name or index"}
    assert (await managed.call("DELETE", "/prompt-rules?index=9")).status == 400
    assert (await managed.call("DELETE", "/prompt-rules?name=no")).status == 404
    assert (await managed.call("DELETE", "/prompt-rules?index=1")).status == 200
    assert (await managed.call("DELETE", "/prompt-rules?name=r3")).status == 200
    assert await names() == []


async def test_a_dry_run_shows_what_rules_would_do(managed: Managed) -> None:
    messages = [{"role": "user", "content": "hi"}]
    asked = {"rules": [INJECT], "format": "openai", "model": "gpt", "body": {"messages": messages}}
    told = (await managed.call("POST", "/prompt-rules/dry-run", asked)).json
    assert told["matching"] == ["r1"]
    assert "be brief" in str(told["body"])
    assert (await managed.call("POST", "/prompt-rules/dry-run", {"body": []})).status == 400
    assert (await managed.call("POST", "/prompt-rules/dry-run", asked, key=None)).status == 401


# -- amp, routes ---------------------------------------------------------------------------------------------------


async def test_amp_mappings(managed: Managed) -> None:
    async def shown() -> Any:
        return (await managed.call("GET", "/ampcode/model-mappings")).json["model-mappings"]

    path = "/ampcode/model-mappings"
    assert (await managed.call("PUT", path, {"value": [{"from": " a ", "to": "b"}]})).status == 200
    assert await shown() == [{"from": "a", "to": "b"}]
    more = [{"from": "a", "to": "c"}, {"from": "d", "to": "e", "regex": True}]
    assert (await managed.call("PATCH", path, {"value": more})).status == 200
    assert await shown() == more
    refused = await managed.call("PATCH", path, {"value": []})
    assert refused.json == {"error": "value must contain at least one mapping"}
    assert (await managed.call("DELETE", path, {"value": ["no"]})).status == 404
    assert (await managed.call("DELETE", path, {"value": ["a"]})).status == 200
    assert await shown() == more[1:]
    assert (await managed.call("DELETE", path, data=b"")).status == 400
    assert (await managed.call("DELETE", f"{path}?all=true")).status == 200
    assert await shown() == []


async def test_amp_keys(managed: Managed) -> None:
    path = "/ampcode/upstream-api-keys"
    given = [{"upstream-api-key": " U ", "api-keys": [" c1 ", ""]}, {"upstream-api-key": "", "api-keys": ["x"]}]
    assert (await managed.call("PUT", path, {"value": given})).status == 200
    expected = [{"upstream-api-key": "U", "api-keys": ["c1"]}]
    assert (await managed.call("GET", path)).json == {"upstream-api-keys": expected}
    whole = (await managed.call("GET", "/ampcode")).json["ampcode"]
    assert whole["upstream-api-keys"] == expected
    assert (await managed.call("PATCH", path, {"value": [{"upstream-api-key": ""}]})).status == 400
    for body, status, error in (
        ({"value": None}, 400, "missing value"),
        ({"value": ["  "]}, 400, "empty value"),
        ({"value": ["no"]}, 404, "item not found"),
    ):
        answer = await managed.call("DELETE", path, body)
        assert (answer.status, answer.json["error"]) == (status, error)
    assert (await managed.call("DELETE", path, data=b"{")).json == {"error": "invalid body"}
    assert (await managed.call("DELETE", path, {"value": []})).status == 200
    assert (await managed.call("GET", path)).json == {"upstream-api-keys": []}


async def test_model_routes(managed: Managed) -> None:
    route = {"alias": "best", "models": ["a", "b"]}
    assert (await managed.call("PUT", "/model-routes", [route])).status == 200
    shown = (await managed.call("GET", "/model-routes")).json["model-routes"]
    assert shown == [{**route, "strategy": "priority", "cooldown-seconds": 60}]
    wrong = await managed.call("PATCH", "/model-routes", {"match": "best", "value": {"alias": "best", "models": []}})
    assert (wrong.status, wrong.json["error"]) == (400, "invalid_config")
    added = {"match": "fast", "value": {"alias": "fast", "models": ["c"], "strategy": "round-robin"}}
    assert (await managed.call("PATCH", "/model-routes", added)).status == 200
    assert (await managed.call("DELETE", "/model-routes?alias=best")).status == 200
    assert [entry["alias"] for entry in (await managed.call("GET", "/model-routes")).json["model-routes"]] == ["fast"]
