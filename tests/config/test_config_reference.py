"""The documentation names every key of the configuration, and no other."""

from __future__ import annotations

import os
import types
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpa.config import Config
from cpa.config.schema import section_in
from cpa.config.section import Section, Setting, fields_of

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- keys -->\n", "<!-- end of keys -->\n"
HEAD = ("| key | type | default |", "| --- | --- | --- |")
PLAIN = {str: "text", int: "whole number", float: "number", bool: "true/false", Path: "path", type(None): "nothing"}
SHARED = {
    "HeaderDefaults": (
        "Header defaults",
        "`user-agent` counts for Claude, Codex and Kimi; the rest is read for the sake of old files.",
    ),
    "KeyEntry": ("An account with a key", "One entry of `claude-api-key` and its sisters."),
    "ModelEntry": ("A model", "One entry of `models` of an account."),
    "ErrorRule": ("A rule for errors", "See [routing](routing.md#when-an-attempt-fails)."),
    "TimeoutsSection": ("Time limits", "In seconds; 0 is no limit. What an account leaves out is as for all."),
    "PayloadRule": ("A payload rule", "See [rules](rules.md#payload-rules)."),
}
"""Sections that stand in several places -> the heading of their table, and what is to be said of them."""


def words(annotation: Any) -> str:
    """The type of a value, for people."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, Section):
            title = SHARED.get(annotation.__name__, ("",))[0]
            return f"[{title[0].lower()}{title[1:]}](#{title.lower().replace(' ', '-')})" if title else "section"
        return PLAIN.get(annotation, "any")
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return words(parts[0])
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        return f"list of {words(parts[0])}"
    if origin is dict:
        return f"mapping to {words(parts[1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(part) for part in parts)
    return "any"


def default(setting: Setting) -> str:
    """A key's default, when there is something to show."""
    value = setting.written_default
    shown = isinstance(value, bool | int | float | Path) or (isinstance(value, str) and value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if shown else ""


def path_inside(key: str, annotation: Any) -> str:
    """How the keys of the section in a value are reached."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is dict:
        return path_inside(f"{key}.NAME", parts[1])
    return f"{key}[]" if origin is tuple else key


def rows(model: type[Section], above: str = "") -> Iterator[str]:
    """The lines of a section, with those of the sections in it that stand nowhere else."""
    for key, field in fields_of(model).items():
        here = f"{above}{key}"
        yield f"| `{here}` | {words(field.annotation)} | {default(field)} |"
        inner = section_in(field.annotation)
        if inner is not None and inner.__name__ not in SHARED:
            yield from rows(inner, f"{path_inside(here, field.annotation)}.")


def sections(model: type[Section]) -> Iterator[type[Section]]:
    """Every section below a model, as often as it stands there."""
    for field in fields_of(model).values():
        if (inner := section_in(field.annotation)) is not None:
            yield inner
            yield from sections(inner)


def tables() -> str:
    """Markdown: all keys, then each section that stands in several places."""
    found = {section.__name__: section for section in sections(Config)}
    lines = [*HEAD, *rows(Config), ""]
    for name, (title, said) in SHARED.items():
        lines += [f"### {title}", "", said, "", *HEAD, *rows(found[name]), ""]
    return "\n".join(lines)


def test_the_page_lists_the_keys_that_are_read() -> None:
    """With ``CPA_WRITE_DOCS`` set the page is brought up to date instead."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    listed, _, tail = rest.partition(END)
    if os.environ.get("CPA_WRITE_DOCS"):
        PAGE.write_text(f"{head}{BEGIN}\n{tables()}\n{END}{tail}")
        return
    assert listed.strip() == tables().strip(), "run this test with CPA_WRITE_DOCS=1"


def test_what_stands_in_several_places_is_told_once() -> None:
    often = {name for name, times in Counter(section.__name__ for section in sections(Config)).items() if times > 1}
    inside_shared = {"Thinking", "RuleModel"}
    assert often - inside_shared == set(SHARED)
