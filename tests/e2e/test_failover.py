"""Several accounts behind one model: who answers, who is asked next, and what the client sees when nobody can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from running import KEY, RunningDaemon, Upstream, free_port
from scripted import Script, ScriptedUpstream

HEADERS = {"Authorization": f"Bearer {KEY}"}
Start = Callable[..., RunningDaemon]


@pytest.fixture
def scripted() -> Iterator[tuple[ScriptedUpstream, Upstream]]:
    model = ScriptedUpstream()
    upstream = Upstream(model.app)
    yield model, upstream
    upstream.stop()


@pytest.fixture
def start(scripted: tuple[ScriptedUpstream, Upstream], tmp_path: Path) -> Iterator[Start]:
    """A daemon with the accounts ``first`` and ``second`` for the model ``m``, by priority asked in that order."""
    daemons: list[RunningDaemon] = []

    def begin(*, priorities: tuple[int, int] = (1, 0), **settings: Any) -> RunningDaemon:
        config = {
            "host": "127.0.0.1",
            "port": free_port(),
            "auth-dir": str(tmp_path / "auth"),
            "api-keys": [KEY],
            "usage-database-path": str(tmp_path / "usage.sqlite"),
            "openai-compatibility": [
                {
                    "name": name,
                    "base-url": scripted[1].url + "/v1",
                    "priority": priority,
                    "api-key-entries": [{"api-key": name}],
                    "models": [{"name": "m-up", "alias": "m"}],
                }
                for name, priority in zip(("first", "second"), priorities, strict=True)
            ],
            **settings,
        }
        daemons.append(RunningDaemon(config, tmp_path))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        assert daemon.stop() == 0, daemon.output()


async def ask(
    daemon: RunningDaemon, *, stream: bool = False, path: str = "/v1/chat/completions"
) -> tuple[int, dict[str, str], bytes]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream, "max_tokens": 9}
    async with (
        aiohttp.ClientSession() as session,
        session.post(daemon.url + path, json=body, headers=HEADERS) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.read()


@pytest.mark.parametrize("text", ["{}", "[]", '"ok"', '{"status": "ok"}', '{"choices": []}'])
async def test_what_is_no_answer_is_an_attempt_that_failed(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start, text: str
) -> None:
    scripted[0].scripts["first"] = Script(text=text)
    daemon = start()
    got, _, body = await ask(daemon)
    assert got == 200, body
    assert b"by second" in body
    scripted[0].scripts["second"] = Script(text=text)
    got, _, body = await ask(daemon)
    assert got == 502
    assert orjson.loads(body)["error"]["code"] == "bad_upstream_response"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 429, 500, 503, 529])
async def test_the_next_account_answers(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start, status: int, stream: bool
) -> None:
    scripted[0].scripts["first"] = Script(status)
    got, _, body = await ask(start(), stream=stream)
    assert got == 200, body
    assert b"by second" in body
    assert set(scripted[0].asked) == {"first", "second"}
    assert scripted[0].asked[-1] == "second"


async def test_an_account_out_of_quota_is_left_alone_until_it_said(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start
) -> None:
    scripted[0].scripts["first"] = Script(429, {"Retry-After": "600"})
    daemon = start()
    for _ in range(3):
        assert (await ask(daemon))[0] == 200
    assert scripted[0].asked == ["first", "second", "second", "second"]


@pytest.mark.parametrize(("path", "kind"), [("/v1/chat/completions", "openai"), ("/v1/messages", "claude")])
async def test_when_nobody_can_the_client_learns_why_and_when_to_return(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start, path: str, kind: str
) -> None:
    for key in ("first", "second"):
        scripted[0].scripts[key] = Script(429, {"Retry-After": "600"}, "weekly quota used up")
    daemon = start()
    status, headers, body = await ask(daemon, path=path)
    assert status == 429
    assert "weekly quota used up" in orjson.loads(body)["error"]["message"]
    assert 590 <= int(headers["Retry-After"]) <= 600
    assert (orjson.loads(body).get("type") == "error") == (kind == "claude")
    asked = len(scripted[0].asked)
    status, headers, body = await ask(daemon, path=path)
    assert status == 429
    assert 0 < int(headers["Retry-After"]) <= 600
    assert len(scripted[0].asked) == asked, "nobody is asked while both cool down"


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_fault_of_the_request_is_told_at_once(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start, status: int
) -> None:
    scripted[0].scripts["first"] = Script(status, message="temperature must be below 2", kind="invalid_request_error")
    daemon = start()
    got, _, body = await ask(daemon)
    assert got == status
    assert "temperature must be below 2" in orjson.loads(body)["error"]["message"]
    assert scripted[0].asked == ["first"]
    scripted[0].scripts.clear()
    assert b"by first" in (await ask(daemon))[2], "the account is not to blame"


async def test_nobody_else_is_asked_once_the_client_has_seen_a_byte(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start
) -> None:
    scripted[0].scripts["first"] = Script(cut=True)
    status, _, body = await ask(start(), stream=True)
    assert status == 200
    assert b"by first" in body
    assert b"by second" not in body
    assert b"[DONE]" not in body
    assert b'"error"' in body
    assert scripted[0].asked == ["first"]


async def test_round_robin_takes_turns(scripted: tuple[ScriptedUpstream, Upstream], start: Start) -> None:
    daemon = start(priorities=(0, 0))
    for _ in range(4):
        assert (await ask(daemon))[0] == 200
    assert sorted(scripted[0].asked) == ["first", "first", "second", "second"]
    assert scripted[0].asked[0] != scripted[0].asked[1]


async def test_fill_first_stays_with_one(scripted: tuple[ScriptedUpstream, Upstream], start: Start) -> None:
    daemon = start(priorities=(0, 0), routing={"strategy": "fill-first"})
    for _ in range(4):
        assert (await ask(daemon))[0] == 200
    assert len(set(scripted[0].asked)) == 1
    assert len(scripted[0].asked) == 4


async def test_no_account_answers_for_an_unknown_model(
    scripted: tuple[ScriptedUpstream, Upstream], start: Start
) -> None:
    daemon = start()
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            daemon.url + "/v1/chat/completions", json={"model": "nosuch", "messages": []}, headers=HEADERS
        ) as answer,
    ):
        assert answer.status in (400, 404)
        assert "nosuch" in (await answer.json())["error"]["message"]
    assert scripted[0].asked == []
