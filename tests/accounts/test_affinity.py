"""Which account a session is bound to."""

from __future__ import annotations

from cpa.accounts.affinity import Affinity


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_binding_ends_with_its_time_unless_it_is_used() -> None:
    clock = Clock()
    affinity = Affinity(clock)
    affinity.bind("s", "m", "a", 10)
    clock.now = 9.0
    affinity.bind("s", "m", "a", 10)
    clock.now = 18.0
    assert affinity.get("s", "m") == "a"
    clock.now = 19.0
    assert affinity.get("s", "m") is None


def test_an_old_failure_does_not_end_a_newer_binding() -> None:
    affinity = Affinity(Clock())
    affinity.bind("s", "m", "a", 10)
    affinity.bind("s", "m", "b", 10)
    affinity.release("s", "m", "a")
    assert affinity.get("s", "m") == "b"
    affinity.release("s", "m", "b")
    assert affinity.get("s", "m") is None


def test_models_of_one_session_are_bound_apart() -> None:
    affinity = Affinity(Clock())
    affinity.bind("s", "m", "a", 10)
    assert affinity.get("s", "n") is None


def test_what_has_expired_does_not_pile_up() -> None:
    clock = Clock()
    affinity = Affinity(clock)
    for number in range(500):
        clock.now = float(number)
        affinity.bind(f"s{number}", "m", "a", 10)
    assert len(affinity) <= 11
    affinity.clear()
    assert len(affinity) == 0


def test_of_very_many_sessions_the_last_are_remembered() -> None:
    affinity = Affinity(Clock())
    for number in range(Affinity.LIMIT + 500):
        affinity.bind(f"s{number}", "m", "a", 10)
    assert len(affinity) == Affinity.LIMIT
    assert affinity.get("s499", "m") is None
    assert affinity.get("s500", "m") == "a"
