"""One rule: validation, model matching."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from cpa.plugins import compile_pattern

PROTOCOLS = frozenset({"", "openai", "openai-response", "claude", "gemini", "gemini-cli", "interactions"})
LONGEST_PATTERN = 1024
LONGEST_CONTENT = 256 * 1024


class Rule:
    """A valid rule, compiled."""

    SOURCE_FIELDS: ClassVar = (
        "name", "enabled", "models", "target", "action", "content", "marker", "position", "pattern",
    )  # fmt: skip

    def __init__(self, source: Mapping[str, Any]) -> None:
        """Raises ValueError with the reason when the rule is wrong."""
        self.name = _text(source, "name").strip()
        self.enabled = source.get("enabled") is True
        self.target = _text(source, "target").strip().lower()
        self.action = _text(source, "action").strip().lower()
        self.content = _text(source, "content")
        self.marker = _text(source, "marker").strip()
        self.position = _text(source, "position").strip().lower()
        pattern = _text(source, "pattern")
        self._models = [_model(entry) for entry in source.get("models") or ()]
        self._validate(pattern)
        self._pattern: Any = _compiled(pattern) if self.action == "strip" else None
        self.position = self.position or "append"

    def _validate(self, pattern: str) -> None:
        if not self.name:
            raise ValueError("name is required")
        for index, (_, protocol, _) in enumerate(self._models):
            if protocol not in PROTOCOLS:
                raise ValueError(f'models[{index}].protocol "{protocol}" is not a recognized source format')
        if self.target not in ("system", "user"):
            raise ValueError(f'invalid target "{self.target}" (expected "system" or "user")')
        match self.action:
            case "inject":
                self._validate_inject(pattern)
            case "strip":
                self._validate_strip(pattern)
            case _:
                raise ValueError(f'invalid action "{self.action}" (expected "inject" or "strip")')

    def _validate_inject(self, pattern: str) -> None:
        if not self.content:
            raise ValueError("content is required for inject")
        if len(self.content) > LONGEST_CONTENT:
            raise ValueError(f"content exceeds {LONGEST_CONTENT} characters")
        if self.position not in ("", "append", "prepend"):
            raise ValueError(f'invalid position "{self.position}" (expected "append" or "prepend")')
        if pattern:
            raise ValueError("pattern must be empty for inject")

    def _validate_strip(self, pattern: str) -> None:
        if not pattern:
            raise ValueError("pattern is required for strip")
        size = len(pattern.encode())
        if size > LONGEST_PATTERN:
            raise ValueError(f"pattern length {size} exceeds max {LONGEST_PATTERN}")
        _compiled(pattern)
        if self.content or self.marker:
            raise ValueError("content and marker must be empty for strip")

    def matches(self, format_name: str, model: str) -> bool:
        """Whether the rule is for this model (with or without its suffix) in this format; no models is all."""
        if not self._models:
            return True
        base = model.rpartition("(")[0] if model.endswith(")") and "(" in model else model
        return any(
            (not protocol or protocol == format_name) and (accepts(model) or accepts(base))
            for _, protocol, accepts in self._models
        )

    def strip(self, text: str) -> str:
        """The text without every match of the pattern."""
        return str(self._pattern.sub("", text))


def _compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except ValueError as fault:
        raise ValueError(f"invalid regex: {fault}") from None


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)


def _model(entry: Any) -> tuple[str, str, Any]:
    """(name, protocol, whether a model name is accepted); only ``*`` is special, case counts."""
    get = entry.get if isinstance(entry, Mapping) else lambda name: getattr(entry, name, "")
    name = str(get("name") or "").strip()
    protocol = str(get("protocol") or "").strip().lower()
    pattern = re.compile(".*".join(re.escape(piece) for piece in name.split("*")), re.DOTALL)
    return name, protocol, (lambda model: bool(name) and pattern.fullmatch(model) is not None)


def compile_rules(sources: list[Mapping[str, Any]]) -> tuple[list[Rule], list[str]]:
    """The valid rules, and why others were left out. The first of two equal names counts."""
    rules: list[Rule] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for index, source in enumerate(sources):
        name = _text(source, "name").strip()
        try:
            rule = Rule(source)
            if rule.name in seen:
                raise ValueError(f"duplicate name (also at index {seen[rule.name]})")
        except ValueError as fault:
            problems.append(f'prompt-rules[{index}] "{name}": {fault}')
            continue
        seen[rule.name] = index
        rules.append(rule)
    return rules, problems


def validate(sources: list[Mapping[str, Any]]) -> str | None:
    """The first problem of a list, None when all rules are valid."""
    _, problems = compile_rules(sources)
    return problems[0] if problems else None
