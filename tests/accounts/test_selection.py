"""Which account is chosen next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.accounts.selection import Candidate, Rotation, Selector


class Bench:
    """A pool whose clock a test holds, and the rotation of the model ``m`` over its accounts."""

    def __init__(self, *accounts: Account, strategy: str = "round-robin") -> None:
        self.now = 1000.0
        self.pool = AccountPool(lambda: self.now, lambda: self.now + 1e9)
        self.selector = Selector(self.pool)
        self.strategy = strategy
        self.version = 0
        self.accounts: list[Account] = []
        self.offer(*accounts)

    def offer(self, *accounts: Account) -> None:
        self.accounts = list(accounts)
        self.version += 1
        self.source = str(self.version)
        for account in accounts:
            self.pool.put(account)

    @property
    def rotation(self) -> Rotation:
        return self.selector.rotation("m", self.source, self.strategy, self._candidates)

    def _candidates(self) -> list[Candidate]:
        return [Candidate(account, ("m",)) for account in self.accounts]

    def choose(self, *tried: str) -> str | None:
        return self.rotation.choose(set(tried))

    def chosen(self, times: int) -> list[str | None]:
        return [self.choose() for _ in range(times)]

    def cool(self, *names: str, seconds: float = 60.0) -> None:
        for name in names:
            self.pool.fail(name, "m", scope="model", reason="quota", seconds=seconds, message="429")

    def quota(self, name: str, used: float, resets_in: float, window: str = "five_hour") -> None:
        now = self.now + 1e9
        seen = QuotaWindow(name=window, used_ratio=used, resets_at=now + resets_in, source="headers", seen_at=now)
        self.pool.note_quota(name, [seen])


def accounts(names: str, priority: int = 0) -> list[Account]:
    return [Account(id=name, provider="p", priority=priority) for name in names]


def test_round_robin_visits_everybody_in_turn() -> None:
    assert Bench(*accounts("cab")).chosen(6) == list("abcabc")


def test_who_was_tried_in_this_request_is_passed_over() -> None:
    bench = Bench(*accounts("abc"))
    assert [bench.choose(), bench.choose("b"), bench.choose("c", "a"), bench.choose("a", "b", "c")] == [*"acb", None]


def test_fill_first_stays_until_blocked_and_returns_afterwards() -> None:
    bench = Bench(*accounts("ab"), strategy="fill-first")
    assert bench.chosen(3) == list("aaa")
    bench.cool("a")
    assert bench.chosen(2) == list("bb")
    bench.now += 60
    assert bench.chosen(2) == list("aa")


def test_lower_priority_only_when_the_higher_is_blocked_or_tried() -> None:
    bench = Bench(*accounts("a", 10), *accounts("bc"))
    assert bench.chosen(3) == list("aaa")
    assert bench.choose("a") == "b"
    bench.cool("a")
    assert bench.chosen(2) == list("cb")
    bench.now += 60
    assert bench.choose() == "a"


def test_nobody_usable() -> None:
    bench = Bench(*accounts("a"), Account(id="b", provider="p", disabled=True))
    bench.cool("a")
    assert bench.choose() is None
    assert Bench().choose() is None


@pytest.mark.parametrize("strategy", ["round-robin", "fill-first", "weighted-round-robin", "quota-aware"])
def test_a_cooldown_that_is_taken_back_counts_at_once(strategy: str) -> None:
    bench = Bench(*accounts("a"), strategy=strategy)
    bench.cool("a", seconds=1e6)
    assert bench.choose() is None
    bench.pool.reset("a")
    assert bench.choose() == "a"


def test_a_removed_account_is_not_chosen() -> None:
    bench = Bench(*accounts("ab"))
    bench.pool.remove("a")
    assert bench.chosen(2) == list("bb")


def test_weights_share_the_load() -> None:
    group = [Account(id="a", provider="p", weight=3), Account(id="b", provider="p", weight=1)]
    bench = Bench(*group, strategy="weighted-round-robin")
    assert Counter(bench.chosen(40)) == {"a": 30, "b": 10}


def test_who_comes_back_does_not_make_up_for_lost_turns() -> None:
    bench = Bench(*accounts("ab"), strategy="weighted-round-robin")
    bench.cool("a")
    bench.chosen(100)
    bench.now += 60
    assert Counter(bench.chosen(10)) == {"a": 5, "b": 5}


def test_a_weight_of_zero_excludes() -> None:
    group = [Account(id="a", provider="p", weight=0), Account(id="b", provider="p")]
    assert Bench(*group, strategy="weighted-round-robin").chosen(2) == list("bb")


def test_providers_are_visited_in_proportion_to_their_accounts() -> None:
    group = [
        Account(id="z1", provider="claude"),
        Account(id="z2", provider="claude"),
        Account(id="a1", provider="other"),
    ]
    assert Bench(*group).chosen(4) == ["z1", "z2", "a1", "z1"]


def projects(parent: str, *names: str) -> list[Account]:
    return [Account(id=name, provider="gemini-cli", settings={"parent": parent}) for name in names]


def test_logins_take_turns_whatever_the_number_of_their_projects() -> None:
    group = [*projects("x", "x1", "x2"), *projects("y", "y1")]
    assert Bench(*group).chosen(6) == ["x1", "y1", "x2", "y1", "x1", "y1"]
    flat = Bench(*group, Account(id="z", provider="gemini-cli"))
    assert flat.chosen(4) == ["x1", "x2", "y1", "z"]


@pytest.mark.parametrize(("left", "following"), [("abc", "b"), ("bc", "b"), ("ac", "c"), ("abcd", "b")])
def test_turns_go_on_when_accounts_come_and_go(left: str, following: str) -> None:
    bench = Bench(*accounts("abc"))
    assert bench.choose() == "a"
    bench.offer(*accounts(left))
    assert bench.choose() == following


def test_another_strategy_takes_effect_at_once() -> None:
    bench = Bench(*accounts("ab"))
    bench.choose()
    bench.strategy = "fill-first"
    assert bench.chosen(2) == list("aa")


def test_a_pool_of_models_is_usable_while_one_of_them_is() -> None:
    bench = Bench(*accounts("a"))
    rotation = bench.selector.rotation(
        "fast", "v", "round-robin", lambda: [Candidate(bench.accounts[0], ("m", "other"))]
    )
    bench.cool("a")
    assert rotation.choose() == "a"
    bench.pool.fail("a", "other", scope="model", reason="quota", seconds=5, message="429")
    assert rotation.choose() is None
    bench.now += 5
    assert rotation.choose() == "a"


# -- quota-aware -----------------------------------------------------------------------------------------------------


def test_the_account_whose_window_resets_soonest_comes_first() -> None:
    bench = Bench(*accounts("abc"), strategy="quota-aware")
    bench.quota("a", 0.5, 7200)
    bench.quota("b", 0.5, 600)
    bench.quota("c", 0.5, 3600)
    assert bench.chosen(2) == list("bb")
    assert [bench.choose("b"), bench.choose("b", "c")] == ["c", "a"]


def test_a_reserve_is_kept_while_others_have_room() -> None:
    bench = Bench(*accounts("ab"), strategy="quota-aware")
    bench.pool.keep_reserve(0.2)
    bench.quota("a", 0.85, 600)
    bench.quota("b", 0.5, 7200)
    assert bench.choose() == "b"
    bench.quota("b", 0.81, 7200)
    assert bench.choose() == "a", "both are down to the reserve: the soonest reset again"
    bench.pool.keep_reserve(0.1)
    bench.quota("a", 0.95, 600)
    assert bench.choose() == "b"


def test_of_several_windows_the_fullest_decides_whether_there_is_room() -> None:
    bench = Bench(*accounts("ab"), strategy="quota-aware")
    bench.quota("a", 0.1, 600)
    bench.quota("a", 1.0, 86400, window="seven_day")
    bench.quota("b", 0.9, 7200)
    assert bench.choose() == "b"


def test_accounts_without_known_quota_come_after_those_with_room_and_take_turns() -> None:
    bench = Bench(*accounts("abc"), strategy="quota-aware")
    assert bench.chosen(4) == list("abca")
    bench.quota("c", 0.2, 600)
    assert bench.chosen(2) == list("cc")
    bench.quota("c", 1.0, 600)
    assert Counter(bench.chosen(4)) == {"a": 2, "b": 2}


def test_a_window_that_starts_anew_counts_without_being_seen() -> None:
    bench = Bench(*accounts("ab"), strategy="quota-aware")
    bench.quota("a", 1.0, 600)
    bench.quota("b", 0.99, 7200)
    assert bench.choose() == "b"
    bench.pool.keep_reserve(0.05)
    bench.now += 601
    assert bench.choose() == "a"


def test_accounts_that_reset_in_the_same_minute_take_turns() -> None:
    bench = Bench(*accounts("ab"), strategy="quota-aware")
    bench.now = 1200.0
    bench.quota("a", 0.3, 3601)
    bench.quota("b", 0.3, 3604)
    assert bench.chosen(4) == list("abab")


def test_clocks_that_waver_leave_nothing_behind() -> None:
    """The wall clock is slewed against the monotonic one all the time, while limits on requests come and go."""
    bench = Bench(*accounts("ab"), strategy="quota-aware")
    skew = 0.0
    bench.pool.wall = lambda: bench.now + 1e9 + skew
    bench.pool.concurrency = 1
    bench.quota("a", 0.5, 7200)
    bench.quota("b", 0.5, 7200)
    for _ in range(500):
        skew += 1e-4
        bench.now += 0.01
        chosen = bench.choose()
        assert chosen is not None
        lease = bench.pool.lease(chosen, "m")
        assert lease is not None
        lease.release()
    assert len(bench.rotation.rings[0]._returns) <= 4


# -- cost ------------------------------------------------------------------------------------------------------------


class CountingPool(AccountPool):
    asked = 0

    def free_at(self, account_id: str, models: Sequence[str], now: float) -> float:
        self.asked += 1
        return super().free_at(account_id, models, now)


@pytest.mark.parametrize("strategy", ["round-robin", "fill-first", "weighted-round-robin", "quota-aware"])
def test_choosing_looks_at_few_accounts_however_many_there_are_and_cool(strategy: str) -> None:
    bench = Bench(strategy=strategy)
    bench.pool = CountingPool(lambda: bench.now)
    bench.selector = Selector(bench.pool)
    bench.offer(*[Account(id=f"a{number:05}", provider="p") for number in range(5000)])
    bench.cool(*(f"a{number:05}" for number in range(4990)), seconds=600)
    bench.choose()
    bench.pool.asked = 0
    bench.chosen(100)
    assert bench.pool.asked <= 5100, "everybody who cools is found once"
    bench.pool.asked = 0
    bench.chosen(100)
    assert bench.pool.asked == 100


def test_a_question_ends_a_rest_only_when_it_is_told_of_room() -> None:
    bench = Bench(*accounts("a"))
    now = bench.now + 1e9

    def told(name: str, used: float | None, amount: str = "") -> QuotaWindow:
        return QuotaWindow(name=name, used_ratio=used, resets_at=now + 600, source="query", seen_at=now, amount=amount)

    bench.cool("a", seconds=600)
    bench.pool.note_quota("a", [told("day:m", None)])
    bench.pool.note_quota("a", [told("credits", None, "12.5 left")])
    assert bench.choose() is None, "nothing was told"
    bench.pool.note_quota("a", [told("five_hour", 0.2), told("extra_usage", 1.0, "10 of 10 spent")])
    assert bench.choose() == "a", "what is paid for beside the allowance does not count"
