"""What is kept of requests, as the management API shows it."""

from __future__ import annotations

import asyncio
import re
from threading import current_thread
from typing import Any

import orjson
import pytest
from histories import CHAT, HI, Keep
from running import KEY

from cpa.usage.history_batches import pack

GEMINI_BODY = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


async def test_a_history_is_laid_out_as_tools_expect_it(keep: Keep) -> None:
    kept = await keep(request_log=True)
    await kept.ask("/v1/chat/completions?key=AIzaSyD-0123456789", CHAT, X_Request_Id="one")
    status, body, headers = await kept.manage("/request-log-by-id/one")
    text = body.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    name = re.fullmatch(r'attachment; filename="(.+)"', headers["Content-Disposition"])
    assert name is not None
    assert re.fullmatch(r"v1-chat-completions-\d{4}-\d\d-\d\dT\d{6}-one\.log", name[1])
    titles = re.findall(r"^=== (.+) ===$", text, re.MULTILINE)
    expected = ["REQUEST INFO", "HEADERS", "REQUEST BODY", "API REQUEST 1", "API RESPONSE 1", "RESPONSE"]
    assert titles == expected
    assert re.search(r"\n\n\n=== HEADERS ===\n", text)
    assert re.search(r"\}\n\n\n=== API REQUEST 1 ===\nTimestamp: \d{4}-", text)
    assert "URL: /v1/chat/completions?key=AIza...6789\nMethod: POST\nDownstream Transport: http\n" in text
    assert f"Authorization: Bearer {KEY[:4]}...{KEY[-4:]}" in text
    assert re.search(r"^Auth: provider=compat, auth_id=\S+, label=.*, type=api_key value=up\.\.\.oc$", text, re.M)
    assert (await kept.manage("/request-log-by-id?id=one"))[1] == body


@pytest.mark.parametrize("model", ["oc", "claude"])
@pytest.mark.parametrize("stream", [False, True])
async def test_everything_that_passed_is_kept_byte_for_byte(keep: Keep, model: str, stream: bool) -> None:
    kept = await keep(request_log=True)
    body = orjson.dumps({"model": model, "max_tokens": 9, "messages": HI, "stream": stream})
    _, answer = await kept.ask("/v1/messages", body, X_Request_Id="one")
    sections = await kept.history("one")
    assert sections["REQUEST BODY"].removeprefix("\n") == body.decode()
    sent_on = kept.model.bodies[-1] if hasattr(kept.model, "bodies") else None
    upstream_body = orjson.loads(sections["API REQUEST 1"].partition("\nBody:\n")[2])
    assert upstream_body["model"] == f"{model}-up"
    assert sent_on is None or upstream_body == sent_on
    assert sections["RESPONSE"].endswith(answer.decode())
    assert ("data: " in sections["API RESPONSE 1"]) is stream


LONG = 'Tell me of the "quick" brown fox, \\ and of ☃. ' * 60
CLIENTS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": LONG}]},
    "/v1/messages": {"max_tokens": 9, "messages": [{"role": "user", "content": LONG}]},
    "/v1/responses": {"input": LONG},
    "/v1beta/models/{model}:streamGenerateContent?alt=sse": {"contents": [{"role": "user", "parts": [{"text": LONG}]}]},
}


@pytest.mark.parametrize("model", ["oc", "claude", "gemini", "codex"])
@pytest.mark.parametrize("path", CLIENTS)
async def test_a_long_stream_is_kept_byte_for_byte(keep: Keep, path: str, model: str) -> None:
    """Of which little is stored but its texts."""
    kept = await keep(request_log=True)
    body = {**CLIENTS[path], **({} if "{model}" in path else {"model": model, "stream": True})}
    _, answer = await kept.ask(path.format(model=model), body, X_Request_Id="one")
    sections = await kept.history("one")
    assert len(answer) > 20_000
    assert sections["RESPONSE"].endswith("\n" + answer.decode())
    came = sections["API RESPONSE 1"].partition("\nBody:\n")[2]
    assert came.count("\n\n") > 300
    assert came.startswith(("data: {", "event: "))
    assert came.endswith("}\n\n" if model != "oc" else "data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1beta/models/gemini:generateContent", GEMINI_BODY),
        ("/v1beta/models/gemini:streamGenerateContent?alt=sse", GEMINI_BODY),
        ("/v1/responses", {"model": "codex", "input": "hi"}),
        ("/v1/messages/count_tokens", {"model": "oc", "messages": HI}),
        ("/v1/completions", {"model": "oc", "prompt": "hi"}),
        ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"}),
    ],
)
async def test_every_kind_of_request_has_a_history(keep: Keep, path: str, body: dict[str, Any]) -> None:
    kept = await keep(request_log=True)
    status, answer = await kept.ask(path, body, X_Request_Id="one")
    sections = await kept.history("one")
    assert f"Status: {status}\n" in sections["RESPONSE"]
    assert sections["RESPONSE"].endswith(answer.decode())
    assert orjson.loads(sections["REQUEST BODY"]) == body


async def test_the_body_after_rules_is_kept_beside_the_one_that_came(keep: Keep) -> None:
    rule = {"name": "polite", "enabled": True, "target": "system", "action": "inject", "content": "Be polite."}
    kept = await keep(request_log=True, prompt_rules=[rule])
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    sections = await kept.history("one")
    assert "Be polite." not in sections["REQUEST BODY"]
    assert "Be polite." in sections["REQUEST BODY AFTER RULES"]
    assert "Be polite." in sections["API REQUEST 1"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "told"),
    [
        (b'{"model', {}, 400, "not valid JSON"),
        (orjson.dumps({"model": "nobody-has-it", "messages": HI}), {}, 404, "unknown model"),
        (orjson.dumps(CHAT), {"Authorization": "Bearer wrong-key-0123"}, 401, "Invalid API key"),
        (orjson.dumps({"model": "oc", "messages": [{"role": "user", "content": "boom"}]}), {}, 400, ""),
    ],
)
async def test_failures_are_kept_while_requests_are_not(
    keep: Keep, body: bytes, headers: dict[str, str], status: int, told: str
) -> None:
    kept = await keep()
    assert (await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="fine"))[0] == 200
    assert (await kept.ask("/v1/chat/completions", body, X_Request_Id="bad", **headers))[0] >= status
    assert (await kept.manage("/request-log-by-id/fine"))[0] == 404
    files = (await kept.json("/request-error-logs"))["files"]
    assert [file["name"][-8:] for file in files] == ["-bad.log"]
    assert files[0]["name"].startswith("error-v1-chat-completions-")
    assert files[0]["size"] > 0
    code, text, _ = await kept.manage(f"/request-error-logs/{files[0]['name']}")
    assert code == 200
    assert told in text.decode()


async def test_of_a_giant_request_that_failed_both_ends_are_kept(keep: Keep) -> None:
    """1 MiB of it, in every section in which it stands."""
    kept = await keep()
    body = orjson.dumps({**CHAT, "messages": [{"role": "user", "content": "boom " * 300_000}], "user": "the end"})
    assert (await kept.ask("/v1/chat/completions", body, X_Request_Id="bad"))[0] >= 400
    sections = await kept.history("bad")
    for title in ("REQUEST BODY", "API REQUEST 1"):
        head, note, tail = re.split(r"\n(\[TRUNCATED: \d+ bytes omitted\])\n", sections[title])
        assert len(head) + len(tail) > 1_000_000
        assert len(head) + len(tail) < 1024 * 1024 + 2000
        assert tail.endswith('"user":"the end"}')
    head, note, tail = re.split(r"\n\[TRUNCATED: (\d+) bytes omitted\]\n", sections["REQUEST BODY"].removeprefix("\n"))
    assert len(head) + int(note) + len(tail) == len(body)


async def test_an_attempt_that_failed_is_kept_with_what_was_sent(keep: Keep) -> None:
    kept = await keep()
    boom = {"model": "claude", "messages": [{"role": "user", "content": "boom"}]}
    await kept.ask("/v1/chat/completions", boom, X_Request_Id="bad")
    sections = await kept.history("bad")
    assert "boom" in sections["API REQUEST 1"]
    assert "HTTP Status: " in sections["API ERROR RESPONSE"]
    assert "Status: " in sections["API RESPONSE 1"]


async def test_of_many_failures_the_newest_are_kept(keep: Keep) -> None:
    """What is listed is also bounded: 11 failures with a bound of 10 leave ten."""
    kept = await keep()
    for number in range(11):
        await kept.ask("/v1/chat/completions", b"{", X_Request_Id=f"bad-{number}")
    names = [file["name"] for file in (await kept.json("/request-error-logs"))["files"]]
    assert [name.rpartition("bad-")[2] for name in names] == [f"{number}.log" for number in range(10, 0, -1)]


async def test_nothing_is_kept_when_failures_are_not_wanted(keep: Keep) -> None:
    kept = await keep(request_log_errors=False)
    await kept.ask("/v1/chat/completions", b"{", X_Request_Id="bad")
    assert (await kept.manage("/request-log-by-id/bad"))[0] == 404
    assert not (kept.daemon.store.path.parent / "usage.sqlite").exists()


async def test_error_files_are_not_listed_while_every_request_is_kept(keep: Keep) -> None:
    kept = await keep(request_log=True)
    await kept.ask("/v1/chat/completions", b"{", X_Request_Id="bad")
    assert await kept.json("/request-error-logs") == {"files": []}
    assert "not valid JSON" in await kept.text("bad")


async def test_a_client_that_goes_away_leaves_what_it_got(keep: Keep) -> None:
    kept = await keep(0.05, request_log=True)
    body = orjson.dumps({**CHAT, "stream": True, "messages": [{"role": "user", "content": "word " * 200}]})
    headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "gone"}
    async with kept.session.post(f"{kept.url}/v1/chat/completions", data=body, headers=headers) as answer:
        await answer.content.readany()
        answer.close()
    for _ in range(100):
        await asyncio.sleep(0.02)
        status, text, _ = await kept.manage("/request-log-by-id/gone")
        if status == 200:
            break
    assert b"=== RESPONSE ===\nStatus: 499" in text
    assert b"data: " in text.partition(b"=== RESPONSE ===")[2]


async def test_the_switch_takes_effect_at_once(keep: Keep) -> None:
    kept = await keep()
    path = kept.daemon.store.path
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="before")
    path.write_text(path.read_text() + "request-log: true\n")
    kept.daemon.store.reload()
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="after")
    assert (await kept.manage("/request-log-by-id/before"))[0] == 404
    assert (await kept.manage("/request-log-by-id/after"))[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/request-log-by-id/%2e%2e%2fx", 400, "invalid request ID"),
        ("/request-log-by-id/..%5Cx", 400, "invalid request ID"),
        ("/request-log-by-id?id=", 400, "missing request ID"),
        ("/request-log-by-id/nothing", 404, "request history not found for the given request ID"),
        ("/request-error-logs/..%2Fpasswd", 400, "invalid log file name"),
        ("/request-error-logs/main.log", 404, "request history not found"),
        ("/request-error-logs/error-x.log", 404, "request history not found"),
        ("/request-histories/nothing", 404, "request history not found for the given request ID"),
    ],
)
async def test_what_is_not_there_is_refused(keep: Keep, path: str, status: int, error: str) -> None:
    kept = await keep()
    code, body, _ = await kept.manage(path)
    assert (code, orjson.loads(body)["error"]) == (status, error)


async def test_requests_are_listed_with_what_is_known_of_them(keep: Keep) -> None:
    kept = await keep(request_log=True, usage_statistics_enabled=True)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    await asyncio.sleep(0.002)  # moments are told to the millisecond
    await kept.ask("/v1/messages", {"model": "claude", "messages": HI, "max_tokens": 3}, X_Request_Id="two")
    await asyncio.sleep(0.002)
    await kept.ask("/v1/chat/completions", b"{", X_Request_Id="three")
    rows = (await kept.json("/request-histories"))["requests"]
    assert [(row["request_id"], row["status"], row["history"]) for row in rows] == [
        ("three", 400, True),
        ("two", 200, True),
        ("one", 200, True),
    ]
    assert (rows[2]["model"], rows[2]["upstream_model"], rows[2]["provider"]) == ("oc", "oc-up", "compat")
    assert (rows[2]["input_tokens"], rows[2]["output_tokens"], rows[2]["attempts"]) == (21, 8, 1)
    for query, ids in {
        "result=failed": ["three"],
        "model=claude": ["two"],
        "model=claude&model=oc": ["two", "one"],
        "model=oc-up": ["one"],
        "source=compat": ["one"],
        "provider=compat&model=oc": ["one"],
        "provider=compat&model=claude": [],
        "auth_index=0123456789abcdef": [],
        "status=200": ["two", "one"],
        "request_id=t": ["three", "two"],
        "limit=1": ["three"],
        "end_time=1000": [],
    }.items():
        found = (await kept.json(f"/request-histories?{query}"))["requests"]
        assert [row["request_id"] for row in found] == ids, query


async def test_all_requests_are_found_page_by_page(keep: Keep) -> None:
    """Those that reached an account and those that did not, also of one moment."""
    kept = await keep(request_log=True, usage_statistics_enabled=True)
    for number in range(5):
        await kept.ask("/v1/chat/completions", CHAT, X_Request_Id=f"fine-{number}")
        await kept.ask("/v1/chat/completions", b"{", X_Request_Id=f"bad-{number}")
    whole = [row["request_id"] for row in (await kept.json("/request-histories"))["requests"]]
    found, cursor = [], ""
    for _ in range(10):
        page = await kept.json(f"/request-histories?limit=3&cursor={cursor}")
        found += [row["request_id"] for row in page["requests"]]
        if not (cursor := page["next_cursor"]):
            break
    assert found == whole
    assert len(set(found)) == 10
    for query in ("cursor=x", "cursor=1", "cursor=1.", "cursor=-1.a", "page=2", "result=maybe", "limit=0"):
        assert (await kept.manage(f"/request-histories?{query}"))[0] == 400, query


async def test_of_a_long_section_the_beginning_is_shown(keep: Keep) -> None:
    kept = await keep(request_log=True)
    body = orjson.dumps({**CHAT, "messages": [{"role": "user", "content": "word " * 60_000}]})
    await kept.ask("/v1/chat/completions", body, X_Request_Id="one")
    section = await kept.json("/request-histories/one?section=REQUEST%20BODY")
    assert section["text"] == body[: 256 * 1024].decode()
    assert section["truncated"] is True
    assert section["lines"] == []


async def test_a_body_that_was_not_read_says_so(keep: Keep) -> None:
    """Refused before it was read; and a client that goes away in the middle of it."""
    kept = await keep(request_log=True)
    body = orjson.dumps(CHAT)
    await kept.ask("/v1/chat/completions", body, X_Request_Id="stranger", Authorization="Bearer wrong-key-0123")
    note = f"[REQUEST BODY CAPTURE INCOMPLETE: consumed 0 of {len(body)} bytes]"
    assert (await kept.history("stranger"))["REQUEST BODY"].strip() == note
    _, writer = await asyncio.open_connection(*kept.daemon.addresses[0].split(":"))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
    sent = body[:40] + b" sk-half-of-a-secr"
    writer.write(head.encode() + b"X-Request-Id: half\r\nContent-Length: 1000\r\n\r\n" + sent)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    for _ in range(100):
        await asyncio.sleep(0.02)
        status, text, _ = await kept.manage("/request-log-by-id/half")
        if status == 200:
            break
    assert f"[REQUEST BODY CAPTURE INCOMPLETE: consumed {len(sent)} of 1000 bytes]".encode() in text
    assert body[:30] in text
    assert b"half-of-a-secr" not in text


async def test_one_section_is_shown_and_histories_are_deleted(keep: Keep) -> None:
    kept = await keep(request_log=True)
    for name in ("one", "two"):
        await kept.ask("/v1/chat/completions", CHAT, X_Request_Id=name)
    section = await kept.json("/request-histories/one?section=request%20body")
    assert (orjson.loads(section["text"]), section["truncated"]) == (CHAT, False)
    assert (await kept.manage("/request-histories/one?section=none"))[0] == 404
    assert orjson.loads((await kept.manage("/request-histories/one", "DELETE"))[1])["removed"] == 1
    assert (await kept.manage("/request-histories/one", "DELETE"))[0] == 404
    assert (await kept.manage("/request-log-by-id/one"))[0] == 404
    assert orjson.loads((await kept.manage("/request-histories", "DELETE"))[1])["removed"] == 1
    content = (kept.daemon.store.path.parent / "usage.sqlite").read_bytes()
    assert b"v1-chat-completions" not in content


async def test_requests_are_told_as_they_happen(keep: Keep) -> None:
    kept = await keep()
    headers = {"Authorization": "Bearer management-key-for-histories"}
    async with kept.session.get(f"{kept.url}/v0/management/request-feed", headers=headers) as feed:
        assert orjson.loads(await feed.content.readline()) == {"what": "watching", "running": 0}
        await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
        await kept.ask("/v1/chat/completions", b"{", X_Request_Id="two")
        told = [orjson.loads(await feed.content.readline()) for _ in range(3)]
    assert [(event["what"], event["request_id"]) for event in told] == [
        ("begun", "one"),
        ("finished", "one"),
        ("finished", "two"),
    ]
    assert (told[1]["status"], told[1]["account"], told[1]["output_tokens"]) == (200, "compat u...", 8)
    assert (told[2]["status"], told[2]["error"]) == (400, "the body is not valid JSON at byte 1")


async def test_a_watcher_does_not_hold_up_the_end_of_the_daemon(keep: Keep) -> None:
    kept = await keep()
    headers = {"Authorization": "Bearer management-key-for-histories"}
    async with kept.session.get(f"{kept.url}/v0/management/request-feed", headers=headers) as feed:
        await feed.content.readline()
        async with asyncio.timeout(5):
            await kept.daemon.stop()
        assert orjson.loads(await feed.content.readline())["what"] == "stopping"


async def test_no_history_is_packed_on_the_event_loop(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    packing: list[str] = []

    def noted(content: bytes) -> bytes:
        packing.append(current_thread().name)
        return pack(content)

    monkeypatch.setattr("cpa.exchange.history_draft.pack", noted)
    kept = await keep(request_log=True)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="first")
    await kept.history("first")
    for number in range(9):
        await kept.ask("/v1/chat/completions", CHAT, X_Request_Id=f"r{number}")
    await kept.history("r8")
    assert set(packing) == {"cpa-histories"}
