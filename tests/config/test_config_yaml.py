"""YAML from outside: what it means, and that hostile files are refused quickly."""

from __future__ import annotations

import math
import re
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.config.yaml_reader import parse
from cpa.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("0o17", 15),
        ("0x1f", 31),
        ("-7", -7),
        ("1.5e3", 1500.0),
        (".inf", math.inf),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("12abc", "12abc"),
        ("sk-1", "sk-1"),
        ("|\n  # text\n  b\n", "# text\nb\n"),
    ],
)
def test_values_have_the_types_of_yaml_1_2(written: str, value: object) -> None:
    data, _ = parse(f"a: {written}\n")
    assert data["a"] == value
    assert type(data["a"]) is type(value)


def test_anchors_and_merges_are_resolved_without_sharing() -> None:
    data, _ = parse("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nsame: *b\nmany: {<<: [{z: 1}, *b]}\n")
    assert data["own"] == {"x": 1, "y": 3}
    assert data["many"] == {"z": 1, "x": 1, "y": 2}
    assert data["same"] == data["base"]
    assert data["same"] is not data["base"]


def test_lines_of_keys_and_items() -> None:
    _, tree = parse("# c\na:\n  - b: 1\n\n  - b: 2\n")
    assert tree.line_of(("a",)) == 2
    assert tree.line_of(("a", 1, "b")) == 5
    assert tree.line_of(("a", 1, "unknown")) == 5
    assert tree.line_of(("nothing",)) is None


def billion_laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (billion_laughs(), "line 1: more than 100000 values"),
        ("a: &x [*x]", "line 1: alias \\*x contains itself"),
        ("a: &x\n  b: {c: *x}", "line 2: alias \\*x contains itself"),
        ("a: *nobody", "line 1: alias \\*nobody"),
        ("a: " + "[" * 500, "nested"),
        ("a: " + "[" * 100_000, "nesting depth"),
        ("a: " + "{a: " * 100_000, "nest"),
        ("\n".join(" " * depth + "a:" for depth in range(300)), "line 65: nested too deeply"),
        ("\n".join(f"k{i}: 1" for i in range(110_000)), "more than 100000 values"),
        ("a: " + "x" * (2 * 1024 * 1024), "larger than 2 MiB"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' stands twice"),
        ("x: {a: 1, a: 2}", "line 1: key 'a' stands twice"),
        ("? [1]\n: 2", "line 1: a key must be a single value"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: tag .* not supported"),
        ("a: !custom 1", "line 1: tag '!custom' is not supported"),
        ("a: 1\n---\nb: 1", "second document"),
        ("- a", "line 1: the file must be a mapping"),
        ("just text", "line 1: the file must be a mapping"),
        ("a: [1, 2", "line 2, column 1: not valid YAML"),
        ("a: 1\n\tb: 2", "line 2"),
        ("a: 1\nb: \x01", "line 2: not valid YAML"),
        ("a: {<<: 3}", "line 1: << needs a mapping"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bad_files_are_refused_quickly_and_clearly(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text)
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 200


def test_an_alias_bomb_costs_little() -> None:
    start = time.process_time()
    with pytest.raises(ConfigError):
        parse(billion_laughs())
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "{}", "null"])
def test_empty_files_are_empty_mappings(text: str) -> None:
    assert parse(text)[0] == {}


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t<~1.é\u2028", max_size=60))
def test_no_text_crashes_the_reader(text: str) -> None:
    try:
        data, _ = parse(text)
    except ConfigError:
        return
    assert isinstance(data, dict)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | TEXTS.filter(lambda text: not re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", text))  # to that library 1e5 is a text
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcz", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc-", min_size=1, max_size=5), VALUES, max_size=4))
def test_what_another_library_writes_is_read_as_it_was(data: dict[str, object]) -> None:
    assert parse(yaml.safe_dump(data, allow_unicode=True))[0] == data
