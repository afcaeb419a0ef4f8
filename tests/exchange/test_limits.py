"""What a client's key may use."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from cpa.config import Config
from cpa.config.client_keys import key_id
from cpa.config.load import load_text
from cpa.conversation.usage import Usage
from cpa.errors import ApiError, ConfigError, ErrorInfo
from cpa.exchange.call import Call
from cpa.exchange.limits import ClientLimits, Ticket
from cpa.exchange.state_file import StateFile
from cpa.plugins.values import ClientIdentity
from cpa.usage.price import Price
from cpa.usage.price_rows import PriceRow
from cpa.usage.prices import PriceTable

PRICES = PriceTable({"paid": PriceRow(Price(10**9, 10**9)), "free": PriceRow(Price(0, 0))})
NOON = datetime(2026, 11, 24, 12, 0, 0).timestamp()


def file(path: Path, limits: ClientLimits) -> StateFile:
    return StateFile(path, limits, structlog.get_logger(), what="what client keys have used", seconds=1.0)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Door:
    """Limits of one key."""

    def __init__(self, **limits: Any) -> None:
        entry = ", ".join(f"{name.replace('_', '-')}: {value}" for name, value in limits.items())
        self.config: Config = load_text(f"api-keys: [{{key: k, {entry}}}]\n", environ={}).config
        self.clock = Clock()
        self.limits = ClientLimits(lambda: PRICES, self.clock)

    def enter(self, model: str = "paid", key: str = "k") -> Ticket | None:
        call = Call(format="openai", model=model, body={}, client=ClientIdentity(key_id(key)))
        return self.limits.enter(call, self.config, lambda: [("p", model)])

    def refused(self, model: str = "paid") -> ErrorInfo:
        with pytest.raises(ApiError) as caught:
            self.enter(model)
        return caught.value.error

    def use(self, tokens: int, model: str = "paid") -> None:
        ticket = self.enter(model)
        assert ticket is not None
        ticket.spend(Usage(input_total=tokens, output_total=0), model=model, requested=model, provider="p", account="a")
        ticket.leave()


def test_a_key_without_limits_costs_nothing_and_counts_nothing() -> None:
    door = Door(name="just-a-name")
    assert door.enter() is None
    assert door.enter(key="other") is None
    assert not door.limits.changed


def test_only_named_models_may_be_asked_for() -> None:
    door = Door(models="['gpt-*', Exact]")
    for model in ("gpt-5", "GPT-5(high)", "exact"):
        assert door.enter(model)
    error = door.refused("claude")
    assert (error.status, error.code, error.type) == (403, "model_not_allowed", "permission_error")


@pytest.mark.parametrize("expires", ["2026-11-24", "2026-11-24T11:59:59", "2020-01-01T00:00:00Z"])
def test_an_expired_key_is_refused(expires: str) -> None:
    error = Door(expires=f"'{expires}'").refused()
    assert (error.status, error.code) == (403, "key_expired")


def test_a_key_is_good_until_it_expires() -> None:
    assert Door(expires="'2026-11-25'").enter()


def test_an_expiry_that_is_no_time_is_a_configuration_error() -> None:
    with pytest.raises(Exception, match="expected a date"):
        Door(expires="someday")


def test_requests_per_minute_are_counted_over_the_last_minute() -> None:
    door = Door(requests_per_minute=2)
    door.use(1)
    door.clock.now += 20
    door.use(1)
    error = door.refused()
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 40.0)
    door.clock.now += 40
    door.use(1)
    assert door.refused().retry_after == 20.0


def test_tokens_per_minute_are_counted_as_they_are_reported() -> None:
    door = Door(tokens_per_minute=100)
    door.use(60)
    door.clock.now += 10
    door.use(60)
    error = door.refused()
    assert (error.status, error.retry_after) == (429, 50.0)
    door.clock.now += 50
    door.use(1)


def test_running_requests_are_bounded_and_leaving_twice_frees_once() -> None:
    door = Door(concurrency=2)
    first, second = door.enter(), door.enter()
    assert first
    assert second
    assert door.refused().code == "concurrency_exceeded"
    first.leave()
    first.leave()
    assert door.enter()
    assert door.refused().code == "concurrency_exceeded"


def test_a_days_budget_ends_with_the_day() -> None:
    door = Door(budget_per_day=1)
    door.use(600_000)
    door.use(600_000)
    error = door.refused()
    assert (error.status, error.code, error.retry_after) == (429, "budget_exceeded", 12 * 3600.0)
    assert "1 USD per day" in error.message
    door.clock.now += 12 * 3600
    door.use(1)


def test_a_months_budget_ends_with_the_month() -> None:
    door = Door(budget_per_month=1)
    door.use(2_000_000)
    door.clock.now += 24 * 3600
    assert door.refused().retry_after == (5 * 24 + 12) * 3600.0
    door.clock.now += 6 * 24 * 3600
    door.use(1)


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_a_clock_that_is_put_back_keeps_nobody_waiting_for_longer(limit: str) -> None:
    door = Door(**{limit: 2})
    door.use(1)
    door.use(1)
    door.clock.now -= 7200
    assert door.refused().retry_after == 60.0
    door.clock.now += 60
    door.use(1)


def test_a_clock_that_is_put_back_over_midnight_brings_no_money_back() -> None:
    door = Door(budget_per_day=1, budget_per_month=1)
    door.clock.now = datetime(2026, 12, 1, 0, 0, 1).timestamp()
    door.use(2_000_000)
    door.clock.now -= 3
    assert door.refused().code == "budget_exceeded"
    door.clock.now += 24 * 3600
    door.use(1)


def test_a_limit_of_one_is_said_in_the_singular() -> None:
    door = Door(requests_per_minute=1)
    door.use(1)
    assert door.refused().message == "this key may ask 1 time per minute"


def test_an_empty_budget_does_not_keep_from_what_is_free() -> None:
    door = Door(budget_per_day=1)
    door.use(2_000_000)
    assert door.refused("paid").code == "budget_exceeded"
    assert door.refused("unpriced").code == "budget_exceeded"
    assert door.enter("free")


async def test_what_was_counted_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "data" / "limits.json"
    before = Door(budget_per_day=1, requests_per_minute=1)
    before.use(2_000_000)
    await file(path, before.limits).save()
    assert path.stat().st_mode & 0o777 == 0o600
    after = Door(budget_per_day=1, requests_per_minute=1)
    await file(path, after.limits).load()
    assert after.refused().code == "rate_limit_exceeded"
    after.clock.now += 61
    assert after.refused().code == "budget_exceeded"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"key-x": {"requests": 1}}', b'{"key-x": null}', b"\xff"])
async def test_a_broken_file_is_no_reason_to_fail(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "limits.json"
    path.write_bytes(content)
    door = Door(requests_per_minute=1)
    await file(path, door.limits).load()
    assert door.enter()


async def test_a_disk_that_fails_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    door = Door(requests_per_minute=1)
    door.use(1)
    await file(tmp_path / "file" / "limits.json", door.limits).save()
    assert door.limits.changed


def test_a_model_without_a_price_is_named_once() -> None:
    named: list[str] = []
    door = Door(budget_per_day=1)
    door.limits = ClientLimits(lambda: PRICES, door.clock, named.append)
    door.use(100, "unknown")
    door.use(100, "unknown")
    door.use(100, "free")
    assert named == ["unknown"]


def test_the_tokens_of_a_second_are_one_number() -> None:
    door = Door(tokens_per_minute=10_000)
    for _ in range(500):
        door.use(1)
    door.clock.now += 30
    door.use(9_499)
    used = door.limits.used(key_id("k"))
    assert (len(used.tokens), used.token_sum) == (2, 9_999)
    door.use(1)
    assert door.refused().retry_after == 30


def test_a_forgiven_key_begins_anew_and_keeps_what_is_running() -> None:
    door = Door(requests_per_minute=1, budget_per_day=1)
    ticket = door.enter()
    assert ticket is not None
    assert door.refused().code == "rate_limit_exceeded"
    door.limits.forgive(key_id("k"))
    assert door.limits.used(key_id("k")).running == 1
    door.enter()
    ticket.leave()
    assert door.limits.used(key_id("k")).running == 1


@pytest.mark.parametrize(
    "keys",
    [
        "[{name: nobody}]",
        "[{key: '  ', concurrency: 1}]",
        "[{key: k, concurrency: 1}, {key: k, expires: 2030-01-01}]",
        "[{key: k, request-per-minute: 5}]",
        "[plain, {key: k, name: n, requests_per_minute: 5}]",
    ],
)
def test_entries_that_would_limit_nothing_or_two_things_are_refused(keys: str) -> None:
    with pytest.raises(ConfigError, match="api-keys"):
        load_text(f"api-keys: {keys}\n", environ={})


async def test_a_broken_file_is_kept_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "client-limits.json"
    path.write_bytes(b'{"key-1": {"requ')
    await file(path, Door().limits).load()
    assert path.with_suffix(".broken").read_bytes() == b'{"key-1": {"requ'
    assert not path.exists()
