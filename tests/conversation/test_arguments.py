"""Arguments of calls read as objects, also where a model wrote almost-JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpa.conversation.arguments import arguments_object, arguments_or_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        (" \n", {}),
        ('{"a":1}', {"a": 1}),
        ("null", {}),
        ("[1]", {}),
        ('"x"', {}),
        ('"{a"', {}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("{'a': 1, 'b': 'it\\'s \"so\"'}", {"a": 1, "b": 'it\'s "so"'}),
        ("{a: hello, b: true, c: None}", {"a": "hello", "b": True, "c": None}),
        ("{d: -1e3, e: 'x\ny'}", {"d": -1000.0, "e": "x\ny"}),
        ("{path: src/a.py}", {"path": "src/a.py"}),
        ('{"a": "it\'s"}', {"a": "it's"}),
    ],
)  # fmt: skip
def test_what_can_only_be_meant_one_way_is_read_that_way(text: str, value: dict[str, Any]) -> None:
    assert arguments_object(text) == value


@pytest.mark.parametrize("text", ['{"a', "{'a': 1", "{'a", "hello there", "{a b c}", "{a: @}"])
def test_what_is_cut_off_or_means_nothing_is_not_guessed(text: str) -> None:
    assert arguments_object(text) is None
    assert arguments_or_text(text) == {"INVALID_JSON": text}


@given(st.dictionaries(st.text(), st.recursive(st.text() | st.integers(-9, 9) | st.none(), st.lists)))
def test_json_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert arguments_object(orjson.dumps(value).decode()) == value


@given(st.text(alphabet="{}[]'\":, \\abtrue1", max_size=20))
def test_no_text_breaks_it(text: str) -> None:
    found = arguments_object(text)
    assert found is None or isinstance(found, dict)
