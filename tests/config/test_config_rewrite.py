"""Changing YAML text touches what changes and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.config.list_match import match_items
from cpa.config.yaml_reader import parse
from cpa.config.yaml_rewrite import rewrite
from cpa.errors import ConfigError

FILE = """\
# head

port: 8317   # the port
debug:   false
api-keys: ["a", 'b', c]  # flow list
remote-management: {secret-key: "x", allow-remote: false}

gemini-api-key:
# first
- api-key: k1    # key one
  future: 1

# second
- api-key: "k2"
  models:
        - {name: m, alias: n}
        # inner
        - name: o
          alias: p
  # prefix: commented
# third
- api-key: k3
# after the list
streaming:
   keepalive-seconds: 15
   # bootstrap-retries: 1
note: |
  # not a comment
    text

routing:
empty: []
# tail
"""


def changed(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    data = copy.deepcopy(parse(text)[0])
    change(data)
    result = rewrite(text, data)
    assert parse(result)[0] == data
    return result


def edits(change: Callable[[dict[str, Any]], object], text: str = FILE) -> list[str]:
    """The lines taken out (-) and put in (+)."""
    import difflib

    found = difflib.unified_diff(text.splitlines(), changed(text, change).splitlines(), n=0, lineterm="")
    return [line for line in found if not line.startswith(("---", "+++", "@@"))]


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (put("debug", value=True), ["-debug:   false", "+debug:   true"]),
        (put("port", value=1), ["-port: 8317   # the port", "+port: 1   # the port"]),
        (
            put("remote-management", "secret-key", value="$2b$10$abc"),
            [
                '-remote-management: {secret-key: "x", allow-remote: false}',
                '+remote-management: {secret-key: "$2b$10$abc", allow-remote: false}',
            ],
        ),
        (put("gemini-api-key", 0, "future", value="on"), ["-  future: 1", "+  future: 'on'"]),
        (put("gemini-api-key", 1, "models", 1, "alias", value="q"), ["-          alias: p", "+          alias: q"]),
        (
            lambda data: data["api-keys"].remove("b"),
            ["-api-keys: [\"a\", 'b', c]  # flow list", '+api-keys: ["a", c]  # flow list'],
        ),
        (
            lambda data: data["api-keys"].append("x, y"),
            ["-api-keys: [\"a\", 'b', c]  # flow list", "+api-keys: [\"a\", 'b', c, 'x, y']  # flow list"],
        ),
        (lambda data: data["streaming"].update({"x": 2}), ["+   x: 2"]),
        (put("routing", value={"strategy": "ff"}), ["+  strategy: ff"]),
        (put("empty", value=["q"]), ["-empty: []", "+empty:", "+- q"]),
        (put("streaming", value=3), ["-streaming:", "-   keepalive-seconds: 15", "+streaming: 3"]),
        (
            put("note", value="one\n# two"),
            ["-  # not a comment", "-    text", "-note: |", "+note: |-", "+  one", "+  # two"],
        ),
        (lambda data: data.pop("port"), ["-port: 8317   # the port"]),
        (
            lambda data: data["gemini-api-key"][0].pop("api-key"),
            ["-- api-key: k1    # key one", "-  future: 1", "+- future: 1"],
        ),
        (
            lambda data: data["gemini-api-key"].append({"api-key": "k4", "p": [1]}),
            ["+- api-key: k4", "+  p:", "+  - 1"],
        ),
        (lambda data: data["gemini-api-key"].insert(1, {"api-key": "n"}), ["+- api-key: n"]),
        (lambda data: data.update({"new": {"a": ["b"]}}), ["+new:", "+  a:", "+  - b"]),
    ],
)
def test_only_the_lines_that_must_change_do(change: Callable[[dict[str, Any]], object], lines: list[str]) -> None:
    assert sorted(edits(change)) == sorted(lines)


def test_comments_of_other_items_stay_when_the_middle_one_goes() -> None:
    result = changed(FILE, lambda data: data["gemini-api-key"].pop(1))
    assert "# first\n- api-key: k1    # key one\n  future: 1\n" in result
    assert "# third\n- api-key: k3\n# after the list\n" in result
    assert "# second" not in result


def test_comments_travel_with_their_items() -> None:
    result = changed(FILE, lambda data: data["gemini-api-key"].reverse())
    third, second, first = (result.index(f"# {name}\n- api-key") for name in ("third", "second", "first"))
    assert third < second < first
    assert "key one" in result


def test_an_emptied_list_stays_a_list() -> None:
    result = changed(FILE, lambda data: data["gemini-api-key"].clear())
    assert "gemini-api-key: []\n# after the list\n" in result


def test_equal_data_gives_the_same_text() -> None:
    assert changed(FILE, lambda data: None) == FILE


def test_one_and_true_are_different() -> None:
    assert rewrite("a: 1\n", {"a": True}) == "a: true\n"
    assert rewrite("a: 1\n", {"a": 1.0}) == "a: 1.0\n"


def test_quotes_are_kept() -> None:
    assert rewrite("a: 'x'\nb: \"y\"\nc: z\n", {"a": "it's", "b": "t\n", "c": "yes"}) == (
        "a: 'it''s'\nb: \"t\\n\"\nc: 'yes'\n"
    )


def test_windows_line_ends_are_kept() -> None:
    result = rewrite("a: 1\r\nl:\r\n  - x\r\n", {"a": 2, "l": ["x", "y"], "z": {"b": 1}})
    assert result == "a: 2\r\nl:\r\n  - x\r\n  - y\r\nz:\r\n  b: 1\r\n"


def test_a_missing_last_line_break_is_no_problem() -> None:
    assert rewrite("a: 1", {"a": 1, "b": 2}) == "a: 1\nb: 2"
    assert rewrite("l:\n  - 1", {"l": [1, 2]}) == "l:\n  - 1\n  - 2"


def test_empty_and_commented_files_grow() -> None:
    assert rewrite("", {"a": 1}) == "a: 1\n"
    assert rewrite("# only this", {"a": [1]}) == "# only this\na:\n  - 1\n"
    assert rewrite("{}", {"a": 1}) in ("{a: 1}", "{}\na: 1\n", "a: 1\n")


def test_new_keys_follow_the_order_of_the_settings() -> None:
    result = rewrite(
        "host: h\n# p\nport: 1\n", {"host": "h", "port": 1, "tls": {"enable": True}}, ("host", "tls", "port")
    )
    assert result == "host: h\ntls:\n  enable: true\n# p\nport: 1\n"


def test_aliases_are_replaced_where_they_are_used() -> None:
    text = "a: &x {k: 1}\nb: *x  # same\n"
    assert rewrite(text, {"a": {"k": 1}, "b": 2}) == "a: &x {k: 1}\nb: 2  # same\n"


def test_merged_keys_can_be_overridden_but_not_removed() -> None:
    text = "base: &b {x: 1}\nown:\n  <<: *b\n  y: 2\n"
    assert rewrite(text, {"base": {"x": 1}, "own": {"x": 5, "y": 2}}) == text + "  x: 5\n"
    with pytest.raises(ConfigError, match="merged"):
        rewrite(text, {"base": {"x": 1}, "own": {"y": 2}})


def test_a_value_used_in_two_places_is_not_changed_for_both() -> None:
    with pytest.raises(ConfigError, match="by hand"):
        rewrite("a: &x {k: 1}\nb: *x\n", {"a": {"k": 2}, "b": {"k": 1}})


def test_items_are_matched_by_what_identifies_them() -> None:
    old = [{"api-key": "k", "base-url": "1"}, {"api-key": "k", "base-url": "2"}, {"name": "n", "x": 1}]
    new = [{"api-key": "k", "base-url": "2", "p": 1}, {"name": "n", "x": 2}, {"api-key": "z"}]
    assert match_items(old, new)[:2] == [1, 2]


TEXTS = st.text("ab:#-'\"\n ,[]{}é\\%@!&*|>?1.0", max_size=8) | st.sampled_from(
    ["yes", "null", "", "1", "0x1", "=", "<<"]
)
SCALARS = st.booleans() | st.integers(-5, 5) | TEXTS | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcn:", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c", "name", "api-key", "x y"]), VALUES, max_size=4)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.booleans())
def test_any_document_becomes_any_other(old: dict[str, Any], new: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(old, default_flow_style=flow or None, allow_unicode=True, sort_keys=False)
    assert parse(rewrite(text, new))[0] == new


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_comments_and_all_other_bytes_survive_single_edits(data: st.DataObject) -> None:
    document, tree = parse(FILE)
    path: list[Any] = []
    node: Any = document
    spot: Any = tree.root
    while isinstance(node, dict | list) and node:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(range(len(node)))))
        path.append(key)
        node = node[key]
        spot = spot.items[key] if spot.kind == "list" else next(v for k, v in spot.pairs if k.value == key)
    if isinstance(node, dict | list) or node is None or path == ["note"]:
        return
    value = data.draw(SCALARS.filter(lambda v: not isinstance(v, str) or "\n" not in v))
    result = changed(FILE, put(*path, value=value))
    assert result.startswith(FILE[: spot.start])
    assert result.endswith(FILE[spot.end :])
