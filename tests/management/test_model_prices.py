"""``/model-prices`` as CPA-Manager's panel and scripts use it."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.conversation.usage import Usage
from tests.management.conftest import Managed, Start

OWN = """\
prices:
  # what the landlord takes
  - model: own # mine
    input: 1
    output: 2
    house: left
"""


@pytest.fixture
async def daemon(start: Start) -> Managed:
    """A daemon with a price of its own."""
    managed: Managed = await start(OWN)
    return managed


async def prices(daemon: Managed) -> dict[str, Any]:
    shown: dict[str, Any] = (await daemon.call("GET", "/model-prices")).json["prices"]
    return shown


def cost(daemon: Managed, model: str) -> int | None:
    return daemon.daemon.prices().cost(Usage(input_total=10**6, output_total=0), model=model)


async def test_own_prices_and_those_that_ship_are_shown(daemon: Managed) -> None:
    told = (await daemon.call("GET", "/model-prices")).json
    own, shipped = told["prices"]["own"], told["prices"]["claude-sonnet-4-5"]
    assert (own["prompt"], own["completion"], own["cache"], own["source"]) == (1, 2, 1, "manual")
    assert (shipped["prompt"], shipped["cache"], shipped["cache_write_1h"]) == (3, 0.3, 6)
    assert shipped["source"] == "built-in"
    assert told["prices"]["gemini-2.5-pro"]["above"]["prompt"] == 2.5
    assert told["as_of"] >= "2026"


async def test_what_the_panel_read_it_may_put_back(daemon: Managed) -> None:
    before, text = await prices(daemon), daemon.file
    assert (await daemon.call("PUT", "/model-prices", {"prices": before})).status == 200
    assert (await prices(daemon), daemon.file) == (before, text)


async def test_a_panel_that_knows_three_prices_changes_nothing_by_putting_them_back(daemon: Managed) -> None:
    before, text = await prices(daemon), daemon.file
    known = ("prompt", "completion", "cache", "source", "sourceModelId", "updatedAtMs", "syncedAtMs")
    rows = {model: {name: row[name] for name in known} for model, row in before.items()}
    assert (await daemon.call("PUT", "/model-prices", {"prices": rows})).status == 200
    assert (await prices(daemon), daemon.file) == (before, text)


async def test_a_row_of_three_prices_counts_to_the_last_digit(daemon: Managed) -> None:
    shown = await prices(daemon)
    row = {
        "prompt": 1.25,
        "completion": 10,
        "cache": 0.125,
        "source": "litellm",
        "sourceModelId": "x",
        "updatedAtMs": 1,
    }
    told = await daemon.call("PUT", "/model-prices", {"prices": {**shown, "vendor/gpt 7": row}})
    assert told.json["status"] == "ok"
    now = (await prices(daemon))["vendor/gpt 7"]
    assert told.json["prices"]["vendor/gpt 7"] == now
    assert (now["prompt"], now["completion"], now["cache"], now["source"]) == (1.25, 10, 0.125, "manual")
    assert cost(daemon, "vendor/gpt 7") == 1_250_000_000
    assert "- model: vendor/gpt 7\n    input: 1.25\n    output: 10\n    cache-read: 0.125\n" in daemon.file
    assert OWN in daemon.file


async def test_rows_that_are_not_put_are_gone_but_those_that_ship(daemon: Managed) -> None:
    assert (await daemon.call("PUT", "/model-prices", {"prices": {}})).status == 200
    shown = await prices(daemon)
    assert "own" not in shown
    assert "claude-sonnet-4-5" in shown
    assert "landlord" not in daemon.file


async def test_one_price_is_changed_and_the_rest_of_it_stays(daemon: Managed) -> None:
    told = await daemon.call("PATCH", "/model-prices", {"model": "own", "value": {"prompt": 3, "multiplier": 0.5}})
    assert (told.json["entry"]["prompt"], told.json["entry"]["completion"]) == (3, 2)
    assert cost(daemon, "own") == 1_500_000_000
    assert "# what the landlord takes\n  - model: own # mine\n    input: 3\n" in daemon.file
    assert "house: left" in daemon.file


async def test_a_price_that_ships_is_changed_without_its_cache_prices_being_lost(daemon: Managed) -> None:
    told = await daemon.call("PATCH", "/model-prices", {"model": "claude-sonnet-4-5", "value": {"prompt": 4}})
    entry = told.json["entry"]
    assert (entry["prompt"], entry["completion"], entry["cache_write"], entry["source"]) == (4, 15, 3.75, "manual")
    gone = await daemon.call("DELETE", "/model-prices?model=claude-sonnet-4-5")
    assert (gone.json["entry"]["prompt"], gone.json["entry"]["source"]) == (3, "built-in")
    assert (await daemon.call("DELETE", "/model-prices?model=claude-sonnet-4-5")).status == 404


async def test_a_price_is_removed(daemon: Managed) -> None:
    assert (await daemon.call("DELETE", "/model-prices?model=own")).json == {"status": "ok", "entry": None}
    assert cost(daemon, "own") is None
    assert (await daemon.call("DELETE", "/model-prices?model=own")).status == 404


async def test_free_of_charge_is_a_price(daemon: Managed) -> None:
    await daemon.call("PATCH", "/model-prices", {"model": "gift", "value": {"prompt": 0, "completion": 0}})
    assert cost(daemon, "gift") == 0
    assert "- model: gift\n    input: 0\n    output: 0\n" in daemon.file


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/model-prices", {}),
        ("PUT", "/model-prices", {"prices": []}),
        ("PUT", "/model-prices", {"prices": {"m": 5}}),
        ("PUT", "/model-prices", {"prices": {"m": None}}),
        ("PUT", "/model-prices", {"prices": {"m": {"prompt": 1}}}),
        ("PUT", "/model-prices", {"prices": {"m": {"prompt": -1, "completion": 1}}}),
        ("PUT", "/model-prices", {"prices": {"": {"prompt": 1, "completion": 1}}}),
        ("PUT", "/model-prices", {"prices": {"a\nb": {"prompt": 1, "completion": 1}}}),
        ("PUT", "/model-prices", {"prices": {"x" * 300: {"prompt": 1, "completion": 1}}}),
        ("PATCH", "/model-prices", {"model": "m"}),
        ("PATCH", "/model-prices", {"value": {"prompt": 1, "completion": 1}}),
        ("PATCH", "/model-prices", {"model": "m", "value": {"prompt": "1", "completion": 1}}),
        ("DELETE", "/model-prices", None),
        ("POST", "/model-prices/sync", {"source": "elsewhere"}),
        ("POST", "/model-prices/sync", {"models": "gpt-5"}),
        ("POST", "/model-prices/sync", {"models": [5]}),
        ("POST", "/model-prices/sync", {"models": [""]}),
        ("POST", "/model-prices/sync", {"preview": "yes"}),
    ],
)
async def test_what_is_wrong_is_said_and_changes_nothing(daemon: Managed, method: str, path: str, body: Any) -> None:
    before = await prices(daemon), daemon.file
    told = await daemon.call(method, path, body)
    assert told.status == 400
    assert told.json["error"]
    assert (await prices(daemon), daemon.file) == before


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-1", b"1e999", b"1" + b"0" * 400])
async def test_numbers_that_are_no_prices_are_refused(daemon: Managed, number: bytes) -> None:
    data = b'{"prices": {"m": {"prompt": %b, "completion": 1}}}' % number
    told = await daemon.call("PUT", "/model-prices", data=data)
    assert told.status == 400
    assert "m: prompt must be a number" in told.json["message"]


async def test_a_change_for_another_state_of_the_file_is_refused(daemon: Managed) -> None:
    body = {"model": "own", "value": {"prompt": 9}}
    told = await daemon.call("PATCH", "/model-prices", body, If_Match='"other"')
    assert told.status == 412
    assert cost(daemon, "own") == 10**9
