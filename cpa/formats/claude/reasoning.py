"""Thinking in Messages bodies: written as resolved, and kept consistent with the rest. Copy on write."""

from __future__ import annotations

from cpa.conversation.effort import ResolvedReasoning
from cpa.conversation.models import ModelLimits
from cpa.formats.claude.fields import Object, an_object, without

DEFAULT_MAX_TOKENS = 32_000
LEAST_BUDGET = 1024


def write_reasoning(body: Object, reasoning: ResolvedReasoning, limits: ModelLimits) -> Object:
    """The body with ``thinking`` and ``output_config.effort`` as resolved."""
    match reasoning.action:
        case "keep":
            return body
        case "strip":
            return _without_effort(without(body, "thinking"))
        case "off":
            return {**_without_effort(body), "thinking": {"type": "disabled"}}
        case "level" if reasoning.level is not None:
            config = {**an_object(body.get("output_config")), "effort": reasoning.level}
            return {**body, "thinking": _thinking(body, {"type": "adaptive"}), "output_config": config}
        case "auto":
            kind = "adaptive" if reasoning.adaptive else "enabled"
            return {**_without_effort(body), "thinking": _thinking(body, {"type": kind})}
    return _with_budget(_without_effort(body), reasoning, limits)


def _thinking(body: Object, thinking: Object) -> Object:
    """What the client said of showing the thoughts stays."""
    display = an_object(body.get("thinking")).get("display")
    return {**thinking, "display": display} if display is not None else thinking


def _with_budget(body: Object, reasoning: ResolvedReasoning, limits: ModelLimits) -> Object:
    """A budget must stay below ``max_tokens``; where no room is left for the least one, thinking is off."""
    budget = reasoning.budget or LEAST_BUDGET
    if not reasoning.user_defined:
        limit = body.get("max_tokens")
        if not isinstance(limit, int) or limit <= 0:
            limit = limits.max_output_tokens or DEFAULT_MAX_TOKENS
            body = {**body, "max_tokens": limit}
        budget = min(budget, limit - 1)
        least = limits.thinking.min if limits.thinking is not None else LEAST_BUDGET
        if budget < least:
            return {**body, "thinking": {"type": "disabled"}}
    return {**body, "thinking": _thinking(body, {"type": "enabled", "budget_tokens": budget})}


def _without_effort(body: Object) -> Object:
    config = an_object(body.get("output_config"))
    if "effort" not in config:
        return body
    rest = without(config, "effort")
    return {**body, "output_config": rest} if rest else without(body, "output_config")


def consistent(body: Object) -> Object:
    """What Anthropic refuses together is taken apart: forced tools and thinking, thinking and sampling."""
    choice = an_object(body.get("tool_choice")).get("type")
    if choice in ("any", "tool"):
        body = _without_effort(without(body, "thinking"))
    thinking = an_object(body.get("thinking")).get("type")
    if thinking in ("enabled", "adaptive", "auto"):
        if body.get("temperature") not in (None, 1):
            body = without(body, "temperature")
        top_p = body.get("top_p")
        if isinstance(top_p, int | float) and top_p < 0.95:
            body = without(body, "top_p")
        body = without(body, "top_k")
    elif "context_management" in body:
        body = _without_thinking_edits(body)
    return body


def _without_thinking_edits(body: Object) -> Object:
    """Edits that clear thinking need thinking."""
    management = an_object(body.get("context_management"))
    edits = management.get("edits")
    if not isinstance(edits, list):
        return body
    kept = [edit for edit in edits if not str(an_object(edit).get("type", "")).startswith("clear_thinking")]
    if len(kept) == len(edits):
        return body
    if kept:
        return {**body, "context_management": {**management, "edits": kept}}
    return without(body, "context_management")
