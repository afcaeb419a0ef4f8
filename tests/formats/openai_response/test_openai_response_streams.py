"""Streams of the Responses format, read, relayed and written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from strategies_openai_response import event_lists
from streams_openai_response import CALL, FULL, HEAD, MESSAGE, WHOLE, added, completed, stream

from cpa.conversation import events as ev
from cpa.conversation.names import NameMap, ToolIdentity
from cpa.conversation.reply import fold
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response import CodexCodec, OpenAIResponseCodec
from cpa.formats.sse import SseFraming, SseParser

CODEC = OpenAIResponseCodec()
EVENTS = TypeAdapter(ResponseStreamEvent)


def context(**members: Any) -> ReplyContext:
    return ReplyContext(requested_model="gpt-5.4", created=9, **members)


def decode(raw: bytes, at: int | None = None, ctx: ReplyContext | None = None) -> list[ev.Event]:
    parser, decoder = SseParser(), CodexCodec().stream_decoder(ctx or context())
    events: list[ev.Event] = []
    for chunk in (raw,) if at is None else (raw[:at], raw[at:]):
        for frame in parser.feed(chunk):
            events += decoder.feed(frame)
    for frame in parser.close():
        events += decoder.feed(frame)
    return events + decoder.close()


def written(events: list[ev.Event], ctx: ReplyContext | None = None) -> list[dict[str, Any]]:
    ctx = ctx or context()
    raw = CODEC.stream_encoder(ctx, CODEC.framing(ctx)).encode(events)
    frames = SseParser().feed(raw)
    parsed = [orjson.loads(frame.data) for frame in frames]
    assert [frame.event for frame in frames] == [event["type"] for event in parsed]
    return parsed


def test_the_stream_and_the_whole_answer_read_alike() -> None:
    streamed, whole = fold(decode(stream(*FULL))), fold(CODEC.decode_reply(WHOLE, context()))
    assert streamed == whole
    assert [block.kind for block in streamed.blocks] == ["reasoning", "text", "tool_call", "tool_call"]
    assert streamed.blocks[0].summary == ["hm", "so"]
    assert streamed.finishes[0].reason == "tool_calls"


def test_bytes_may_be_split_anywhere() -> None:
    raw = stream(*FULL)
    expected = decode(raw)
    for at in range(len(raw)):
        assert decode(raw, at) == expected


def test_a_stream_that_is_cut_off_is_a_failure() -> None:
    for count in range(len(FULL)):
        last = decode(stream(*FULL[:count]))[-1]
        assert isinstance(last, ev.Failure)
        assert (last.error.status, last.error.code) == (
            (502, "empty_stream") if count == 0 else (408, "request_timeout")
        )


def test_what_was_not_streamed_comes_from_the_end() -> None:
    reply = fold(decode(stream({"type": "response.created", "response": HEAD}, completed([MESSAGE, CALL]))))
    assert reply.blocks[0].text == "Hi é"
    assert reply.blocks[1].arguments == '{"a":1}'


def test_an_incomplete_answer_ends_with_its_reason() -> None:
    end = {
        "type": "response.incomplete",
        "response": {**HEAD, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    }
    reply = fold(decode(stream(*FULL[:10], end)))
    assert reply.finishes[0].reason == "length"
    assert reply.ended


@pytest.mark.parametrize(
    ("code", "status"), [("server_is_overloaded", 503), ("rate_limit_exceeded", 429), ("context_length_exceeded", 400)]
)
def test_a_failed_response_has_the_status_of_its_code(code: str, status: int) -> None:
    failed = {"type": "response.failed", "response": {**HEAD, "error": {"code": code, "message": "no"}}}
    last = decode(stream(FULL[0], failed))[-1]
    assert isinstance(last, ev.Failure)
    assert (last.error.status, last.error.code, last.error.message) == (status, code, "no")


def test_a_wrapped_custom_call_is_unwrapped() -> None:
    names = NameMap()
    names.add(ToolIdentity("patch", "ns", "custom", wrapped=True), "f", distinguish=lambda name, _: name)
    item = {**CALL, "arguments": '{"input":"*** Begin"}'}
    delta = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"input":"*'}
    events = decode(stream(FULL[0], added(0, item), delta, completed([item])), ctx=context(names=names))
    block = fold(events).blocks[0]
    assert (block.name, block.namespace, block.tool_type, block.arguments) == ("patch", "ns", "custom", "*** Begin")


def check_grammar(events: list[dict[str, Any]]) -> None:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    terminal = events[-1]
    assert terminal["type"] in ("response.completed", "response.incomplete")
    opened, closed = {}, {}
    for event in events[2:-1]:
        index = event["output_index"]
        if event["type"] == "response.output_item.added":
            assert index == len(opened)
            opened[index] = event["item"]
        else:
            assert index in opened
            assert index not in closed
            if event["type"] == "response.output_item.done":
                closed[index] = event["item"]
    assert terminal["response"]["output"] == [closed[index] for index in range(len(opened))]
    for index, item in opened.items():
        for name in ("id", "type", "call_id", "name"):
            assert item.get(name) == closed[index].get(name)
    assert len({item["id"] for item in opened.values()}) == len(opened)
    for event in events:
        EVENTS.validate_python(event)


def test_a_written_stream_keeps_the_grammar() -> None:
    events = written(decode(stream(*FULL)))
    check_grammar(events)
    response = events[-1]["response"]
    assert response["usage"]["total_tokens"] == 180
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 30}
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert response["output"][0]["encrypted_content"] == "gAAA"


@settings(max_examples=60, deadline=None)
@given(event_lists())
def test_any_answer_is_written_by_the_grammar(events: list[ev.Event]) -> None:
    shown = written(events)
    check_grammar(shown)
    given_text = "".join(block.text for block in fold(events).blocks if block.kind == "text")
    parts = [
        part["text"]
        for item in shown[-1]["response"]["output"]
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    ]
    assert sorted("".join(parts)) == sorted(given_text)


def test_the_whole_answer_is_what_the_stream_ended_with() -> None:
    ended = written(decode(stream(*FULL)))[-1]["response"]
    whole = CODEC.encode_reply(fold(decode(stream(*FULL))), context())
    assert whole == ended
    Response.model_validate(whole)


def test_nothing_is_written_after_the_end() -> None:
    ctx = context()
    encoder = CODEC.stream_encoder(ctx, CODEC.framing(ctx))
    encoder.encode(decode(stream(*FULL)))
    assert encoder.encode([ev.TextDelta(0, "x"), ev.End()]) == b""


def test_text_that_goes_on_after_a_call_begins_another_message() -> None:
    events = [
        ev.Start("x"),
        ev.BlockStart(0, "text"),
        ev.TextDelta(0, "a"),
        ev.BlockStart(1, "tool_call", call_id="c", name="f"),
        ev.TextDelta(0, "b"),
        ev.BlockEnd(1),
        ev.BlockEnd(0, text="ab"),
        ev.Finish("length"),
        ev.End(),
    ]
    shown = written(events)
    check_grammar(shown)
    response = shown[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "message"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_text_that_goes_on_after_a_refusal_begins_another_part() -> None:
    events: list[ev.Event] = [
        ev.Start("x"),
        ev.BlockStart(0, "text"),
        ev.BlockStart(1, "refusal"),
        *(ev.TextDelta(key, word) for key, word in ((0, "a"), (1, "no"), (0, "b"))),
        ev.BlockEnd(0),
        ev.BlockEnd(1),
        ev.Finish("stop"),
        ev.End(),
    ]
    shown = written(events)
    check_grammar(shown)
    [message] = shown[-1]["response"]["output"]
    assert [part.get("text", part.get("refusal")) for part in message["content"]] == ["a", "no", "b"]


@pytest.mark.parametrize(("codex", "kind"), [(False, "error"), (True, "response.failed")])
def test_a_failure_is_told_in_band(codex: bool, kind: str) -> None:
    events = decode(stream(*FULL[:10]))
    shown = written(events, context(codex_client=codex))
    assert shown[-1]["type"] == kind
    assert [event["sequence_number"] for event in shown] == list(range(len(shown)))


def relay(raw: bytes, **members: Any) -> tuple[bytes, Any]:
    ctx = context(**members)
    native = CODEC.native_relay(ctx, SseFraming(named=True))
    out = b"".join(native.feed(frame) for frame in SseParser().feed(raw))
    return out + native.close(), native


def test_frames_pass_as_they_came() -> None:
    raw = stream(*FULL[:-1], WHOLE_END)
    out, native = relay(raw)
    assert out == raw
    assert native.complete
    assert native.served_model == "gpt-5.4"
    assert native.usage.output_total == 50


WHOLE_END = completed(WHOLE["output"])


def test_an_empty_output_is_filled_and_done_is_renamed() -> None:
    end = {**completed([]), "type": "response.done"}
    out, native = relay(stream(*FULL[:-1], end))
    last = SseParser().feed(out)[-1]
    parsed = orjson.loads(last.data)
    assert last.event == parsed["type"] == "response.completed"
    assert parsed["response"]["output"] == WHOLE["output"]
    assert native.complete


def test_the_model_is_renamed_where_it_stands() -> None:
    out, _ = relay(stream(*FULL), model="mine")
    models = {
        parsed["response"]["model"]
        for frame in SseParser().feed(out)
        if "response" in (parsed := orjson.loads(frame.data))
    }
    assert models == {"mine"}


def test_a_relay_that_is_cut_off_says_so() -> None:
    for count in range(len(FULL)):
        _, native = relay(stream(*FULL[:count]))
        assert not native.complete
        assert native.error.status == (408 if count else 502)
    last = SseParser().feed(native.fail(native.error))[-1]
    assert orjson.loads(last.data)["sequence_number"] == len(FULL) - 1
    assert last.event == "error"


def test_items_only_the_end_tells_of_are_announced() -> None:
    raw = stream(FULL[0], {**WHOLE_END, "sequence_number": 1})
    out, _ = relay(raw)
    events = [orjson.loads(frame.data) for frame in SseParser().feed(out)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert done == events[-1]["response"]["output"] == WHOLE["output"]
    assert added == [item["id"] for item in done]


def test_an_early_refusal_can_be_repeated_elsewhere() -> None:
    failed = {"type": "response.failed", "response": {**HEAD, "error": {"code": "slow_down", "message": "no"}}}
    _, native = relay(stream(FULL[0], failed))
    assert not native.meaningful
    assert native.error.status == 503


LOOSE = st.recursive(
    st.none()
    | st.integers(-1, 2)
    | st.sampled_from(["x", "message", "reasoning", "function_call", "image_generation_call"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "id", "text", "content", "summary", "action", "call_id"]), inner)
    ),
    max_leaves=6,
)
MEMBERS = ["item", "response", "delta", "item_id", "output_index", "content_index", "summary_index", "text", "error"]
HOSTILE = st.tuples(
    st.sampled_from(sorted({event["type"] for event in FULL} | {"error", "response.failed", "response.refusal.done"})),
    st.dictionaries(st.sampled_from([*MEMBERS, "annotation", "logprobs", "partial_image_b64"]), LOOSE, max_size=5),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(HOSTILE, max_size=4))
def test_no_upstream_event_breaks_anything(events: list[tuple[str, dict[str, Any]]]) -> None:
    raw = stream(*({**members, "type": kind} for kind, members in events))
    decoded = decode(raw)
    assert isinstance(decoded[-1], ev.End | ev.Failure)
    ctx = context()
    CODEC.stream_encoder(ctx, CODEC.framing(ctx)).encode(decoded)
    relay(raw)
