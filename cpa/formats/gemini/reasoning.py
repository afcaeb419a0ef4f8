"""Write how much a model shall think into ``generationConfig.thinkingConfig``."""

from __future__ import annotations

from typing import Any

from cpa.conversation.effort import ResolvedReasoning
from cpa.formats.gemini import fields
from cpa.formats.gemini.fields import Object, get


def write_thinking(body: Object, reasoning: ResolvedReasoning) -> Object:
    """The body with its thinking configuration as resolved; copy on write, the same object when nothing changes.

    A level and a budget exclude each other. ``includeThoughts`` is what the client wished, else whether there is
    anything to show.
    """
    if reasoning.action == "keep":
        return body
    config = get(body, "generationConfig")
    config = config if isinstance(config, dict) else {}
    if reasoning.action == "strip":
        stripped = fields.without(config, "thinkingConfig")
        return body if stripped is config else _with_config(body, stripped)
    old = get(config, "thinkingConfig")
    old = old if isinstance(old, dict) else {}
    new = {
        **fields.without(old, "thinkingLevel", "thinkingBudget", "includeThoughts"),
        **_thinking(reasoning, get(old, "includeThoughts")),
    }
    if new == old and "thinkingConfig" in config:
        return body
    return _with_config(body, {**fields.without(config, "thinkingConfig"), "thinkingConfig": new})


def _thinking(reasoning: ResolvedReasoning, asked: Any) -> Object:
    include = reasoning.include_thoughts
    if include is None and isinstance(asked, bool):
        include = asked
    match reasoning.action:
        case "off":
            if reasoning.level is not None:
                return {"includeThoughts": False, "thinkingLevel": reasoning.level}
            return {"includeThoughts": False, "thinkingBudget": reasoning.budget or 0}
        case "level":
            return {"includeThoughts": include is not False, "thinkingLevel": reasoning.level or "high"}
        case "auto":
            return {"includeThoughts": include is not False, "thinkingBudget": -1}
    budget = reasoning.budget or 0
    return {"includeThoughts": budget != 0 if include is None else include, "thinkingBudget": budget}


def _with_config(body: Object, config: Object) -> Object:
    """The body with this ``generationConfig``, in the place and spelling it had."""
    key = "generation_config" if "generation_config" in body and "generationConfig" not in body else "generationConfig"
    if config or key in body:
        return {**body, key: config}
    return body
