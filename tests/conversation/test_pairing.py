"""Results find their calls, in dialogues of any length."""

from __future__ import annotations

import pytest

from cpa.conversation.pairing import pair_tool_calls
from cpa.conversation.parts import Text, ToolCall, ToolResult
from cpa.conversation.request import Turn


def call(call_id: str = "", name: str = "f") -> ToolCall:
    return ToolCall(call_id=call_id, name=name, arguments="{}")


def result(call_id: str = "", name: str | None = None, text: str = "out") -> ToolResult:
    return ToolResult(call_id=call_id, name=name, content=[Text(text)])


def answers(turns: list[Turn]) -> list[tuple[str, str]]:
    """(id, text) of every result, in order."""
    return [
        (part.call_id, "".join(piece.text for piece in part.content if isinstance(piece, Text)))
        for turn in turns
        for part in turn.parts
        if isinstance(part, ToolResult)
    ]


def test_the_first_unanswered_call_of_an_id_is_answered_and_then_the_last() -> None:
    turns = [
        Turn("assistant", [call("a"), call("a")]),
        Turn("user", [result("a", text="one"), result("a", text="two"), result("a", text="three")]),
    ]
    assert answers(pair_tool_calls(turns)) == [("a", "one"), ("a", "three")]
    assert answers(pair_tool_calls(turns, first_result_wins=True)) == [("a", "one"), ("a", "two")]


def test_results_without_ids_go_by_name_and_then_by_order() -> None:
    turns = [
        Turn("assistant", [call("a", "f"), call("b", "g"), call("c", "g")]),
        Turn("user", [result(name="g", text="one"), result(name="unknown", text="two"), result(text="three")]),
    ]
    assert answers(pair_tool_calls(turns)) == [("a", "two"), ("b", "one"), ("c", "three")]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_dialogues_of_very_many_calls_are_paired_as_short_ones(named: bool, apart: bool) -> None:
    number = 20_000
    calls = [call(f"c{index}" if named else "", f"f{index % 3}") for index in range(number)]
    results = [result(f"c{index}" if named else "", f"f{index % 3}", str(index)) for index in range(number)]
    if apart:
        pairs = zip(calls, results, strict=True)
        turns = [turn for one, other in pairs for turn in (Turn("assistant", [one]), Turn("user", [other]))]
    else:
        turns = [Turn("assistant", list(calls)), Turn("user", list(results))]
    assert [text for _, text in answers(pair_tool_calls(turns))] == [str(index) for index in range(number)]
