"""Texts that are looked for: found whatever their number, in any text."""

from __future__ import annotations

import secrets

import pytest

from cpa.logs.literals import FEW, Literals

ODD = ["a.b*c[d", "key|with|bars", "back\\slash", "\u00e9clair-key", "a.b*c[d-longer", "line\nbreak"]


@pytest.mark.parametrize("number", [0, 1, FEW + 1, 2000])
def test_each_is_found_and_replaced(number: int) -> None:
    texts = ODD + [secrets.token_urlsafe(24) for _ in range(number)]
    literals = Literals(texts)
    for text in (*ODD, *texts[-20:]):
        assert literals.found(f"before{text}after")
        assert literals.replaced(f"before{text}after{text}", "***") == "before***after***"
    assert not literals.found("nothing of it, not even a.b*c")
    assert literals.replaced("nothing of it", "***") == "nothing of it"


@pytest.mark.parametrize("number", [1, FEW + 1])
def test_half_a_character_hides_nothing(number: int) -> None:
    texts = [f"secret-number-{each:03}" for each in range(number)]
    assert Literals(texts).found("\ud83d secret-number-000")
    assert Literals(texts).replaced("\ud83dsecret-number-000", "***") == "\ud83d***"


def test_half_a_character_in_one_of_them_is_found_too() -> None:
    literals = Literals([*(f"secret-number-{each:03}" for each in range(FEW)), "half\udc80key"])
    assert literals.replaced("a half\udc80key and secret-number-001", "***") == "a *** and ***"


def test_none_is_in_no_text() -> None:
    assert not Literals(())
    assert not Literals(()).found("anything")
    assert Literals(()).replaced("anything", "***") == "anything"
