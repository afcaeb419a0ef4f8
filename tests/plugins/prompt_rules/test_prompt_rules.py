"""Prompt rules: every edit in every format, every judgement of a rule.

``edits.jsonl`` has one case per line: a rule is short for inject (``+s``, ``+u``) or strip (``-s``, ``-u``) into the
system text or the user's; ``"="`` means the body stays the very same.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from cpa.config.load import load_text
from cpa_prompt_rules import PromptRules, apply, explain
from cpa_prompt_rules.rules import Rule, compile_rules, validate

FOLDER = Path(__file__).parent
EDITS = [json.loads(line) for line in (FOLDER / "edits.jsonl").read_text().splitlines() if line]
JUDGEMENTS = [json.loads(line) for line in (FOLDER / "judgements.jsonl").read_text().splitlines() if line]
OPERATION_CASES = {"G11", "G12", "G13"}
"""About routes, where the plugin is not asked at all; see the tests of the daemon."""


def written(short: dict[str, Any], number: int) -> dict[str, Any]:
    """A rule as a configuration has it."""
    kind = next(key for key in short if key[:1] in "+-")
    action, value = ("inject", "content") if kind[0] == "+" else ("strip", "pattern")
    rule = {
        "name": f"r{number}",
        "enabled": short.get("on", True),
        "target": "system" if kind[1] == "s" else "user",
        "action": action,
        value: short[kind],
    }
    more = {"marker": short.get("mk"), "position": short.get("pos"), "models": short.get("models")}
    return rule | {key: given for key, given in more.items() if given is not None}


def edited(case: dict[str, Any], body: Any) -> Any:
    rules, problems = compile_rules([written(rule, number) for number, rule in enumerate(case["rules"])])
    assert not problems
    format_name, model = case["fmt"], case.get("model", "m")
    matching = tuple(rule for rule in rules if rule.enabled and rule.matches(format_name, model))
    return apply(matching, format_name, body)


@pytest.mark.parametrize("case", [c for c in EDITS if c["id"] not in OPERATION_CASES], ids=lambda case: case["id"])
def test_an_edit(case: dict[str, Any]) -> None:
    before = json.dumps(case["in"])
    result = edited(case, case["in"])
    assert json.dumps(case["in"]) == before, "the body was changed in place"
    if case["out"] == "=":
        assert result is case["in"]
    else:
        assert result == case["out"]
        assert edited(case, result) == case.get("twice", case["out"]), "applied again it changes something else"


@pytest.mark.parametrize("case", JUDGEMENTS, ids=lambda case: case["id"])
def test_a_judgement(case: dict[str, Any]) -> None:
    problem = validate([case["rule"]])
    if "err" in case or "err_prefix" in case:
        name = str(case["rule"]["name"]).strip()
        assert problem is not None
        assert problem.startswith(f'prompt-rules[0] "{name}": {case.get("err") or case["err_prefix"]}')
        return
    assert problem is None
    if "normal" in case:
        rule = Rule(case["rule"])
        normal = {"position": "append", "content": "", "pattern": "", **case["normal"]}
        found = (rule.name, rule.enabled, rule.target, rule.action, rule.content)
        assert found == tuple(normal[key] for key in ("name", "enabled", "target", "action", "content"))
        if rule.action == "inject":
            assert rule.position == normal["position"]


@pytest.mark.parametrize(("pattern", "size"), [("x" * 1025, 1025), ("日" * 342, 1026)])
def test_a_long_pattern_is_counted_in_bytes(pattern: str, size: int) -> None:
    rule = {"name": "a", "target": "user", "action": "strip", "pattern": pattern}
    assert validate([rule]) == f'prompt-rules[0] "a": pattern length {size} exceeds max 1024'


def test_of_two_equal_names_the_first_counts() -> None:
    rules = [{"name": name, "target": "user", "action": "inject", "content": "x"} for name in ("a", "b", "a")]
    kept, problems = compile_rules(rules)
    assert [rule.name for rule in kept] == ["a", "b"]
    assert problems == ['prompt-rules[2] "a": duplicate name (also at index 0)']


def test_a_pattern_that_others_choke_on_takes_linear_time() -> None:
    case = {"fmt": "claude", "rules": [{"-s": "(a+)+$"}]}
    body = {"system": "a" * 200_000 + "b", "messages": []}
    assert edited(case, body) is body


CONFIG = "prompt-rules:\n  - {{name: r, enabled: true, target: user, action: inject, content: {0}}}\n"


def test_an_emptied_list_leaves_the_next_request_alone() -> None:
    plugin = PromptRules()
    plugin.cpa_configure(config=load_text(CONFIG.format("x"), environ={}).config)
    assert plugin._rules
    plugin.cpa_configure(config=load_text("prompt-rules: []\n", environ={}).config)
    assert not plugin._rules


def test_rules_of_other_models_are_looked_at_once_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = PromptRules()
    plugin.cpa_configure(config=load_text(CONFIG.format("x"), environ={}).config)
    expected = plugin._matching("openai", "m")
    monkeypatch.setattr(Rule, "matches", lambda self, format_name, model: pytest.fail("looked at again"))
    assert plugin._matching("openai", "m") == expected == plugin._rules
    monkeypatch.undo()
    plugin.cpa_configure(config=load_text("prompt-rules: []\n", environ={}).config)
    assert plugin._matching("openai", "m") == ()


def test_a_wrong_rule_is_left_out_and_named() -> None:
    plugin = PromptRules()
    config = load_text(CONFIG.format("x") + "  - {name: bad, action: shout}\n", environ={}).config
    plugin.cpa_configure(config=config)
    assert len(plugin._rules) == 1
    assert plugin.cpa_check_config(config=config) == plugin.problems
    assert plugin.problems[0].startswith('prompt-rules[1] "bad": ')


def test_readers_see_one_whole_set_of_rules_while_it_is_exchanged() -> None:
    plugin = PromptRules()
    configs = []
    for word in ("one", "two"):
        rules = "".join(
            f"  - {{name: r{n}, enabled: true, target: user, action: inject, content: ' {word}{n}'}}\n"
            for n in range(3)
        )
        configs.append(load_text(f"prompt-rules:\n{rules}", environ={}).config)
    plugin.cpa_configure(config=configs[0])
    body = {"messages": [{"role": "user", "content": "q"}]}
    expected = {f"q {word}0 {word}1 {word}2" for word in ("one", "two")}
    seen: set[str] = set()

    def read() -> None:
        for _ in range(300):
            seen.add(apply(plugin._matching("openai", "m"), "openai", body)["messages"][0]["content"])

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(200):
        plugin.cpa_configure(config=configs[number % 2])
    for reader in readers:
        reader.join()
    assert seen <= expected


def test_what_rules_would_do_can_be_asked() -> None:
    rules = [written({"+u": "!"}, 0), {"name": "bad"}]
    told = explain(rules, "openai", "m", {"messages": [{"role": "user", "content": "q"}]})
    assert told["matching"] == ["r0"]
    assert told["body"] == {"messages": [{"role": "user", "content": "q!"}]}
    assert len(told["problems"]) == 1
