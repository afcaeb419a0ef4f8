"""Payload rules, compiled: for which requests, which paths and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from msgspec import Struct

from cpa.conversation.effort import split_suffix
from cpa.plugins import UpstreamRequest
from cpa_payload_rules import paths

Object = dict[str, Any]
Accepts = Callable[["Context", Object], bool]
MOST_NAMES = 1024
"""Different requests, by models and protocols, for which it is remembered which rules are for them."""

_PROTOCOLS = {"gemini-cli": "gemini"}
_CLIENT_PROTOCOLS = {"openai-response": "responses", "openai-responses": "responses", "response": "responses"}


class Context:
    """What rules ask of a request."""

    def __init__(self, request: UpstreamRequest) -> None:
        base, suffix = split_suffix(request.requested_model)
        names = [request.model, base] + ([request.requested_model] if suffix is not None else [])
        self.models = list({name.lower(): name for name in reversed(names)}.values())
        self.protocol = _PROTOCOLS.get(request.upstream_format, request.upstream_format)
        self.client = _CLIENT_PROTOCOLS.get(request.client_format, request.client_format)
        self.headers = request.client_headers

    @property
    def names(self) -> tuple[str, ...]:
        """What does not differ between requests for the same model."""
        return (self.protocol, self.client, *self.models)


class Entry(Struct):
    """One model entry of a rule."""

    names: Callable[[Context], bool]
    """Whether it is for these models and protocols."""
    rest: Accepts
    """Whether it is for these headers and, where it asks so, for the body as it is now."""


class Rule(Struct):
    """One rule: matches when any of its model entries does."""

    entries: list[Entry]
    params: list[tuple[str, Any]]
    """(path, value) in the order of the file."""

    def matches(self, context: Context, body: Object) -> bool:
        """Whether one of its entries is for this request; their names are known to be right."""
        return any(entry.rest(context, body) for entry in self.entries)


class Group:
    """Rules in their order. Those for other models cost nothing once a model was asked for."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._known: dict[tuple[str, ...], list[Rule]] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def candidates(self, context: Context) -> list[Rule]:
        """The rules, with those of their entries alone, that are for the models and protocols of a request."""
        found = self._known.get(context.names)
        if found is None:
            if len(self._known) >= MOST_NAMES:
                self._known.clear()
            found = self._known[context.names] = [
                Rule(entries, rule.params)
                for rule in self._rules
                if (entries := [entry for entry in rule.entries if entry.names(context)])
            ]
        return found


def compile_group(name: str, rules: Iterable[Any], problems: list[str], *, raw: bool = False) -> list[Rule]:
    """The rules of one group. A rule without models matches nothing."""
    compiled = []
    for index, rule in enumerate(rules):
        params = _params(f"payload.{name}[{index}]", rule.params, problems, raw)
        entries = [_entry(model) for model in rule.models if model.name.strip()]
        if params and entries:
            compiled.append(Rule(entries, params))
    return compiled


def _params(place: str, params: Any, problems: list[str], raw: bool) -> list[tuple[str, Any]]:
    if not isinstance(params, dict):
        return [(str(path).removeprefix("."), None) for path in params]
    found = []
    for path, value in params.items():
        if raw:
            if value is None:
                continue
            if isinstance(value, str):
                try:
                    value = orjson.loads(value)
                except orjson.JSONDecodeError:
                    problems.append(f"{place}.params.{path}: not valid JSON, the value is left out")
                    continue
        found.append((str(path).removeprefix("."), value))
    return found


def _entry(model: Any) -> Entry:
    name = _glob(model.name.strip())
    protocol = model.protocol.strip().lower()
    client = model.from_protocol.strip().lower()
    client = _CLIENT_PROTOCOLS.get(client, client)
    headers = {key: _glob(str(value)) for key, value in model.headers.items()}
    wanted, unwanted = _pairs(model.match), _pairs(model.not_match)

    def names(context: Context) -> bool:
        return (
            (not protocol or protocol == context.protocol)
            and any(name(candidate) for candidate in context.models)
            and (not client or client == context.client)
        )

    def rest(context: Context, body: Object) -> bool:
        return (
            all(accept(context.headers.get(key, "")) for key, accept in headers.items())
            and all(paths.get(body, path) == value for path, value in wanted)
            and not any(paths.get(body, path) == value for path, value in unwanted)
            and all(paths.get(body, path) not in (paths.MISSING, None) for path in model.exist)
            and not any(paths.get(body, path) not in (paths.MISSING, None) for path in model.not_exist)
        )

    return Entry(names, rest)


def _pairs(entries: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(str(path), value) for entry in entries if isinstance(entry, dict) for path, value in entry.items()]


def _glob(pattern: str) -> Callable[[str], bool]:
    """Whole-string match in which only ``*`` is special; case counts."""
    compiled = re.compile(".*".join(re.escape(piece) for piece in pattern.split("*")), re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None
