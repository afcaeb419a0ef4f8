"""Payload rules: what is set and removed in which upstream body."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from multidict import CIMultiDict

from cpa.config import Config
from cpa.config.load import load_text
from cpa.plugins import Account, UpstreamRequest
from cpa_payload_rules import PayloadRules
from cpa_payload_rules.rules import Context, Entry, Group, Rule


def edit(
    payload: str,
    body: dict[str, Any],
    *,
    original: dict[str, Any] | None = None,
    model: str = "gpt-5",
    requested: str = "gpt-5",
    upstream: str = "openai",
    client: str = "openai",
    **headers: str,
) -> dict[str, Any]:
    """The body after rules written as in the configuration."""
    config = load_text(f"payload:\n{payload}", environ={}).config
    plugin = PayloadRules()
    plugin.cpa_configure(config=config)
    assert plugin.problems == []
    before = copy.deepcopy(body)
    request = UpstreamRequest(
        account=Account(id="a", provider="p"),
        model=model,
        requested_model=requested,
        body=body,
        operation="generate",
        stream=False,
        client_format=client,
        client_headers=CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}),
        upstream_format=upstream,
        config=config,
    )
    plugin.cpa_edit_upstream_request(request=request, original=lambda: original or before)
    assert body == before, "the body was changed in place"
    return request.body


def rule(group: str, params: str, model: str = 'name: "gpt-*"') -> str:
    return f"  {group}:\n    - models: [{{{model}}}]\n      params: {params}\n"


@pytest.mark.parametrize(
    ("group", "params", "body", "result"),
    [
        ("default", "{temperature: 0.5}", {}, {"temperature": 0.5}),
        ("default", "{temperature: 0.5}", {"temperature": 1}, {"temperature": 1}),
        ("default", "{temperature: 0.5}", {"temperature": None}, {"temperature": None}),
        ("default", "{a.b.c: 1}", {"a": {"x": 2}}, {"a": {"x": 2, "b": {"c": 1}}}),
        ("override", "{temperature: 0.5}", {"temperature": 1}, {"temperature": 0.5}),
        ("override", "{'.temperature': 0.5}", {}, {"temperature": 0.5}),
        ("override", "{tools.0.name: x}", {"tools": [{"name": "y"}]}, {"tools": [{"name": "x"}]}),
        ("override", "{stop: [a, {b: 1}]}", {}, {"stop": ["a", {"b": 1}]}),
        ("override-raw", '{format: \'{"type":"json"}\'}', {}, {"format": {"type": "json"}}),
        ("default-raw", "{n: '2'}", {}, {"n": 2}),
        ("filter", "[temperature, a.b]", {"temperature": 1, "a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ("filter", "[missing.path]", {"x": 1}, {"x": 1}),
    ],
)
def test_members_are_set_and_removed(group: str, params: str, body: Any, result: Any) -> None:
    assert edit(rule(group, params), body) == result


def test_a_default_is_missing_only_when_the_client_did_not_say_it() -> None:
    assert edit(rule("default", "{a: 1}"), {}, original={"a": 9}) == {}


def test_overrides_win_over_defaults_and_filters_over_both() -> None:
    rules = rule("default", "{a: 1, b: 1}") + rule("override", "{a: 2}") + rule("filter", "[b]")
    assert edit(rules, {}) == {"a": 2}


def test_the_first_default_and_the_last_override_count() -> None:
    entry = '    - {{models: [{{name: "*"}}], params: {{a: {0}}}}}\n'
    both = entry.format(1) + entry.format(2)
    assert edit(f"  default:\n{both}", {}) == {"a": 1}
    assert edit(f"  override:\n{both}", {}) == {"a": 2}


@pytest.mark.parametrize(
    ("model", "options", "applies"),
    [
        ('name: "gpt-*"', {}, True),
        ('name: "GPT-*"', {}, False),
        ('name: "gpt-5(high)"', {"requested": "gpt-5(high)"}, True),
        ('name: "mine"', {"requested": "mine", "model": "theirs"}, True),
        ('name: "theirs"', {"requested": "mine", "model": "theirs"}, True),
        ('name: ""', {}, False),
        ('name: "*", protocol: openai', {}, True),
        ('name: "*", protocol: claude', {}, False),
        ('name: "*", protocol: gemini', {"upstream": "gemini"}, True),
        ('name: "*", from-protocol: claude', {"client": "claude"}, True),
        ('name: "*", from-protocol: claude', {}, False),
        ('name: "*", from-protocol: responses', {"client": "openai-response"}, True),
        ('name: "*", headers: {X-Team: "a*"}', {"X_Team": "abc"}, True),
        ('name: "*", headers: {X-Team: "a*"}', {"X_Team": "b"}, False),
        ('name: "*", headers: {X-Team: "a*"}', {}, False),
        ('name: "*", match: [{x: 1}]', {}, True),
        ('name: "*", match: [{x: 2}]', {}, False),
        ('name: "*", not-match: [{x: 1}]', {}, False),
        ('name: "*", exist: [x]', {}, True),
        ('name: "*", exist: [y]', {}, False),
        ('name: "*", not-exist: [x]', {}, False),
        ('name: "*", not-exist: [y]', {}, True),
    ],
)
def test_a_rule_is_for_the_requests_it_names(model: str, options: dict[str, str], applies: bool) -> None:
    result = edit(rule("override", "{added: true}", model), {"x": 1}, **options)
    assert result == ({"x": 1, "added": True} if applies else {"x": 1})


def test_paths_begin_inside_the_envelope_of_gemini_cli() -> None:
    body = {"project": "p", "request": {"contents": []}}
    result = edit(rule("override", "{generationConfig.topK: 3}", 'name: "*"'), body, upstream="gemini-cli")
    assert result == {"project": "p", "request": {"contents": [], "generationConfig": {"topK": 3}}}


def test_a_raw_value_that_is_no_json_is_left_out_and_named() -> None:
    plugin = PayloadRules()
    config = load_text(f"payload:\n{rule('override-raw', '{a: nonsense, b: 1}')}", environ={}).config
    plugin.cpa_configure(config=config)
    assert plugin.problems == ["payload.override-raw[0].params.a: not valid JSON, the value is left out"]


def test_nothing_is_copied_when_nothing_matches() -> None:
    body = {"x": 1}
    assert edit(rule("override", "{a: 1}", 'name: "other"'), body) is body


def test_what_depends_on_headers_or_the_body_is_asked_of_every_request() -> None:
    model = 'name: "*", headers: {X-Team: "a*"}, match: [{x: 1}]'
    plugin = PayloadRules()
    config = load_text(f"payload:\n{rule('override', '{added: true}', model)}", environ={}).config
    plugin.cpa_configure(config=config)
    for team, x, applies in (("a", 1, True), ("b", 1, False), ("a", 2, False), ("a", 1, True)):
        request = UpstreamRequest(
            account=Account(id="a", provider="p"),
            model="m",
            requested_model="m",
            body={"x": x},
            operation="generate",
            stream=False,
            client_format="openai",
            client_headers=CIMultiDict({"X-Team": team}),
            upstream_format="openai",
            config=config,
        )
        plugin.cpa_edit_upstream_request(request=request, original=dict)
        assert ("added" in request.body) is applies


def test_models_of_any_number_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa_payload_rules.rules.MOST_NAMES", 3)
    group = Group([Rule([Entry(lambda context: "m1" in context.models, lambda context, body: True)], [])])
    for number in (1, 2, 3, 4, 1):
        context = Context(
            UpstreamRequest(
                account=Account(id="a", provider="p"),
                model=f"m{number}",
                requested_model=f"m{number}",
                body={},
                operation="generate",
                stream=False,
                client_format="openai",
                client_headers={},
                upstream_format="openai",
                config=Config(),
            )
        )
        assert bool(group.candidates(context)) is (number == 1)
        assert len(group._known) <= 3
