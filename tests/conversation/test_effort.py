"""What a model is told of the effort a client asks for."""

from __future__ import annotations

import pytest

from cpa.conversation.effort import KEEP, ResolvedReasoning, parse_suffix, resolve
from cpa.conversation.models import ModelLimits, ThinkingSupport
from cpa.conversation.request import Reasoning
from cpa.errors import InvalidRequest

LEVELS = ("low", "medium", "high")


def limits(*, assumed: bool) -> ModelLimits:
    return ModelLimits(known=True, thinking=ThinkingSupport(levels=LEVELS, assumed=assumed))


def resolved(wish: Reasoning, suffix: str | None = None, *, client: str, assumed: bool = True) -> ResolvedReasoning:
    asked = parse_suffix(suffix) if suffix else None
    return resolve(wish, asked, limits(assumed=assumed), client_format=client, upstream_format="openai")


@pytest.mark.parametrize("level", ["minimal", "xhigh", "max", "none", "auto", "own-word"])
def test_an_effort_of_the_models_own_format_is_believed_where_nobody_said_what_it_takes(level: str) -> None:
    assert resolved(Reasoning("level", level=level), client="openai") == KEEP
    translated = resolved(Reasoning("level", level=level), client="openai-response")
    assert (translated.level or translated.action) == level


def test_a_declared_model_is_held_to_its_levels() -> None:
    with pytest.raises(InvalidRequest, match="valid levels: low, medium, high"):
        resolved(Reasoning("level", level="xhigh"), client="openai", assumed=False)


@pytest.mark.parametrize(("budget", "level"), [(500, "low"), (8192, "medium"), (64000, "high")])
def test_an_effort_of_another_format_is_brought_to_what_most_models_take(budget: int, level: str) -> None:
    for client in ("claude", "gemini"):
        assert resolved(Reasoning("budget", budget=budget), client=client).level == level


def test_a_suffix_is_passed_on_as_it_is() -> None:
    assert resolved(Reasoning(), "xhigh", client="openai").level == "xhigh"
    assert resolved(Reasoning(), "8192", client="openai").level == "medium"
    assert resolved(Reasoning(), "none", client="openai").level == "none"


@pytest.mark.parametrize(("client", "upstream"), [("openai", "codex"), ("openai-response", "openai")])
def test_an_effort_is_carried_between_the_two_formats_of_one_vendor(client: str, upstream: str) -> None:
    wish = Reasoning("level", level="high")
    found = resolve(wish, None, ModelLimits(), client_format=client, upstream_format=upstream)
    assert (found.action, found.level) == ("level", "high")
