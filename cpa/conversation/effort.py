"""Reasoning effort: from what the client asked to what a model accepts.

The decoders record what was asked and never convert it. :func:`resolve` decides, once per attempt, what the target
model is told; the codecs' ``write_reasoning`` only writes that down:

=========  ==========================================================================================
action     what a writer does
=========  ==========================================================================================
keep       leave the body alone; a translated request gets its format's default, if it has one
strip      remove every reasoning member: the model cannot think
off        claude: ``disabled``. gemini: no thoughts shown, ``level`` if set, else ``budget``.
           openai, codex: ``level`` (``none`` where the model allows it)
auto       claude: adaptive when ``level`` is None and ``adaptive``, else enabled without budget.
           gemini: budget -1. openai, codex: ``auto`` (only for a model nobody knows)
level      the level by its name; claude: adaptive with that effort
budget     that many tokens
=========  ==========================================================================================
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from cpa.conversation.models import LEVELS, ModelLimits, ThinkingSupport
from cpa.conversation.request import Reasoning
from cpa.errors import InvalidRequest

LEVEL_BUDGETS = {
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 128000,
}
"""Token budget that stands for a level."""

_THRESHOLDS = ((512, "minimal"), (1024, "low"), (8192, "medium"), (24576, "high"))
_FAMILIES = {
    "gemini": "gemini",
    "gemini-cli": "gemini",
    "openai": "openai",
    "openai-response": "openai",
    "codex": "openai",
}
_BODIES = {"gemini-cli": "gemini", "codex": "openai-response"}
"""Dialects that share the members of a format: what the client's body says is there already."""


class ResolvedReasoning(Struct, frozen=True):
    """What to write into an upstream body, see the table of this module."""

    action: Literal["keep", "strip", "off", "auto", "level", "budget"] = "keep"
    level: str | None = None
    budget: int | None = None
    include_thoughts: bool | None = None
    """The client's explicit wish to see thoughts (or not); None when it had none."""
    summary: str | None = None
    user_defined: bool = False
    """The model is not in the catalogue: write as is, without limits."""
    adaptive: bool = False
    """The model sets its effort by level (Claude ``thinking.type: adaptive``)."""


KEEP = ResolvedReasoning()


def split_suffix(model: str) -> tuple[str, str | None]:
    """``gpt-5(high)`` gives ``("gpt-5", "high")``; a name without suffix ``(name, None)``."""
    if not model.endswith(")"):
        return model, None
    base, bracket, content = model.rpartition("(")
    return (base, content[:-1]) if bracket and base else (model, None)


def split_reasoning(model: str) -> tuple[str, str | None]:
    """Like ``split_suffix``, but what asks for no reasoning is a part of the name."""
    base, suffix = split_suffix(model)
    return (base, suffix) if suffix is not None and parse_suffix(suffix) is not None else (model, None)


def parse_suffix(text: str) -> Reasoning | None:
    """The reasoning a suffix asks for: ``none``, ``auto``, a level or a number of tokens; None for anything else."""
    word = text.lower()
    if word in ("none", "0"):
        return Reasoning("off")
    if word in ("auto", "-1"):
        return Reasoning("auto")
    if word in LEVELS:
        return Reasoning("level", level=word)
    if word.removeprefix("+").isascii() and word.removeprefix("+").isdigit() and len(word) <= 18:
        budget = int(word)
        return Reasoning("budget", budget=budget) if budget else Reasoning("off")
    return None


def level_of_budget(budget: int) -> str:
    """The level that stands for a positive token budget."""
    return next((level for limit, level in _THRESHOLDS if budget <= limit), "xhigh")


def nearest_level(level: str, supported: tuple[str, ...]) -> str | None:
    """The supported level nearest to ``level``, the lower of two equally near ones; None when none can be compared."""
    ranked = [name for name in supported if name in LEVELS]
    if level not in LEVELS or not ranked:
        return None
    wanted = LEVELS.index(level)
    return min(ranked, key=lambda name: (abs(LEVELS.index(name) - wanted), LEVELS.index(name)))


def family_of_format(name: str) -> str:
    """Formats of one family judge a wrong effort strictly; between families it is brought to the nearest one."""
    return _FAMILIES.get(name, name)


def resolve(
    reasoning: Reasoning,
    suffix: Reasoning | None,
    limits: ModelLimits,
    *,
    client_format: str,
    upstream_format: str,
) -> ResolvedReasoning:
    """Decide what the model is told.

    ``reasoning`` is what the body asks, ``suffix`` what the model name asks; the suffix wins. Raises InvalidRequest
    when a client of the model's own family asks for an effort the model does not have.
    """
    resolved = _Resolver(reasoning, suffix, limits, client_format, upstream_format).resolve()
    if reasoning.include_thoughts is None and reasoning.summary is None:
        return resolved
    return replace(resolved, include_thoughts=reasoning.include_thoughts, summary=reasoning.summary)


class _Resolver:
    """One decision, step by step."""

    def __init__(
        self,
        body: Reasoning,
        suffix: Reasoning | None,
        limits: ModelLimits,
        client_format: str,
        upstream_format: str,
    ) -> None:
        self._from_suffix = suffix is not None
        self._wish = suffix or body
        self._limits = limits
        self._source = family_of_format(client_format)
        self._target = family_of_format(upstream_format)
        self._same = self._source == self._target
        self._native = _BODIES.get(client_format, client_format) == _BODIES.get(upstream_format, upstream_format)

    def resolve(self) -> ResolvedReasoning:
        if not self._limits.known:
            return self._for_unknown_model()
        support = self._limits.thinking
        if support is None:
            return ResolvedReasoning("strip")
        if support.assumed and self._same:
            return self._for_unknown_model()
        adaptive = bool(support.levels)
        wish = self._wish
        if wish.adaptive and wish.mode in ("unset", "auto"):
            return self._open_adaptive(support)
        match wish.mode:
            case "unset":
                return KEEP
            case "off":
                resolved = self._off(support)
            case "auto":
                resolved = self._auto(support)
            case "level":
                resolved = self._level(wish.level or "", support)
            case "budget":
                resolved = self._budget(wish.budget or 0, support)
        return replace(resolved, adaptive=adaptive)

    def _open_adaptive(self, support: ThinkingSupport) -> ResolvedReasoning:
        """Claude's ``adaptive`` without an effort: as much as the model sees fit."""
        if self._same:
            return KEEP
        if support.levels:
            wanted = "high" if self._target == "gemini" else "xhigh"
            return ResolvedReasoning("level", level=nearest_level(wanted, support.levels))
        return ResolvedReasoning("budget", budget=support.max)

    def _off(self, support: ThinkingSupport) -> ResolvedReasoning:
        if self._target == "claude":
            return ResolvedReasoning("off")
        budget = None
        if support.has_budget:
            budget = 0 if support.zero_allowed else support.min
        level = None
        if support.levels and (not support.has_budget or budget):
            can_be_none = "none" in support.levels or (support.zero_allowed and self._target == "openai")
            level = "none" if can_be_none else support.levels[0]
        return ResolvedReasoning("off", level=level, budget=budget)

    def _auto(self, support: ThinkingSupport) -> ResolvedReasoning:
        if support.dynamic_allowed:
            return ResolvedReasoning("auto")
        if self._target == "claude" and support.levels:
            return ResolvedReasoning("auto" if self._same else "level", level=None if self._same else "high")
        if support.levels and not support.has_budget:
            return ResolvedReasoning("level", level=nearest_level("medium", support.levels))
        middle = (support.min + support.max) // 2
        if middle > 0:
            return ResolvedReasoning("budget", budget=middle)
        return self._off(support) if support.zero_allowed else ResolvedReasoning("budget", budget=support.min)

    def _level(self, level: str, support: ThinkingSupport) -> ResolvedReasoning:
        level = level.lower()
        if level == "none":
            return self._off(support)
        if level == "auto":
            return self._auto(support)
        if not support.levels:
            if level not in LEVEL_BUDGETS:
                raise InvalidRequest(f"unknown level: {level}")
            return ResolvedReasoning("budget", budget=_clamp(LEVEL_BUDGETS[level], support))
        if level in support.levels:
            return ResolvedReasoning("level", level=level)
        nearest = None if self._same else self._nearest(level, support)
        if nearest is None:
            valid = ", ".join(support.levels)
            raise InvalidRequest(f'level "{level}" not supported, valid levels: {valid}')
        return ResolvedReasoning("level", level=nearest)

    def _nearest(self, level: str, support: ThinkingSupport) -> str | None:
        """The model's word for a level of another family. Claude's top effort is ``max``, where it has one."""
        if self._target == "claude" and level in ("xhigh", "max") and "max" in support.levels:
            return "max"
        return nearest_level(level, support.levels)

    def _budget(self, budget: int, support: ThinkingSupport) -> ResolvedReasoning:
        if budget == 0:
            return self._off(support)
        if budget == -1:
            return self._auto(support)
        if not support.has_budget:
            if budget < -1:
                raise InvalidRequest(f"budget {budget} cannot be converted to a valid level")
            return ResolvedReasoning("level", level=nearest_level(level_of_budget(budget), support.levels))
        if self._target == "claude" and support.levels and self._source == "gemini" and not self._from_suffix:
            wanted = level_of_budget(budget)
            level = wanted if wanted in support.levels else self._nearest(wanted, support)
            return ResolvedReasoning("level", level=level)
        outside = not support.min <= budget <= support.max
        if outside and self._same and not self._from_suffix:
            raise InvalidRequest(f"budget {budget} out of range [{support.min},{support.max}]")
        return ResolvedReasoning("budget", budget=_clamp(budget, support))

    def _for_unknown_model(self) -> ResolvedReasoning:
        """Nobody knows what the model accepts: the wish in the target's terms, without limits."""
        wish = self._wish
        if wish.mode == "unset" and not (wish.adaptive and not self._same):
            return KEEP
        if self._native and not self._from_suffix:
            return KEEP
        if wish.adaptive and wish.mode in ("unset", "auto"):
            wish = Reasoning("level", level="xhigh")
        by_level = self._target == "openai"
        match wish.mode:
            case "off":
                return ResolvedReasoning("off", level="none" if by_level else None, budget=0, user_defined=True)
            case "level" if (wish.level or "").lower() in ("none", "auto"):
                off = (wish.level or "").lower() == "none"
                return ResolvedReasoning(
                    "off" if off else "auto", level="none" if off else None, budget=0, user_defined=True
                )
            case "level" if by_level or wish.level not in LEVEL_BUDGETS:
                return ResolvedReasoning("level", level=wish.level, user_defined=True)
            case "level":
                return ResolvedReasoning("budget", budget=LEVEL_BUDGETS[wish.level or ""], user_defined=True)
            case "budget" if by_level and (wish.budget or 0) > 0:
                return ResolvedReasoning("level", level=level_of_budget(wish.budget or 0), user_defined=True)
            case "budget" if (wish.budget or 0) > 0:
                return ResolvedReasoning("budget", budget=wish.budget, user_defined=True)
            case "budget" if wish.budget == 0:
                return ResolvedReasoning("off", level="none" if by_level else None, budget=0, user_defined=True)
        return ResolvedReasoning("auto", user_defined=True)


def _clamp(budget: int, support: ThinkingSupport) -> int:
    return max(support.min, min(budget, support.max))
