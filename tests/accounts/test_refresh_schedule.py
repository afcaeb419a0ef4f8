"""When logins are refreshed."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

import pytest

from cpa.accounts.refresh import FEW, RefreshSchedule, access_token_of, has_expired, refresh_due, refresh_token_of

NOW = 1_800_000_000.0
HOUR = 3600.0


def no_jitter() -> float:
    return 0.0


@pytest.mark.parametrize(
    ("data", "lead", "due"),
    [
        ({"expired": NOW + 8 * HOUR}, 4 * HOUR, NOW + 4 * HOUR),
        ({"expired": NOW - HOUR}, 4 * HOUR, NOW - 5 * HOUR),
        ({"token": {"expiry": NOW + HOUR}}, 300.0, NOW + HOUR - 300),
        ({"last_refresh": NOW - HOUR}, 4 * HOUR, NOW + 3 * HOUR),
        ({}, 4 * HOUR, 0.0),
        ({"expired": NOW + HOUR}, None, None),
        ({"expired": NOW + HOUR, "refresh_interval_seconds": 600, "last_refresh": NOW}, None, NOW + 600),
        ({"expired": NOW + 500, "refresh_interval": "10m", "last_refresh": NOW}, 4 * HOUR, NOW - 100),
        ({"expired": NOW + HOUR, "refresh_interval_seconds": 600}, 4 * HOUR, 0.0),
    ],
)
def test_the_moment_follows_from_the_file_and_the_lead(data: dict[str, Any], lead: float | None, due: float) -> None:
    assert refresh_due(data, lead) == due


def test_tokens_are_found_at_the_top_and_inside_token() -> None:
    assert refresh_token_of({"refresh_token": "a"}) == refresh_token_of({"token": {"refresh_token": "a"}}) == "a"
    assert access_token_of({"token": {"access_token": "new"}, "access_token": "old"}) == "new"
    assert refresh_token_of({"token": None, "refresh_token": 5}) == ""


def test_a_token_ends_a_little_early_and_one_without_expiry_never() -> None:
    assert has_expired({"expired": NOW + 5}, NOW)
    assert not has_expired({"expired": NOW + 60}, NOW)
    assert not has_expired({}, NOW)


def test_failures_back_off_from_five_minutes_to_an_hour_and_success_starts_over() -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("a", NOW, NOW)
    now, waits = NOW, []
    for _ in range(7):
        assert schedule.take(now) == "a"
        schedule.failed("a", "down", now, terminal=False)
        moment = schedule.next_moment()
        assert moment is not None
        waits.append((moment - now) / 60)
        now = moment
    assert waits == [5, 10, 20, 40, 60, 60, 60]
    assert schedule.take(now) == "a"
    schedule.succeeded("a", now + HOUR, now)
    assert schedule.next_moment() == now + HOUR
    assert schedule.take(now + HOUR) == "a"
    schedule.failed("a", "down", now, terminal=False)
    assert schedule.next_moment() == now + 300


def test_a_terminal_failure_waits_for_the_file_to_change() -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("a", NOW, NOW)
    assert schedule.take(NOW) == "a"
    schedule.failed("a", "invalid_grant", NOW, terminal=True)
    assert schedule.take(NOW + 365 * 24 * HOUR) is None
    state = schedule.state("a")
    assert state is not None
    assert state.trouble == "log in again: invalid_grant"
    schedule.plan("a", NOW, NOW)
    assert schedule.take(NOW) == "a"
    assert schedule.state("a").trouble == ""  # type: ignore[union-attr]


def test_a_success_that_leaves_it_due_does_not_spin() -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("a", NOW, NOW)
    assert schedule.take(NOW) == "a"
    schedule.succeeded("a", NOW - 5, NOW)
    assert schedule.take(NOW + 29) is None
    assert schedule.take(NOW + 30) == "a"


def test_a_running_login_is_not_taken_twice() -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("a", NOW, NOW)
    assert schedule.take(NOW) == "a"
    schedule.plan("a", NOW, NOW)
    assert schedule.take(NOW) is None
    schedule.succeeded("a", NOW + HOUR, NOW)
    assert schedule.take(NOW + HOUR) == "a"


@pytest.mark.parametrize(("hint", "block"), [(None, 5.0), (120.0, 120.0), (99999.0, 300.0), (1.0, 5.0)])
def test_a_refused_refresh_is_not_repeated_on_demand_before_its_time(hint: float | None, block: float) -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("a", None, NOW)
    schedule.begin("a")
    schedule.failed("a", "429", NOW, terminal=False, retry_after=hint)
    state = schedule.state("a")
    assert state is not None
    assert state.blocked_until == NOW + block
    assert schedule.next_moment() is None


def test_logins_of_one_hour_are_spread_and_never_late() -> None:
    numbers = iter([index / 100 for index in range(100)])
    schedule = RefreshSchedule(lambda: next(numbers))
    for index in range(100):
        schedule.plan(f"{index}", NOW + HOUR, NOW)
    moments = []
    while (moment := schedule.next_moment()) is not None:
        moments.append(moment)
        assert schedule.take(moment) is not None
    assert len(moments) == 100
    assert len(set(moments)) == 100
    assert NOW + HOUR - 300 <= min(moments) <= max(moments) <= NOW + HOUR


def test_a_forgotten_login_is_never_due() -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("a", NOW, NOW)
    schedule.forget("a")
    assert schedule.take(NOW + HOUR) is None


class Moment(float):
    """One of which it can be told whether it is still known."""


def test_plans_that_were_replaced_do_not_pile_up() -> None:
    schedule = RefreshSchedule(no_jitter)
    schedule.plan("once", NOW - 2000, NOW)
    known = []
    for number in range(10 * FEW):
        moment = Moment(NOW - 1000 + number)
        known.append(ref(moment))
        schedule.plan("often", moment, NOW)
    del moment
    gc.collect()
    assert sum(moment() is not None for moment in known) <= FEW + 5
    assert schedule.take(NOW) == "once"
    assert schedule.next_moment() == NOW - 1000 + 10 * FEW - 1
    assert schedule.take(NOW) == "often"
    assert schedule.next_moment() is None
