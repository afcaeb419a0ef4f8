"""``POST /model-prices/sync`` with a server on this machine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cpa.conversation.usage import Usage
from cpa.exchange import price_fetch
from cpa.exchange.price_fetch import ListUnreadable, PriceListReader
from cpa.usage.price_list_cache import ListCache
from tests.management.conftest import Managed, Start
from tests.management.price_server import PAID, PriceServer, price_server


@pytest.fixture
async def server() -> AsyncIterator[PriceServer]:
    async with price_server() as prices:
        yield prices


@pytest.fixture
async def daemon(start: Start, server: PriceServer) -> Managed:
    managed: Managed = await start(
        f"{server.config}usage-statistics-enabled: true\nprices: [{{model: own, input: 7, output: 7}}]\n"
    )
    return managed


async def sync(daemon: Managed, *models: str, **options: Any) -> dict[str, Any]:
    told = await daemon.call("POST", "/model-prices/sync", {"models": list(models), **options})
    assert told.status == 200, told
    answer: dict[str, Any] = told.json
    return answer


async def shown(daemon: Managed) -> dict[str, Any]:
    rows: dict[str, Any] = (await daemon.call("GET", "/model-prices")).json["prices"]
    return rows


def cost(daemon: Managed, model: str) -> int | None:
    return daemon.daemon.prices().cost(Usage(input_total=10**6, output_total=0), model=model)


async def test_nobody_is_asked_until_told(daemon: Managed, server: PriceServer) -> None:
    await shown(daemon)
    assert server.asked == []


async def test_prices_are_taken_and_count_at_once(daemon: Managed, server: PriceServer) -> None:
    before = int(time.time() * 1000)
    told = await sync(daemon, "gpt-5", "kimi-x9", "unknown", "sample_spec", "half", "negative", "text")
    assert (told["source"], told["imported"], told["skipped"], told["preview"]) == ("litellm", 3, 4, False)
    row = told["prices"]["gpt-5"]
    assert (row["prompt"], row["completion"], row["cache"], row["source"]) == (1.25, 10, 0.125, "litellm")
    assert row["sourceModelId"] == "gpt-5"
    assert before <= row["syncedAtMs"] == row["updatedAtMs"] <= time.time() * 1000
    assert told["prices"]["kimi-x9"]["sourceModelId"] == "moonshot/kimi-x9"
    assert told["prices"] == await shown(daemon)
    assert "own" in told["prices"]
    assert cost(daemon, "gpt-5") == 1_250_000_000
    path = daemon.path.parent / "model-prices.json"
    assert path.stat().st_mode & 0o777 == 0o600
    (request,) = server.asked
    assert request.headers["User-Agent"].startswith("cpa/")
    assert "Authorization" not in request.headers


async def test_they_are_there_after_a_restart(daemon: Managed, server: PriceServer, start: Start) -> None:
    await sync(daemon, "gpt-5")
    await daemon.daemon.stop()
    again: Managed = await start(server.config)
    assert cost(again, "gpt-5") == 1_250_000_000


async def test_a_preview_changes_nothing(daemon: Managed) -> None:
    before, text = await shown(daemon), daemon.file
    for option in ("preview", "dry_run"):
        told = await sync(daemon, "gpt-5", "own", "unknown", **{option: True})
        assert (told["imported"], told["skipped"], told["preview"]) == (1, 2, True)
        assert told["prices"]["gpt-5"]["prompt"] == 1.25
        assert [each["action"] for each in told["models"]] == ["added", "missing", "missing"]
    assert (await shown(daemon), daemon.file) == (before, text)
    assert not (daemon.path.parent / "model-prices.json").exists()


async def test_the_same_list_is_not_sent_twice(daemon: Managed, server: PriceServer) -> None:
    await sync(daemon, "gpt-5")
    told = await sync(daemon, "kimi-x9", "gpt-5")
    assert [request.headers.get("If-None-Match") is None for request in server.asked] == [True, False]
    assert {each["model"]: each["action"] for each in told["models"]} == {"kimi-x9": "added", "gpt-5": "unchanged"}
    server.litellm["gpt-5"] = {**PAID, "input_cost_per_token": 2e-06}
    told = await sync(daemon, "gpt-5")
    assert told["models"][0]["action"] == "changed"
    assert (told["models"][0]["before"]["prompt"], told["models"][0]["after"]["prompt"]) == (1.25, 2)


async def test_without_names_the_models_in_use_are_taken(daemon: Managed) -> None:
    asked = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=asked) as answer:
        assert answer.status == 200
    told = await sync(daemon)
    assert [each["model"] for each in told["models"]] == ["demo"]
    assert cost(daemon, "demo") == 10**9


async def test_nothing_in_use_is_nothing_to_take(daemon: Managed) -> None:
    told = await daemon.call("POST", "/model-prices/sync")
    assert (told.status, told.json["imported"], told.json["skipped"]) == (200, 0, 0)


async def test_own_prices_stay_unless_asked(daemon: Managed, server: PriceServer) -> None:
    server.litellm["own"] = PAID
    told = await sync(daemon, "own", "vendor/own")
    assert (told["imported"], told["skipped"], told["models"][0]["action"]) == (0, 2, "manual")
    assert cost(daemon, "own") == cost(daemon, "vendor/own") == 7 * 10**9
    await daemon.call("PATCH", "/model-prices", {"model": "own", "value": {"multiplier": 0.5}})
    told = await sync(daemon, "own", overwrite_manual=True)
    assert (told["imported"], told["prices"]["own"]["source"], told["prices"]["own"]["multiplier"]) == (
        1,
        "litellm",
        0.5,
    )
    assert cost(daemon, "own") == 625_000_000
    assert "model: own" not in daemon.file


async def test_the_makers_price_of_models_dev(daemon: Managed) -> None:
    told = await sync(daemon, "gpt-5", source="models.dev")
    row = told["prices"]["gpt-5"]
    assert (row["prompt"], row["source"], row["sourceModelId"]) == (1.25, "models.dev", "openai/gpt-5")


async def test_what_a_list_does_not_tell_is_kept_of_the_same_price(daemon: Managed, server: PriceServer) -> None:
    server.litellm["claude-sonnet-4-5"] = {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05}
    server.litellm["claude-haiku-4-5"] = {"input_cost_per_token": 9e-06, "output_cost_per_token": 5e-06}
    told = await sync(daemon, "claude-sonnet-4-5", "claude-haiku-4-5")
    assert [each["action"] for each in told["models"]] == ["unchanged", "changed"]
    same, other = (told["prices"][each["model"]] for each in told["models"])
    assert (same["cache_read"], same["cache_write"], same["cache_write_1h"]) == (0.3, 3.75, 6)
    assert (other["cache_read"], other["cache_write"], other["cache_write_1h"]) == (None, None, None)


async def test_a_synced_price_is_removed_or_put_away(daemon: Managed) -> None:
    await sync(daemon, "gpt-5", "kimi-x9")
    assert (await daemon.call("DELETE", "/model-prices?model=gpt-5")).json["entry"] is None
    assert cost(daemon, "gpt-5") is None
    rows = await shown(daemon)
    del rows["kimi-x9"]
    await daemon.call("PUT", "/model-prices", {"prices": rows})
    assert "kimi-x9" not in await shown(daemon)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("redirect", "answered 302, redirects are not followed"),
        ("error", "answered 503"),
        ("html", "no list of prices: it is not JSON"),
        ("empty", "there is no price in it"),
        ("huge", "sent more than 20 MiB"),
        ("broken off", "127.0.0.1"),
        ("unasked", "304"),
    ],
)
async def test_what_goes_wrong_is_said_and_prices_stay(
    daemon: Managed, server: PriceServer, bad: str, said: str
) -> None:
    before = await shown(daemon)
    server.bad = bad
    told = await daemon.call("POST", "/model-prices/sync", {"models": ["gpt-5"]})
    assert (told.status, told.json["error"]) == (502, "price list unreadable")
    assert said in told.json["message"]
    assert await shown(daemon) == before
    assert len(server.asked) == 1


async def test_a_list_that_goes_wrong_later_costs_nothing(daemon: Managed, server: PriceServer) -> None:
    await sync(daemon, "gpt-5")
    server.bad = "html"
    assert (await daemon.call("POST", "/model-prices/sync", {"models": ["kimi-x9"]})).status == 502
    assert cost(daemon, "gpt-5") == 1_250_000_000
    server.bad = ""
    assert (await sync(daemon, "kimi-x9"))["imported"] == 1


async def test_a_list_that_dribbles_is_given_up(daemon: Managed, server: PriceServer) -> None:
    server.bad = "slow"
    inner = daemon.daemon
    cache = ListCache(daemon.path.parent, inner.log)
    reader = PriceListReader(inner.client, lambda: inner.store.current, cache, {}, seconds=0.3)
    began = time.monotonic()
    with pytest.raises(ListUnreadable, match=r"within 0\.3 seconds"):
        await reader.read("litellm")
    assert time.monotonic() - began < 2
    assert price_fetch.SECONDS == 20


async def test_the_addresses_that_ship_lead_to_the_public_internet_only(
    daemon: Managed, server: PriceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = daemon.daemon
    reader = PriceListReader(inner.client, lambda: inner.store.current, ListCache(daemon.path.parent, inner.log), {})
    for url in (server.url, "http://localhost/x", "http://127.1/x"):
        monkeypatch.setattr(price_fetch, "_PUBLISHED", frozenset({f"{server.url}/litellm.json", url}))
        with pytest.raises(ListUnreadable, match="not a public address"):
            await reader.read("litellm")
    assert server.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[::1", "prices.json", "http:///x", "", "http://a/b c"])
async def test_an_address_that_is_none_is_said(start: Start, url: str) -> None:
    daemon: Managed = await start(f"price-sources: {{models-dev: '{url}'}}\n")
    told = await daemon.call("POST", "/model-prices/sync", {"models": ["gpt-5"], "source": "models.dev"})
    assert (told.status, told.json["error"]) == (502, "price list unreadable")
    assert told.json["message"].startswith("price-sources.models-dev: ")


async def test_a_list_that_is_small_on_the_wire_only_is_given_up(daemon: Managed, server: PriceServer) -> None:
    server.bad = "bomb"
    told = await daemon.call("POST", "/model-prices/sync", {"models": ["gpt-5"]})
    assert "sent more than 20 MiB" in told.json["message"]


async def test_lists_come_through_the_proxy(start: Start, server: PriceServer) -> None:
    daemon: Managed = await start(
        f"proxy-url: {server.url}\nprice-sources: {{litellm: 'http://prices.example/litellm.json'}}\n"
    )
    told = await daemon.call("POST", "/model-prices/sync", {"models": ["gpt-5"]})
    assert told.status == 200
    assert server.asked[0].headers["Host"] == "prices.example"


async def test_a_disk_that_fails_is_said(daemon: Managed) -> None:
    (daemon.path.parent / "model-prices.json").mkdir()
    told = await daemon.call("POST", "/model-prices/sync", {"models": ["gpt-5"]})
    assert (told.status, told.json["error"]) == (500, "prices cannot be saved")
    assert cost(daemon, "gpt-5") is None
