"""Payload rules: set or remove members of upstream bodies by model, and take out image generation.

Rules stand in the configuration's ``payload``; see ``docs/rules.md``. They run after translation, on the body in the
upstream's format; what a provider insists on is set afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cpa.config import Config
from cpa.plugins import UpstreamRequest, hookimpl
from cpa_payload_rules import paths
from cpa_payload_rules.images import without_image_generation
from cpa_payload_rules.rules import Context, Group, compile_group

Object = dict[str, Any]
ENVELOPES = frozenset({"gemini-cli", "antigravity"})
"""Formats whose paths begin below ``request``."""


class PayloadRules:
    """The plugin."""

    def __init__(self) -> None:
        self._defaults = self._overrides = self._filters = Group([])
        self.problems: list[str] = []

    @hookimpl
    def cpa_configure(self, config: Config) -> None:
        """Compile the rules; a raw value that is no JSON is left out."""
        payload = config.payload
        self.problems = []
        problems = self.problems
        self._defaults = Group(
            compile_group("default", payload.default, problems)
            + compile_group("default-raw", payload.default_raw, problems, raw=True)
        )
        self._overrides = Group(
            compile_group("override", payload.override, problems)
            + compile_group("override-raw", payload.override_raw, problems, raw=True)
        )
        self._filters = Group(compile_group("filter", payload.filter, problems))

    @hookimpl
    def cpa_edit_upstream_request(self, request: UpstreamRequest, original: Callable[[], Object]) -> None:
        """Apply image stripping, defaults, overrides and filters, in this order."""
        wrapped = request.upstream_format in ENVELOPES
        inner = request.body.get("request") if wrapped else request.body
        body: Object = inner if isinstance(inner, dict) else {}
        edited = without_image_generation(body, request)
        if self._defaults or self._overrides or self._filters:
            edited = self._apply(edited, request, original, wrapped)
        if edited is not body:
            request.body = {**request.body, "request": edited} if wrapped else edited

    def _apply(self, body: Object, request: UpstreamRequest, original: Callable[[], Object], wrapped: bool) -> Object:
        context = Context(request)
        defaults = [rule for rule in self._defaults.candidates(context) if rule.matches(context, body)]
        if defaults:
            pristine = original()
            if wrapped:
                pristine = pristine.get("request", {})
            done: set[str] = set()
            for rule in defaults:
                for path, value in rule.params:
                    if path not in done and paths.get(pristine, path) is paths.MISSING:
                        done.add(path)
                        body = paths.set_value(body, path, value)
        for rule in self._overrides.candidates(context):
            if rule.matches(context, body):
                for path, value in rule.params:
                    body = paths.set_value(body, path, value)
        for rule in self._filters.candidates(context):
            if rule.matches(context, body):
                for path, _ in rule.params:
                    body = paths.delete(body, path)
        return body


def create_plugin() -> PayloadRules:
    """The plugin object."""
    return PayloadRules()
