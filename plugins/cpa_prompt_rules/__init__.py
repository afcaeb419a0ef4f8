"""Prompt rules: edit the system text and the last user message of requests by rule.

Rules stand in the configuration's ``prompt-rules``; see ``docs/rules.md``. They run once per request, in the client's
format, before translation; not for compacting and images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from cpa.config import Config
from cpa.plugins import ClientRequest, described, hookimpl
from cpa_prompt_rules.rules import Rule, compile_rules
from cpa_prompt_rules.targets import TARGETS, Target

if TYPE_CHECKING:
    from aiohttp import web

Object = dict[str, Any]

LARGEST_BODY = 4 * 1024 * 1024
"""Bytes of a question about rules."""
MOST_MODELS = 1024
"""For so many models and formats it is remembered which rules are for them."""


class PromptRules:
    """The plugin."""

    def __init__(self) -> None:
        self._rules: tuple[Rule, ...] = ()
        self._matching = _remembered(())
        """The rules for a format and a model."""
        self._sources: list[Mapping[str, Any]] = []
        self.problems: list[str] = []
        """Why rules of the present configuration were left out."""

    @hookimpl
    def cpa_configure(self, config: Config) -> None:
        """Compile the rules; one that is wrong, or repeats a name, is left out."""
        self._sources = [_plain(rule) for rule in config.prompt_rules]
        rules, self.problems = compile_rules(self._sources)
        self._rules = tuple(rule for rule in rules if rule.enabled)
        self._matching = _remembered(self._rules)

    @hookimpl
    def cpa_check_config(self, config: Config) -> list[str]:
        """What is wrong with the rules of a configuration."""
        return compile_rules([_plain(rule) for rule in config.prompt_rules])[1]

    @hookimpl
    def cpa_management_routes(self, router: web.UrlDispatcher) -> None:
        """``POST /prompt-rules/dry-run``: what rules would do to a body."""
        router.add_post("/prompt-rules/dry-run", self._dry_run)

    @described(
        "What prompt rules would do to a body",
        body={
            "type": "object",
            "properties": {
                "body": {"type": "object", "description": "A request in the client's format"},
                "format": {"enum": sorted(TARGETS), "description": "openai unless told"},
                "model": {"type": "string"},
                "rules": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "Rules to try; those in force unless told",
                },
            },
            "required": ["body"],
        },
        answer={
            "type": "object",
            "properties": {
                "matching": {"type": "array", "items": {"type": "string"}},
                "problems": {"type": "array", "items": {"type": "string"}},
                "body": {"type": "object"},
            },
            "required": ["matching", "problems", "body"],
        },
    )
    async def _dry_run(self, request: web.Request) -> web.Response:
        from aiohttp import web

        try:
            asked = orjson.loads(await _content(request))
            rules, body = asked.get("rules", list(self._sources)), asked["body"]
            if not isinstance(body, dict) or not isinstance(rules, list):
                raise TypeError
            rules = [{"enabled": True, **rule} for rule in rules]
            told = explain(rules, str(asked.get("format", "openai")), str(asked.get("model", "")), body)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            error = "expected an object with body, and optionally rules, format and model"
            return web.json_response({"error": "invalid body", "message": error}, status=400)
        return web.json_response(told)

    @hookimpl
    def cpa_edit_request(self, request: ClientRequest, body: Object) -> Object | None:
        """The edited body, None when no rule changes it."""
        if not self._rules or request.operation in ("compact", "images"):
            return None
        matching = self._matching(request.format, request.model)
        edited = apply(matching, request.format, body) if matching else body
        return None if edited is body else edited


async def _content(request: web.Request) -> bytes:
    from aiohttp import web

    content = bytearray()
    async for chunk in request.content.iter_chunked(65536):
        content += chunk
        if len(content) > LARGEST_BODY:
            raise web.HTTPRequestEntityTooLarge(LARGEST_BODY, len(content))
    return bytes(content)


def _plain(rule: Any) -> Mapping[str, Any]:
    if isinstance(rule, Mapping):
        return rule
    return {name: getattr(rule, name) for name in Rule.SOURCE_FIELDS}


def _remembered(rules: tuple[Rule, ...]) -> Callable[[str, str], tuple[Rule, ...]]:
    """Finds the rules for a format and a model; those of others cost nothing once a model was asked for."""
    return lru_cache(maxsize=MOST_MODELS)(
        lambda format_name, model: tuple(rule for rule in rules if rule.matches(format_name, model))
    )


def apply(matching: tuple[Rule, ...], format_name: str, body: Object) -> Object:
    """The body after all strips and then all injections of rules that match, in list order; copy on write."""
    target = TARGETS.get(format_name)
    if target is None:
        return body
    for rule in matching:
        if rule.action == "strip":
            body = _strip(target, rule, body)
    for rule in matching:
        if rule.action == "inject":
            body = _inject(target, rule, body)
    return body


def explain(rules: list[Mapping[str, Any]], format_name: str, model: str, body: Object) -> dict[str, Any]:
    """What rules would do to a body: which match, what is wrong with others, the edited body."""
    compiled, problems = compile_rules(rules)
    matching = tuple(rule for rule in compiled if rule.enabled and rule.matches(format_name, model))
    return {
        "matching": [rule.name for rule in matching],
        "problems": problems,
        "body": apply(matching, format_name, body),
    }


def _strip(target: Target, rule: Rule, body: Object) -> Object:
    return target.strip_system(body, rule.strip) if rule.target == "system" else target.strip_user(body, rule.strip)


def _inject(target: Target, rule: Rule, body: Object) -> Object:
    return target.inject_system(body, rule) if rule.target == "system" else target.inject_user(body, rule)


def create_plugin() -> PromptRules:
    """The plugin object."""
    return PromptRules()
