"""Which account is chosen next."""

from __future__ import annotations

from collections import Counter

from cpa.accounts.account import Account
from cpa.accounts.selection import Affinity, Selector


def accounts(*ids: str, priority: int = 0) -> list[Account]:
    return [Account(id=name, provider="p", priority=priority) for name in ids]


def choose(selector: Selector, group: list[Account], strategy: str, unusable: tuple[str, ...] = ()) -> str | None:
    rotation = selector.rotation("m", "v1", lambda: group)
    return selector.choose(rotation, strategy, lambda account_id: account_id not in unusable)


def test_round_robin_visits_everybody_in_turn() -> None:
    selector, group = Selector(), accounts("c", "a", "b")
    assert [choose(selector, group, "round-robin") for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_fill_first_stays_until_blocked() -> None:
    selector, group = Selector(), accounts("a", "b")
    assert [choose(selector, group, "fill-first") for _ in range(3)] == ["a", "a", "a"]
    assert choose(selector, group, "fill-first", ("a",)) == "b"


def test_lower_priority_only_when_the_higher_is_blocked() -> None:
    selector, group = Selector(), accounts("a", priority=5) + accounts("b", "c")
    assert {choose(selector, group, "round-robin") for _ in range(4)} == {"a"}
    assert choose(selector, group, "round-robin", ("a",)) == "b"


def test_nobody_usable() -> None:
    assert choose(Selector(), accounts("a"), "round-robin", ("a",)) is None


def test_weights_share_the_load() -> None:
    group = [Account(id="a", provider="p", weight=3), Account(id="b", provider="p", weight=1)]
    selector = Selector()
    counted = Counter(choose(selector, group, "weighted-round-robin") for _ in range(40))
    assert counted == {"a": 30, "b": 10}


def test_a_weight_of_zero_excludes() -> None:
    group = [Account(id="a", provider="p", weight=0), Account(id="b", provider="p")]
    assert choose(Selector(), group, "weighted-round-robin") == "b"


def test_providers_are_visited_in_proportion_to_their_accounts() -> None:
    group = [
        Account(id="z1", provider="claude"),
        Account(id="z2", provider="claude"),
        Account(id="a1", provider="other"),
    ]
    selector = Selector()
    assert [choose(selector, group, "round-robin") for _ in range(3)] == ["z1", "z2", "a1"]


def test_the_cursor_survives_a_change_of_accounts() -> None:
    selector = Selector()
    assert choose(selector, accounts("a", "b"), "round-robin") == "a"
    rotation = selector.rotation("m", "v2", lambda: accounts("a", "b", "c"))
    assert selector.choose(rotation, "round-robin", lambda _: True) == "b"


def test_choosing_looks_at_few_accounts_however_many_there_are() -> None:
    group = accounts(*(f"a{number:05}" for number in range(5000)))
    selector, asked = Selector(), []
    rotation = selector.rotation("m", "v1", lambda: group)
    for _ in range(10):
        selector.choose(rotation, "round-robin", lambda account_id: not asked.append(account_id))
    assert len(asked) == 10


def test_affinity_expires_and_is_released_only_by_its_holder() -> None:
    now = [0.0]
    affinity = Affinity(lambda: now[0])
    affinity.bind("s", "m", "a", 10)
    affinity.release("s", "m", "b")
    assert affinity.get("s", "m") == "a"
    now[0] = 10.0
    assert affinity.get("s", "m") is None
    affinity.bind("s", "m", "a", 10)
    affinity.release("s", "m", "a")
    assert affinity.get("s", "m") is None
