"""Cooldowns: whose, for how long, and when they are over."""

from __future__ import annotations

from cpa.accounts.account import Account, account_id, account_index, mask
from cpa.accounts.cooldown import LONGEST_BACKOFF, Health
from cpa.accounts.pool import AccountPool


def quota(health: Health, now: float, seconds: float | None = None) -> None:
    health.fail("m", now, scope="model", reason="quota", seconds=seconds, message="429")


def test_a_hint_blocks_the_model_for_exactly_that_long() -> None:
    health = Health()
    quota(health, 100.0, 30.0)
    assert health.blocked("m", 129.9) is not None
    assert health.blocked("m", 130.0) is None
    assert health.blocked("other", 101.0) is None


def test_without_a_hint_it_backs_off_exponentially_up_to_the_longest() -> None:
    health, now, waits = Health(), 0.0, []
    for _ in range(14):
        quota(health, now)
        cooldown = health.models["m"]
        waits.append(cooldown.until - now)
        now = cooldown.until
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_BACKOFF


def test_a_burst_of_failures_escalates_once() -> None:
    health = Health()
    for _ in range(20):
        quota(health, 5.0)
    assert health.models["m"].until == 6.0


def test_a_shorter_hint_never_shortens_a_longer_cooldown() -> None:
    health = Health()
    quota(health, 0.0, 600.0)
    quota(health, 1.0, 5.0)
    assert health.models["m"].until == 600.0


def test_success_clears_what_stood_against_the_model() -> None:
    health = Health()
    quota(health, 0.0)
    quota(health, 10.0)
    health.succeed("m")
    assert health.blocked("m", 10.1) is None
    quota(health, 20.0)
    assert health.models["m"].until == 21.0


def test_an_account_cooldown_blocks_every_model() -> None:
    health = Health()
    health.fail("m", 0.0, scope="account", reason="unauthorized", seconds=60.0, message="401")
    assert health.blocked("anything", 59.0) is not None
    assert health.blocked("anything", 60.0) is None


def test_nobodys_fault_cools_nobody() -> None:
    health = Health()
    health.fail("m", 0.0, scope=None, reason="error", seconds=None, message="reset")
    assert health.blocked("m", 0.0) is None
    assert health.failed == 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pool_with(*accounts: Account) -> tuple[AccountPool, Clock]:
    clock = Clock()
    pool = AccountPool(clock)
    for account in accounts:
        pool.put(account)
    return pool, clock


def test_disable_cooling_ignores_all_but_unsupported_models() -> None:
    pool, _ = pool_with(Account(id="a", provider="p", disable_cooling=True))
    pool.fail("a", "m", scope="model", reason="quota", seconds=60, message="429")
    assert pool.usable("a", "m")
    pool.fail("a", "m", scope="model", reason="model_not_supported", seconds=60, message="400")
    assert not pool.usable("a", "m")


def test_replacing_an_account_keeps_its_cooldowns_unless_the_secret_changed() -> None:
    pool, _ = pool_with(Account(id="a", provider="p", secret="one"))
    pool.fail("a", "m", scope="model", reason="quota", seconds=60, message="429")
    pool.put(Account(id="a", provider="p", secret="one", priority=5))
    assert not pool.usable("a", "m")
    pool.put(Account(id="a", provider="p", secret="two"))
    assert pool.usable("a", "m")


def test_models_waiting_for_quota_stay_listed_and_refused_ones_do_not() -> None:
    pool, clock = pool_with(Account(id="a", provider="p"), Account(id="b", provider="p"))
    pool.fail("a", "m", scope="model", reason="quota", seconds=60, message="429")
    pool.fail("b", "m", scope="model", reason="not_found", seconds=60, message="404")
    assert pool.listed("a", "m")
    assert not pool.listed("b", "m")
    clock.now = 61
    assert pool.listed("b", "m")


def test_ids_are_stable_and_reveal_nothing() -> None:
    assert account_id("gemini:apikey", "k", "") == "gemini:apikey:0043df106800"
    assert account_id("claude:apikey", " sk-1 ", "https://api.example.com") == "claude:apikey:a0f59e712638"
    assert account_index("claude-api-key:https://api.example.com+sk-1") == "131ed90140484854"
    assert "sk-secret-value-123" not in repr(Account(id="a", provider="p", secret="sk-secret-value-123"))
    assert mask("sk-secret-value-123") == "sk-s...-123"
    assert mask("short") == "s..."
