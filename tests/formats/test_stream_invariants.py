"""Every stream a client is sent keeps the rules of its format, and says what the whole answer says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from answers import (
    ANSWERS,
    CODECS,
    COUNTS,
    FORMATS,
    MADE_UP,
    PARALLEL,
    answers,
    calls,
    context,
    read,
    said,
    whole,
    written,
)
from hypothesis import given
from hypothesis import strategies as st
from invariants import CHECKS, errors_in
from referees import Referees

from cpa.conversation import events as ev
from cpa.conversation.reply import Reply, fold
from cpa.errors import ErrorInfo

every_format = pytest.mark.parametrize("name", FORMATS)


@every_format
@MADE_UP
@given(events=answers(), include_usage=st.booleans())
def test_any_answer_is_streamed_by_the_rules(name: str, events: list[ev.Event], include_usage: bool) -> None:
    CHECKS[name](written(name, events, include_usage=include_usage))


@every_format
@pytest.mark.parametrize("sample", ANSWERS)
def test_common_answers_are_streamed_by_the_rules(name: str, sample: str) -> None:
    CHECKS[name](written(name, ANSWERS[sample]))


@every_format
@MADE_UP
@given(events=answers())
def test_an_answer_in_pieces_is_the_same_stream(name: str, events: list[ev.Event]) -> None:
    codec, shared = CODECS[name], context(client_format=name)
    encoder = codec.stream_encoder(shared, codec.framing(shared))
    assert b"".join(encoder.encode([event]) for event in events) == written(name, events)
    assert encoder.encode([ev.TextDelta(1, "more"), ev.End()]) == b""


@every_format
@MADE_UP
@given(events=answers())
def test_the_vendors_client_accepts_every_stream(name: str, referees: Referees, events: list[ev.Event]) -> None:
    referees.stream(name, written(name, events, include_usage=True))
    referees.whole(name, orjson.dumps(whole(name, events)))


@every_format
def test_calls_keep_the_order_in_which_they_began(name: str) -> None:
    for events in (ANSWERS["calls by turns"], [*PARALLEL[:2], PARALLEL[3], *PARALLEL[2:3], *PARALLEL[4:], ev.End()]):
        assert calls(fold(read(name, written(name, events)))) == [("f", {"a": 1}), ("g", {"b": 2})]


@every_format
@MADE_UP
@given(events=answers(("tool_call", "text"), choices=1))
def test_an_id_that_comes_late_is_the_one_the_client_sees(name: str, events: list[ev.Event]) -> None:
    upstream = {block.name: block.call_id for block in fold(events).blocks if block.name}
    shown = fold(read(name, written(name, events))).blocks
    assert {block.name: block.call_id for block in shown if block.name} == upstream


def _essence(reply: Reply) -> dict[int, Any]:
    """What an answer says, choice by choice."""
    shown = {}
    for choice in reply.choices():
        part = Reply(blocks=[block for block in reply.blocks if block.choice == choice])
        finish = reply.finishes.get(choice)
        shown[choice] = (
            sorted(said(part)),
            sorted(said(part, "refusal")),
            sorted(said(part, "reasoning").replace("\n", "")),
            sorted(map(str, calls(part))),
            finish.reason if finish else None,
        )
    return shown


@every_format
@MADE_UP
@given(events=answers())
def test_the_stream_folded_is_the_whole_answer(name: str, events: list[ev.Event]) -> None:
    streamed = fold(read(name, written(name, events)))
    direct = fold(CODECS[name].decode_reply(whole(name, events), context()))
    assert streamed.error is None
    assert direct.error is None
    assert _essence(streamed) == _essence(direct)
    tokens = [
        usage and (usage.input_total, usage.cache_read, usage.output_total) for usage in (streamed.usage, direct.usage)
    ]
    assert tokens[0] == tokens[1]


@every_format
@MADE_UP
@given(events=answers(), data=st.data())
def test_a_failure_at_any_moment_is_told_once_and_ends_the_stream(
    name: str, events: list[ev.Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events) - 1))
    out = written(name, [*events[:cut], ev.Failure(ErrorInfo(502, "cut off")), *events[cut:]])
    told = errors_in(name, out)
    assert len(told) == 1
    assert b"cut off" in orjson.dumps(told[0])
    assert b'"finish_reason":"' not in out
    assert b"message_stop" not in out
    assert b"response.completed" not in out
    assert b"finishReason" not in out


@every_format
@pytest.mark.parametrize("sample", ANSWERS)
def test_the_vendors_client_reads_the_same_from_stream_and_whole_answer(
    name: str, sample: str, referees: Referees
) -> None:
    events = ANSWERS[sample]
    streamed = referees.stream(name, written(name, events, include_usage=True))
    direct = referees.whole(name, orjson.dumps(whole(name, events)))
    assert _shown(name, streamed) == _shown(name, direct)


def _shown(name: str, message: Any) -> Any:
    match name:
        case "openai":
            choice = message.choices[0]
            called = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
            return choice.message.content or "", called, choice.finish_reason, message.usage
        case "openai-response":
            items = [item.to_dict() for item in message.output]
            for item in items:
                for part in item.get("content") or ():
                    part.pop("parsed", None)
                item.pop("parsed_arguments", None)
            return message.output_text, items, message.status, message.usage
        case "claude":
            blocks = [(block.type, block.to_dict()) for block in message.content]
            for _, block in blocks:
                block.pop("parsed_output", None)
            return blocks, message.stop_reason, message.usage.input_tokens, message.usage.output_tokens
    chunks = message if isinstance(message, list) else [message]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
    said_aloud = "".join(part.text or "" for part in parts if not part.thought)
    called = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    return said_aloud, called, chunks[-1].candidates[0].finish_reason, chunks[-1].usage_metadata


@every_format
def test_each_format_counts_tokens_in_its_own_buckets(name: str) -> None:
    body = whole(name, ANSWERS["text"])
    expected = {
        "openai": {
            "prompt_tokens": 130,
            "completion_tokens": 50,
            "total_tokens": 180,
            "prompt_tokens_details": {"cached_tokens": 100, "cached_creation_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        "openai-response": {
            "input_tokens": 130,
            "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
            "output_tokens": 50,
            "output_tokens_details": {"reasoning_tokens": 30},
            "total_tokens": 180,
        },
        "claude": {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 50,
        },
        "gemini": {
            "promptTokenCount": 130,
            "cachedContentTokenCount": 100,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 180,
        },
    }
    assert body.get("usage", body.get("usageMetadata")) == expected[name]
    usage = CODECS[name].read_usage(body)
    assert usage is not None
    assert (usage.input_total, usage.cache_read, usage.output_total) == (130, 100, 50)
    if name == "claude":
        assert (usage.cache_write, usage.fresh_input) == (COUNTS.cache_write, 10)
    else:
        assert usage.reasoning == 30
