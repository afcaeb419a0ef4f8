"""``/prompt-rules``: rules that edit prompts. The plugin that runs them judges them, through ``cpa_check_config``."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec.structs import replace

from cpa.config.sections import PromptRule
from cpa.management.answers import Refusal
from cpa.management.checks import refuse_problems
from cpa.management.list_resource import ListResource
from cpa.management.lists import not_found, text
from cpa.management.route import Route, Schema
from cpa.management.services import Management

APPEND = "append"
_LOWER = ("target", "action", "position")
_TRIMMED = ("name", "marker")
_MEMBERS = ("name", "enabled", "models", "target", "action", "content", "marker", "position", "pattern")

_FORMATS = ("", "openai", "openai-response", "claude", "gemini", "gemini-cli")
RULE: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "enabled": {"type": "boolean"},
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "protocol": {"enum": list(_FORMATS)}},
            },
        },
        "target": {"enum": ["system", "user"]},
        "action": {"enum": ["inject", "strip"]},
        "content": {"type": "string", "description": "What is injected"},
        "marker": {"type": "string", "description": "Text by which an injection is recognised and not repeated"},
        "position": {"enum": ["prepend", "append", ""]},
        "pattern": {"type": "string", "maxLength": 1024, "description": "Regular expression of what is stripped"},
    },
    "required": ["name", "target", "action"],
}


class PromptRules(ListResource):
    """The list of rules."""

    key = "prompt-rules"
    appends = True
    item_schema = RULE

    def shown(self) -> list[Any]:
        """Every member spelled out."""
        return [_shown(rule) for rule in self.management.config.prompt_rules]

    def changed(self, known: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """The whole rule is replaced."""
        return _tidy_rule(value)

    def tidy(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rules that say only what they mean."""
        return [_tidy_rule(item) for item in items]

    def as_written(self, known: list[Any], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is injected stands behind unless something else is said; that need not be said."""
        silent = {text(rule.get("name")) for rule in known if isinstance(rule, dict) and not rule.get("position")}
        return [
            {name: value for name, value in item.items() if name != "position"}
            if item.get("name") in silent and item.get("position") == APPEND
            else item
            for item in items
        ]

    def refuse(self, items: list[dict[str, Any]]) -> None:
        """Let the plugin judge all of them."""
        checked = tuple(PromptRule.from_plain(rule) for rule in items)
        refuse_problems(self.management.plugins, replace(self.management.config, prompt_rules=checked))

    def without(self, items: list[Any], request: web.Request) -> list[Any]:
        """By name, or by an exact position."""
        name, index = text(request.query.get("name")), request.query.get("index", "").strip()
        if name:
            kept = [item for item in items if text(item.get("name")) != name]
            if len(kept) == len(items):
                raise not_found()
            return kept
        if not (index.isascii() and index.isdigit() and int(index[:9]) < len(items)):
            raise Refusal(400, "missing name or index")
        position = int(index[:9])
        return items[:position] + items[position + 1 :]


def _tidy_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule without members that say nothing; enumerated members trimmed and in lower case."""
    tidy = dict(rule)
    for name in (*_LOWER, *_TRIMMED):
        if isinstance(tidy.get(name), str):
            tidy[name] = tidy[name].strip()
    for name in _LOWER:
        if isinstance(tidy.get(name), str):
            tidy[name] = tidy[name].lower()
    return {name: value for name, value in tidy.items() if name == "enabled" or value not in ("", None, [])}


def _shown(rule: PromptRule) -> dict[str, Any]:
    shown = {name: getattr(rule, name) for name in _MEMBERS}
    position = rule.position or (APPEND if rule.action == "inject" else "")
    return {**shown, "position": position, "models": list(shown["models"] or ())}


def routes(management: Management) -> list[Route]:
    """The four routes."""
    return PromptRules(management).routes()
