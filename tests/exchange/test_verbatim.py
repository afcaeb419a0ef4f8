"""What does not change keeps its bytes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.exchange.verbatim import serialise

RAW = b'{ "model" : "a", "temperature": 1.0, "big": 123456789012345678901234567890, "x": [1e2,  "\\u00e9"] }'


def test_the_same_body_is_the_same_bytes() -> None:
    body = orjson.loads(RAW)
    assert serialise(body, body, RAW) == RAW


def test_only_the_changed_member_is_rewritten() -> None:
    body = orjson.loads(RAW)
    out = serialise({**body, "model": "b"}, body, RAW)
    assert b'"model":"b"' in out
    assert b"1.0" in out
    assert b"123456789012345678901234567890" in out
    assert b'[1e2,  "\\u00e9"]' in out
    assert out.index(b"model") < out.index(b"temperature") < out.index(b"big")


def test_another_model_changes_nothing_else() -> None:
    raw = b'{"model":"a" ,"temperature": 1.0, "x": [1e2,  "\\u00e9"]}'
    body = orjson.loads(raw)
    assert serialise({**body, "model": "b"}, body, raw) == raw.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","tools":[{"model":"a"}]}',
        b'{"model":"a","x":1,"model":"a"}',
        b'{"model":"other","x":1,"model":"a"}',
        b'{"x":1,"model":"a"}',
        b'{"mod\\u0065l":"a","x":{"model":"a"}}',
        b'{"model":"\\u0061"}',
    ],
)
def test_only_the_model_of_the_body_itself_is_another(raw: bytes) -> None:
    body = orjson.loads(raw)
    assert orjson.loads(serialise({**body, "model": "b"}, body, raw)) == {**body, "model": "b"}


def test_removed_and_added_members() -> None:
    body = orjson.loads(RAW)
    changed = {key: value for key, value in body.items() if key != "big"} | {"stream": True}
    out = orjson.loads(serialise(changed, body, RAW))
    assert "big" not in out
    assert out["stream"] is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5), st.text(max_size=4), json_values)
def test_it_is_the_json_of_the_body(original: dict[str, object], key: str, value: object) -> None:
    raw = orjson.dumps(original, option=orjson.OPT_INDENT_2)
    parsed = orjson.loads(raw)
    assert orjson.loads(serialise({**parsed, key: value}, parsed, raw)) == {**parsed, key: value}
