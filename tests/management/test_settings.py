"""Single settings and the whole configuration."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cpa.management.scalars import SCALARS, Scalar
from tests.management.conftest import HASH, KEY, Managed, Start

SAMPLES: dict[type, tuple[Any, Any]] = {bool: (True, False), int: (3, 0), str: ("", "")}
TEXTS = {
    "proxy-url": "socks5://127.0.0.1:1080",
    "routing/strategy": "fill-first",
    "ampcode/upstream-url": "https://amp.example",
    "ampcode/upstream-api-key": "amp-key",
}


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: scalar.path)
async def test_every_setting_is_written_in_force_and_shown(managed: Managed, scalar: Scalar) -> None:
    for method in ("PUT", "PATCH"):
        for value in (TEXTS.get(scalar.path) or SAMPLES[scalar.kind][0], SAMPLES[scalar.kind][1]):
            if scalar.path == "routing/strategy" and not value:
                continue
            answer = await managed.call(method, f"/{scalar.path}", {"value": value})
            assert (answer.status, answer.json) == (200, {"status": "ok"})
            assert (await managed.call("GET", f"/{scalar.path}")).json == {scalar.name: value}
            running: Any = managed.daemon.store.current
            for key in scalar.keys:
                running = getattr(running, key.replace("-", "_"))
            assert running == value


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/debug", b'{"value":"true"}'),
        ("/debug", b'{"value":1}'),
        ("/debug", b"{}"),
        ("/debug", b'{"value":null}'),
        ("/debug", b"[true]"),
        ("/debug", b"nonsense"),
        ("/debug", b""),
        ("/request-retry", b'{"value":1.5}'),
        ("/request-retry", b'{"value":"1"}'),
        ("/request-retry", b'{"value":true}'),
        ("/proxy-url", b'{"value":1}'),
    ],
)
async def test_a_value_of_another_type_is_refused(managed: Managed, path: str, body: bytes) -> None:
    before = managed.file
    answer = await managed.call("PUT", path, data=body)
    assert (answer.status, answer.json) == (400, {"error": "invalid body"})
    assert managed.file == before


async def test_names_in_bodies_match_whatever_their_case_and_what_follows_is_ignored(managed: Managed) -> None:
    assert (await managed.call("PUT", "/debug", data=b'{"VALUE":true,"more":1} trailing')).status == 200
    assert (await managed.call("GET", "/debug")).json == {"debug": True}


@pytest.mark.parametrize(("path", "stored"), [("/logs-max-total-size-mb", 0), ("/error-logs-max-files", 10)])
async def test_negative_sizes_become_what_they_mean(managed: Managed, path: str, stored: int) -> None:
    await managed.call("PUT", path, {"value": 5})
    await managed.call("PUT", path, {"value": -1})
    assert (await managed.call("GET", path)).json == {path[1:]: stored}


@pytest.mark.parametrize(
    ("given", "stored"), [("RR", "round-robin"), (" FF ", "fill-first"), ("", "round-robin"), ("random", None)]
)
async def test_a_strategy_has_several_spellings(managed: Managed, given: str, stored: str | None) -> None:
    answer = await managed.call("PUT", "/routing/strategy", {"value": given})
    if stored is None:
        assert (answer.status, answer.json["error"]) == (400, "invalid strategy")
    else:
        assert (await managed.call("GET", "/routing/strategy")).json == {"strategy": stored}


@pytest.mark.parametrize("url", ["ftp://h", "h:1", "http://", "javascript:x", "http://h:99999"])
async def test_a_proxy_that_cannot_work_is_refused(managed: Managed, url: str) -> None:
    assert (await managed.call("PUT", "/proxy-url", {"value": url})).status == 400


async def test_a_proxy_is_cleared(managed: Managed) -> None:
    await managed.call("PUT", "/proxy-url", {"value": "http://127.0.0.1:1"})
    assert (await managed.call("DELETE", "/proxy-url")).json == {"status": "ok"}
    assert (await managed.call("GET", "/proxy-url")).json == {"proxy-url": ""}


async def test_a_write_changes_the_one_line_it_is_about(start: Start) -> None:
    text = (
        "zebra: 'unknown' # mine\nrequest-retry:   3   # thrice\n"
        'api-keys: [a, "b"]\n    # indented remark\ndebug: no\n'
    )
    daemon: Managed = await start(text)
    before = daemon.file
    await daemon.call("PUT", "/request-retry", {"value": 4})
    assert daemon.file == before.replace("request-retry:   3 ", "request-retry:   4 ")


async def test_a_file_that_cannot_be_written_changes_nothing(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes, **_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("cpa.config.file.write_atomically", refuse)
    answer = await managed.call("PUT", "/debug", {"value": True})
    assert (answer.status, answer.json) == (500, {"error": "failed to save config: Read-only file system"})
    assert (await managed.call("GET", "/debug")).json == {"debug": False}


async def test_the_configuration_is_shown_without_what_guards_the_daemon(start: Start) -> None:
    daemon: Managed = await start("claude-api-key: [{api-key: k1, headers: {X: y}}]\napi-keys: [{key: ck, name: me}]\n")
    shown = (await daemon.call("GET", "/config")).json
    assert not {"host", "port", "auth-dir", "remote-management"} & set(shown)
    assert shown["api-keys"] == ["ck"]
    entry = shown["claude-api-key"][0]
    assert entry.pop("auth-index")
    assert entry == {"api-key": "k1", "base-url": "", "proxy-url": "", "models": [], "headers": {"X": "y"}}
    assert shown["quota-exceeded"]["switch-project"] is False
    assert shown["disable-image-generation"] is False
    assert "prompt-rules" not in shown
    assert HASH not in (await daemon.call("GET", "/config")).text


async def test_the_file_is_given_byte_for_byte(managed: Managed) -> None:
    answer = await managed.call("GET", "/config.yaml")
    assert answer.body == managed.path.read_bytes()
    assert answer.headers["Content-Type"] == "application/yaml; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_that_is_gone_is_not_found(managed: Managed) -> None:
    managed.path.unlink()
    answer = await managed.call("GET", "/config.yaml")
    assert (answer.status, answer.json["error"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"a: [", 400, "invalid_yaml"),
        (b"\xff\xfe", 400, "invalid_yaml"),
        (b"", 400, "invalid_yaml"),
        (b"# nothing\n", 400, "invalid_yaml"),
        (b"- a list\n", 400, "invalid_yaml"),
        (b"port: many\n", 422, "invalid_config"),
        (b"prompt-rules: [{name: r1, target: system, action: shout}]\n", 400, "invalid_prompt_rules"),
        (b"remote-management: {secret-key: " + b"x" * 73 + b"}\n", 422, "invalid_config"),
    ],
)
async def test_a_wrong_file_is_refused_and_leaves_no_trace(
    managed: Managed, content: bytes, status: int, error: str
) -> None:
    before, names = managed.path.read_bytes(), sorted(os.listdir(managed.path.parent))
    answer = await managed.call("PUT", "/config.yaml", data=content)
    assert (answer.status, answer.json["error"]) == (status, error), answer
    assert managed.path.read_bytes() == before
    assert sorted(os.listdir(managed.path.parent)) == names


async def test_a_new_file_is_in_force_at_once_and_comes_back_as_it_was_sent(managed: Managed) -> None:
    text = managed.file + "api-keys: [fresh]   # for the editor\n\n# the end\n"
    answer = await managed.call("PUT", "/config.yaml", data=text.encode())
    assert (answer.status, answer.json) == (200, {"ok": True, "changed": ["config"]})
    assert (await managed.call("GET", "/config.yaml")).text == text
    async with managed.session.get(f"{managed.url}/v1/models") as refused:
        assert refused.status == 401
    async with managed.session.get(f"{managed.url}/v1/models", headers={"Authorization": "Bearer fresh"}) as let_in:
        assert let_in.status == 200


async def test_a_key_in_clear_in_a_new_file_never_reaches_the_disk(managed: Managed) -> None:
    text = managed.file.replace(HASH, "brand-new-key")
    assert (await managed.call("PUT", "/config.yaml", data=text.encode())).status == 200
    assert "brand-new-key" not in managed.file
    assert (await managed.call("GET", "/debug", key="brand-new-key")).status == 200


async def test_two_editors_cannot_overwrite_each_other(managed: Managed) -> None:
    first = (await managed.call("GET", "/config.yaml")).headers["ETag"]
    changed = await managed.call("PUT", "/debug", {"value": True}, If_Match=first)
    assert changed.status == 200
    late = await managed.call("PUT", "/config.yaml", data=b"debug: false\n", If_Match=first)
    assert (late.status, late.json["error"]) == (412, "precondition_failed")
    assert (await managed.call("PUT", "/debug", {"value": False}, If_Match=changed.headers["ETag"])).status == 200


async def test_the_file_keeps_its_mode(managed: Managed) -> None:
    managed.path.chmod(0o600)
    await managed.call("PUT", "/config.yaml", data=managed.path.read_bytes() + b"debug: true\n")
    assert managed.path.stat().st_mode & 0o777 == 0o600


async def test_an_edit_by_hand_is_not_lost_by_a_write_that_knows_nothing_of_it(managed: Managed) -> None:
    managed.path.write_text(managed.file + "request-retry: 7\n")
    await managed.call("PUT", "/debug", {"value": True})
    assert "request-retry: 7" in managed.file
    assert managed.daemon.store.current.request_retry == 7


async def test_writes_at_the_same_moment_all_survive(managed: Managed) -> None:
    answers = await asyncio.gather(
        managed.call("PATCH", "/debug", {"value": True}),
        *(managed.call("PATCH", "/api-keys", {"old": None, "new": f"k{n}"}) for n in range(10)),
        *(managed.call("PATCH", "/oauth-excluded-models", {"provider": f"p{n}", "models": ["a"]}) for n in range(10)),
    )
    assert {answer.status for answer in answers} == {200}
    config = managed.daemon.store.current
    assert config.debug
    assert sorted(map(str, config.api_keys)) == sorted(f"k{n}" for n in range(10))
    assert len(config.oauth_excluded_models) == 10


async def test_a_huge_file_is_refused_before_it_has_come(managed: Managed) -> None:
    reader, writer = await asyncio.open_connection(*managed.url.removeprefix("http://").split(":"))
    head = f"PUT /v0/management/config.yaml HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    writer.write(f"{head}Content-Length: 5000000\r\n\r\n# ".encode())
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_yaml_that_grows_is_refused_quickly(managed: Managed) -> None:
    levels = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    names = "abcdefghi"
    for before, after in pairwise(names):
        levels.append(f"{after}: &{after} [{','.join(['*' + before] * 9)}]")
    loop = b"a: &a [*a]\n"
    for content in ("\n".join(levels).encode(), loop, b"[" * 100_000):
        answer = await managed.call("PUT", "/config.yaml", data=content)
        assert answer.status in (400, 422), answer


async def test_numbers_beyond_64_bits_are_shown(managed: Managed) -> None:
    text = managed.path.read_text() + "\nplugins:\n  configs:\n    mine:\n      number: 1180591620717411303424\n"
    assert (await managed.call("PUT", "/config.yaml", data=text.encode())).status == 200
    answer = await managed.call("GET", "/config")
    assert answer.status == 200
    assert b"1180591620717411303424" in answer.body


async def test_a_doubtful_change_says_so_and_a_second_one_says_no_more(start: Start) -> None:
    managed = await start()
    entry = {"api-key": "sk-upstream", "perfix": "team"}
    first = await managed.call("PUT", "/claude-api-key", [entry])
    assert (first.status, first.json["status"]) == (200, "ok")
    assert [warning["path"] for warning in first.json["warnings"]] == ["claude-api-key[0].perfix"]
    assert first.json["warnings"][0]["message"].endswith("did you mean prefix?")
    assert (await managed.call("PUT", "/debug", {"value": True})).json == {"status": "ok"}
    whole = await managed.call("PUT", "/config.yaml", data=f"{managed.file}routing: {{strategy: odd}}\n".encode())
    assert [warning["path"] for warning in whole.json["warnings"]] == ["routing.strategy"]
