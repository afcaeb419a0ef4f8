"""A text without any mark has nothing to mask: every mask is checked with texts made for it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.logs.marks import MOST, SLICE, Marks
from cpa.logs.masking import _NAMED, _SHAPES, MARKS, Masker
from cpa.logs.redaction import Secrets, variants


@pytest.mark.parametrize("pattern", [*_NAMED, *_SHAPES])
def test_whatever_a_mask_matches_has_a_mark_in_it(pattern: str) -> None:
    marks = Marks(mark.encode() for mark in MARKS)

    @settings(max_examples=60, deadline=None)
    @given(st.from_regex(re.compile(pattern.encode()), fullmatch=True))
    def check(text: bytes) -> None:
        assert marks.may_stand_in(b"before " + text + b" after")

    check()


@given(st.text(min_size=6, max_size=40), st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_known_value_is_masked_in_every_form_amid_anything(value: str, around: bytes) -> None:
    secrets = Secrets()
    secrets.replace([value])
    masker = Masker(secrets)
    for form in variants(value):
        if len(form) >= 6:
            text = around + form.encode() + around
            assert masker.body(text) != text
            assert not masker.clean(b"", text)


def test_words_are_found_in_any_case_and_beside_any_byte() -> None:
    marks = Marks([b"Sk-", b"\xc3\xa4bc"])
    assert marks.may_stand_in(b"a SK-b")
    assert marks.may_stand_in(bytes(range(128, 256)) + b"sk-")
    assert marks.may_stand_in("der ÄBC äbc".encode())
    assert not marks.may_stand_in(b"sk")
    assert not marks.may_stand_in("s\u212a- kein Wort davon, aber ä".encode())


def test_no_words_stand_nowhere_and_too_many_everywhere() -> None:
    assert not Marks([]).may_stand_in(b"anything")
    assert Marks(b"word-%d." % number for number in range(MOST + 1)).may_stand_in(b"anything")
    assert Marks([b"", b"a"]).may_stand_in(b"")


def test_a_word_is_found_wherever_it_stands_in_a_long_text() -> None:
    """Also where one slice of the text ends and the next begins."""
    marks = Marks([b"short", b"a-longer-word"])
    edges = [0, SLICE - 13, 2 * (SLICE - 13), SLICE, 2 * SLICE, 3 * SLICE - 13]
    assert not marks.may_stand_in(b"." * 3 * SLICE)
    for word in (b"sHort", b"a-LONGER-word"):
        for at in (max(0, edge + more) for edge in edges for more in range(-16, 17)):
            content = (b"." * at + word).ljust(3 * SLICE, b".")
            assert marks.may_stand_in(content), at


def test_words_longer_than_a_slice_may_stand_anywhere() -> None:
    assert Marks([b"x" * SLICE]).may_stand_in(b"." * 2 * SLICE)
