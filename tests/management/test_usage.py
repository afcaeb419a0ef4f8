"""Usage through the API, of a daemon that really answered."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest

from cpa.usage.tokens import Tokens
from tests.management.conftest import Managed, Start
from tests.usage.conftest import NOON, event


@pytest.fixture
async def counting(start: Start) -> Managed:
    """A daemon that records usage."""
    daemon: Managed = await start("usage-statistics-enabled: true\nprices: [{model: demo, input: 1, output: 2}]\n")
    return daemon


async def ask(daemon: Managed, **body: Any) -> int:
    asked = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], **body}
    async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=asked) as answer:
        await answer.read()
        return answer.status


async def test_nothing_recorded_is_an_empty_answer(managed: Managed) -> None:
    assert (await managed.call("GET", "/usage")).json["usage"]["total_requests"] == 0
    assert (await managed.call("GET", "/usage/events")).json["events"] == []
    assert (await managed.call("GET", "/usage/events/filters")).json["models"] == []
    assert (await managed.call("GET", "/usage/export")).json["version"] == 1
    assert await ask(managed) == 200
    assert (await managed.call("GET", "/usage")).json["usage"]["total_requests"] == 0


async def test_every_answer_is_there_at_once_with_tokens_and_cost(counting: Managed) -> None:
    assert await ask(counting) == 200
    assert await ask(counting, stream=True) == 200
    assert await ask(counting, model="missing") >= 400
    page = (await counting.call("GET", "/usage/events")).json
    assert (page["total_count"], page["page"], page["total_pages"]) == (3, 1, 1)
    failed, stream, whole = page["events"]
    assert (failed["failed"], failed["attempt"], failed["model"]) == (True, 0, "missing")
    assert (stream["stream"], whole["stream"]) == (True, False)
    for row in (stream, whole):
        assert (row["provider"], row["endpoint"], row["final"]) == ("demo", "POST /v1/chat/completions", True)
        assert row["tokens"]["total_tokens"] == row["tokens"]["input_tokens"] + row["tokens"]["output_tokens"] > 0
        expected = (row["tokens"]["input_tokens"] + 2 * row["tokens"]["output_tokens"]) / 1e6
        assert row["cost_usd"] == pytest.approx(expected)
        assert row["ttft_ms"] is not None
    usage = (await counting.call("GET", "/usage/overview")).json["usage"]
    assert (usage["total_requests"], usage["success_count"], usage["failure_count"]) == (3, 2, 1)
    assert usage["total_tokens"] == stream["tokens"]["total_tokens"] + whole["tokens"]["total_tokens"]
    assert (usage["priced_requests"], usage["cost_available"], usage["unpriced_share"]) == (2, True, 0)
    assert sum(usage["requests_by_day"].values()) == sum(usage["requests_by_hour"].values()) == 3
    item = (await counting.call("GET", "/usage-queue?count=9")).json[0]
    assert (item["provider"], item["alias"], item["failed"]) == ("demo", "demo", False)
    assert item["tokens"] == {**whole["tokens"], "cache_read_tokens_present": True}


async def test_totals_are_grouped_by_what_requests_differ_in(counting: Managed) -> None:
    for effort in ("high", "high", "low"):
        assert await ask(counting, reasoning_effort=effort) == 200
    usage = (await counting.call("GET", "/usage/overview?group_by=model,reasoning_effort&details=0")).json["usage"]
    assert [(each["reasoning_effort"], each["total_requests"]) for each in usage["groups"]] == [("high", 2), ("low", 1)]
    refused = await counting.call("GET", "/usage/overview?group_by=model,secret")
    assert refused.status == 400
    assert "group_by cannot be 'secret'" in refused.json["error"]


async def test_a_client_that_goes_away_is_one_failed_row(start: Start) -> None:
    daemon: Managed = await start(
        "usage-statistics-enabled: true\nplugins: {configs: {demo: {delay-ms: 50, chunk-size: 1}}}\n"
    )
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hi " * 50}]}
    async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
        await answer.content.readany()
        answer.close()
    for _ in range(100):
        page = (await daemon.call("GET", "/usage/events")).json
        if page["total_count"]:
            break
    assert [(row["failed"], row["status_code"], row["final"]) for row in page["events"]] == [(True, 499, True)]
    assert page["events"][0]["fail"]["body"] == "client disconnected"


def fill(daemon: Managed, number: int) -> None:
    for index in range(number):
        daemon.daemon.usage.record(
            event(
                request_id=f"r{index}",
                model=f"m{index % 3}",
                at_ms=NOON + index * 1000,
                failed=index % 5 == 0,
                auth_index=f"a{index % 2}",
            )
        )


async def test_events_are_paged_by_number_and_by_cursor(counting: Managed) -> None:
    fill(counting, 25)
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await counting.call("GET", f"/usage/events?page_size=10&cursor={cursor}")).json
        seen += [row["request_id"] for row in page["events"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [f"r{index}" for index in range(24, -1, -1)]
    third = (await counting.call("GET", "/usage/events?page=3&pageSize=10")).json
    assert [row["request_id"] for row in third["events"]] == ["r4", "r3", "r2", "r1", "r0"]
    assert (third["total_count"], third["total_pages"]) == (25, 3)
    beyond = (await counting.call("GET", "/usage/events?page=9&limit=10")).json
    assert (beyond["events"], beyond["total_count"]) == ([], 25)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("model=m1", 8),
        ("model=m1&model=m2", 16),
        ("auth_index=a1", 12),
        ("authIndex=a1", 12),
        ("source=a0", 13),
        ("source=codex", 25),
        ("source=me@example.org", 25),
        ("result=failed", 5),
        ("result=success", 20),
        ("request_id=r7", 1),
        (f"start={NOON + 20_000}", 5),
        (f"from={NOON // 1000 + 20}", 5),
        ("start_time=2026-01-31T12:00:20Z", 5),
        ("start_time=2026-01-31T13:00:20%2B01:00", 5),
        (f"end={NOON}", 1),
        (f"start={NOON}&to={NOON}", 1),
        ("page_size=5000", 25),
    ],
)
async def test_events_are_filtered(counting: Managed, query: str, count: int) -> None:
    fill(counting, 25)
    assert (await counting.call("GET", f"/usage/events?{query}")).json["total_count"] == count


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("page=0", "page must be a positive integer"),
        ("page=x", "page must be a positive integer"),
        ("page_size=-1", "page_size must be a positive integer"),
        ("result=maybe", "result must be success or failed"),
        ("start=yesterday", "invalid start_time"),
        ("to=1e99", "invalid end_time"),
        ("cursor=x", "invalid cursor"),
    ],
)
async def test_a_wrong_question_is_refused(counting: Managed, query: str, error: str) -> None:
    for path in ("/usage/events", "/usage/events/filters"):
        answer = await counting.call("GET", f"{path}?{query}")
        assert (answer.status, answer.json) == (400, {"error": error})


async def test_an_export_read_back_changes_nothing_and_fills_an_empty_record(start: Start) -> None:
    first: Managed = await start("usage-statistics-enabled: true\n")
    fill(first, 30)
    exported = (await first.call("GET", "/usage/export")).body
    lines = (await first.call("GET", "/usage/export?format=jsonl")).body
    before = (await first.call("GET", "/usage")).json
    for content in (exported, lines):
        again = (await first.call("POST", "/usage/import", data=content)).json
        assert (again["added"], again["skipped"], again["failed"]) == (0, 30, 0)
        assert (await first.call("GET", "/usage")).json == before
    for content in (exported, lines):
        await first.daemon.stop()
        for path in first.daemon.usage.path.parent.glob("usage.sqlite*"):
            path.unlink()
        first = await start("usage-statistics-enabled: true\n")
        done = (await first.call("POST", "/usage/import", data=content)).json
        assert (done["added"], done["total_requests"], done["failed_requests"]) == (30, 30, 6)
        assert (await first.call("GET", "/usage")).json == before


async def test_an_export_of_the_program_before_is_taken_once(counting: Managed) -> None:
    detail = {
        "timestamp": "2026-01-31T12:00:00.5Z",
        "latency_ms": 840,
        "source": "me@example.org",
        "auth_index": "0a1b",
        "tokens": {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30},
        "failed": False,
    }
    usage = {"apis": {"sk-client": {"models": {"gpt-5": {"details": [detail]}}}}}
    for body, added in (({"version": 1, "usage": usage}, 1), (usage, 0), ({"usage": usage}, 0)):
        assert (await counting.call("POST", "/usage/import", body)).json["added"] == added


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"{", "invalid json"),
        (b"[]", "invalid usage snapshot"),
        (b"{}", "invalid usage snapshot"),
        (b'{"version":2,"usage":{"apis":{}}}', "unsupported version"),
        (b'{"version":1,"usage":{"apis":[]}}', "invalid usage snapshot"),
    ],
)
async def test_what_is_no_export_is_refused(counting: Managed, content: bytes, error: str) -> None:
    answer = await counting.call("POST", "/usage/import", data=content)
    assert (answer.status, answer.json) == (400, {"error": error})


async def test_a_spreadsheet_is_given_no_formulas(counting: Managed) -> None:
    counting.daemon.usage.record(event(model="=cmd()", source="@x"))
    answer = await counting.call("GET", "/usage/export?format=csv")
    assert answer.headers["Content-Type"] == "text/csv"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["model"], row["source"], row["total_tokens"]) == ("'=cmd()", "'@x", "30")
    assert (await counting.call("GET", "/usage/export?format=xml")).status == 400


async def test_the_record_says_how_it_fares(counting: Managed) -> None:
    await ask(counting)
    await counting.call("GET", "/usage")
    status = (await counting.call("GET", "/usage/status")).json
    assert (status["healthy"], status["written"], status["waiting"], status["dropped"]) == (True, 1, 0, 0)
    assert orjson.dumps(status)


async def test_totals_say_what_share_of_their_tokens_has_no_price(start: Start) -> None:
    daemon: Managed = await start("usage-statistics-enabled: true\nprices: [{model: known, input: 1}]\n")
    for model, tokens in (("known", 300), ("unknown", 100)):
        counts = Tokens(input=tokens, total=tokens, uncached=tokens)
        daemon.daemon.usage.record(event(model=model, requested_model=model, request_id=model, tokens=counts))
    usage = (await daemon.call("GET", "/usage/overview")).json["usage"]
    assert (usage["unpriced_share"], usage["cost_available"], usage["cost_nanos"]) == (0.25, True, 300_000)
    (api,) = usage["apis"].values()
    known, unknown = api["models"]["known"], api["models"]["unknown"]
    assert (known["unpriced_share"], known["cost_available"]) == (0, True)
    assert (unknown["unpriced_share"], unknown["cost_available"]) == (1, False)
    rows = {row["model"]: row for row in (await daemon.call("GET", "/usage/events")).json["events"]}
    assert (rows["unknown"]["cost_available"], rows["unknown"]["cost_usd"]) == (False, None)
    assert (rows["known"]["cost_available"], rows["known"]["cost_nanos"]) == (True, 300_000)
