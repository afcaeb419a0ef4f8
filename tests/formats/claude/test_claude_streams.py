"""Messages answers, read, relayed and written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.types import Message

from cpa.conversation import events as ev
from cpa.conversation.names import NameMap, ToolIdentity
from cpa.conversation.reply import Reply, fold
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.claude import ClaudeCodec
from cpa.formats.codec import ReplyContext
from cpa.formats.sse import SseParser

CODEC = ClaudeCodec()
Object = dict[str, Any]


def context(**members: Any) -> ReplyContext:
    return ReplyContext(**{"requested_model": "asked", "created": 9, **members})


def sse(*events: Object, named: bool = True) -> bytes:
    return b"".join(
        (b"event: %b\n" % event["type"].encode() if named else b"") + b"data: %b\n\n" % orjson.dumps(event)
        for event in events
    )


def message(**usage: int) -> Object:
    shown = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": [], "usage": usage}
    return {"type": "message_start", "message": {**shown, "stop_reason": None, "stop_sequence": None}}


def block(index: int, content: Object, *deltas: Object) -> list[Object]:
    """One block of a stream."""
    grown = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    start = {"type": "content_block_start", "index": index, "content_block": content}
    return [start, *grown, {"type": "content_block_stop", "index": index}]


def text(index: int, *words: str) -> list[Object]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": word} for word in words))


def tool(index: int, *pieces: str, name: str = "f", **content: Any) -> list[Object]:
    use = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}, **content}
    return block(index, use, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def ending(reason: str | None = "end_turn", sequence: str | None = None, **usage: Any) -> list[Object]:
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


THINKING = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "hm"},
    {"type": "signature_delta", "signature": "EqQB"},
)
CITATION = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "x"}
FULL = [
    message(input_tokens=10, cache_read_input_tokens=100, cache_creation_input_tokens=20, output_tokens=1),
    {"type": "ping"},
    *THINKING,
    *block(1, {"type": "redacted_thinking", "data": "xx"}),
    *block(
        2,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Hé"},
        {"type": "citations_delta", "citation": CITATION},
    ),
    *tool(3, "", '{"a"', ":1}"),
    *tool(4, name="g"),
    *ending("tool_use", output_tokens=50),
]


def decode(data: bytes, **members: Any) -> list[ev.Event]:
    parser, decoder = SseParser(), CODEC.stream_decoder(context(**members))
    frames = [*parser.feed(data), *parser.close()]
    return [event for frame in frames for event in decoder.feed(frame)] + decoder.close()


def reply_of(*events: Object, **members: Any) -> Reply:
    return fold(decode(sse(*events), **members))


def written(events: list[ev.Event], **members: Any) -> list[Object]:
    shared = context(**members)
    data = CODEC.stream_encoder(shared, CODEC.framing(shared)).encode(events)
    return [orjson.loads(frame.data) for frame in SseParser().feed(data)]


# -- reading -------------------------------------------------------------------------------------------------


def test_every_kind_of_block_is_read() -> None:
    reply = reply_of(*FULL)
    thinking, redacted, said, call, bare = reply.blocks
    assert (thinking.kind, thinking.text, thinking.signature) == ("reasoning", "hm", "EqQB")
    assert (redacted.kind, redacted.redacted_data) == ("reasoning", "xx")
    assert (said.kind, said.text, said.citations[0].url) == ("text", "Hé", "https://a.example")
    assert (call.call_id, call.name, call.arguments) == ("toolu_3", "f", '{"a":1}')
    assert (bare.call_id, bare.name, bare.arguments) == ("toolu_4", "g", "")
    assert reply.finishes[0].reason == "tool_calls"
    assert (reply.start.id, reply.start.model, reply.ended) == ("msg_1", "up", True)


def test_a_stream_without_event_names_reads_the_same() -> None:
    assert decode(sse(*FULL, named=False)) == decode(sse(*FULL))


def test_a_whole_answer_reads_like_its_stream() -> None:
    body = {
        **message()["message"],
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "Hé", "citations": [CITATION]},
            {"type": "tool_use", "id": "toolu_3", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "toolu_4", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 50,
        },
    }
    assert fold(CODEC.decode_reply(body, context())) == reply_of(*FULL)


def test_an_input_that_is_whole_at_the_start_is_read() -> None:
    assert reply_of(message(), *tool(0, input={"a": 1}), *ending("tool_use")).blocks[0].arguments == '{"a":1}'


def test_vendor_run_tools_are_kept_as_they_are() -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    query = {"type": "input_json_delta", "partial_json": '{"query":"q"}'}
    events = decode(sse(message(), *block(0, use, query), *block(1, found), *text(2, "a"), *ending()))
    search, results, said = fold(events).blocks
    assert (search.kind, search.input) == ("server_tool", {"query": "q"})
    assert (results.kind, results.json) == ("opaque", found)
    assert said.text == "a"
    content = CODEC.encode_reply(fold(events), context())["content"]
    assert content == [{**use, "input": {"query": "q"}}, found, {"type": "text", "text": "a"}]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 1}, {"output_tokens": 50}, (10, None, None, 50)),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1},
            {"output_tokens": 50},
            (130, 100, 20, 50),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 10, "output_tokens": 5}, (10, None, None, 5)),
        (
            {"input_tokens": 10, "output_tokens": 1},
            {"input_tokens": 10, "cache_read_input_tokens": 3, "output_tokens": 5},
            (13, 3, None, 5),
        ),
        ({"input_tokens": 10, "output_tokens": 1}, {"input_tokens": None, "output_tokens": 5}, (10, None, None, 5)),
        ({}, {}, None),
    ],
)
def test_tokens_of_start_and_end_are_put_together_never_added(start: Object, end: Object, expected: Any) -> None:
    events = [message(**start), *text(0, "a"), *ending(**end)]
    data = sse(*events)
    native = CODEC.native_relay(context(), CODEC.framing(context()))
    for frame in SseParser().feed(data):
        native.feed(frame)
    for usage in (reply_of(*events).usage, native.usage):
        shown = usage and (usage.input_total, usage.cache_read, usage.cache_write, usage.output_total)
        assert shown == expected


def test_cache_writes_are_told_apart_by_their_lifetime() -> None:
    split = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15}
    usage = CODEC.read_usage(
        {
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 20,
                "cache_creation": split,
                "output_tokens": 50,
                "output_tokens_details": {"thinking_tokens": 30},
                "server_tool_use": {"web_search_requests": 2},
            }
        }
    )
    assert usage is not None
    assert (usage.cache_write, usage.cache_write_5m, usage.cache_write_1h) == (20, 5, 15)
    assert (usage.input_total, usage.fresh_input, usage.reasoning, usage.web_search_requests) == (30, 10, 30, 2)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("timeout_error", 504),
        ("new_error", 502),
    ],
)
def test_an_error_in_the_stream_has_the_status_of_its_type(kind: str, status: int) -> None:
    told = {"type": "error", "error": {"type": kind, "message": "no"}}
    for before in ([], [message(), *text(0, "a")]):
        last = decode(sse(*before, told, *ending()))[-1]
        assert isinstance(last, ev.Failure)
        assert (last.error.status, last.error.type, last.error.message) == (status, kind, "no")
    assert CODEC.reply_failure(told) == last.error


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([], "empty_stream"),
        ([message()], "stream_cut_off"),
        ([message(), *text(0, "a")], "stream_cut_off"),
        ([message(), *tool(0, '{"a')[:-1]], "stream_cut_off"),
        ([message(), *text(0, "a"), {"type": "message_stop"}], "stream_cut_off"),
        ([{"type": "message_stop"}], "empty_stream"),
    ],
)
def test_an_answer_that_never_said_why_it_ended_is_a_failure(events: list[Object], code: str) -> None:
    last = decode(sse(*events))[-1]
    assert isinstance(last, ev.Failure)
    assert (last.error.status, last.error.code) == (502, code)


def test_an_answer_cut_after_its_reason_is_complete() -> None:
    reply = reply_of(message(), *text(0, "a"), *ending(output_tokens=1)[:1])
    assert reply.ended
    assert reply.finishes[0].reason == "stop"
    out, relay = relayed(sse(*FULL[:-1]))
    assert (relay.complete, relay.error) == (True, None)
    assert out == sse(*FULL)


def test_half_an_event_is_a_failure_and_what_is_no_event_is_passed_over() -> None:
    broken = b'data: {"type":"content_blo\n\n'
    assert isinstance(decode(sse(message(), *text(0, "a")) + broken)[-1], ev.Failure)
    [*_, last] = decode(sse(message()) + broken + sse(*text(0, "a"), *ending()))
    assert isinstance(last, ev.Failure)
    reply = fold(decode(sse(message()) + b"data: [HEARTBEAT]\n\n" + sse(*text(0, "a"), *ending())))
    assert (reply.ended, reply.blocks[0].text) == (True, "a")


def test_the_clients_names_come_back() -> None:
    names = NameMap()
    names.add(ToolIdentity("a/b"), "a_b", distinguish=lambda name, n: name)
    names.add(ToolIdentity("patch", "ns", "custom", wrapped=True), "patch", distinguish=lambda name, n: name)
    events = [message(), *tool(0, name="a_b"), *tool(1, '{"input":', '"raw"}', name="patch"), *ending("tool_use")]
    first, second = reply_of(*events, names=names).blocks
    assert first.name == "a/b"
    assert (second.name, second.namespace, second.tool_type, second.arguments) == ("patch", "ns", "custom", "raw")


# -- writing -------------------------------------------------------------------------------------------------


def test_blocks_that_grow_together_are_written_one_after_the_other() -> None:
    events: list[ev.Event] = [
        ev.Start("chatcmpl-x:1", "up"),
        ev.BlockStart(1, "tool_call", call_id="call:1", name="f"),
        ev.ArgumentsDelta(1, '{"a"'),
        ev.BlockStart(2, "tool_call", call_id="b", name="g"),
        ev.ArgumentsDelta(2, '{"b":'),
        ev.ArgumentsDelta(1, ":1}"),
        ev.BlockEnd(1),
        ev.ArgumentsDelta(2, "2}"),
        ev.BlockEnd(2),
        ev.BlockStart(3, "text"),
        ev.BlockEnd(3),
        ev.Finish("tool_calls"),
        ev.End(),
    ]
    shown = written(events)
    assert shown[0]["message"]["id"] == "msg_chatcmpl-x_1"
    deltas = [(event["index"], event["delta"]["partial_json"]) for event in shown if "partial_json" in str(event)]
    assert deltas == [(0, '{"a"'), (0, ":1}"), (1, '{"b":'), (1, "2}")]
    starts = [event["content_block"] for event in shown if event["type"] == "content_block_start"]
    assert [(start["type"], start["id"]) for start in starts] == [("tool_use", "call_1"), ("tool_use", "b")]
    Message.model_validate(CODEC.encode_reply(fold(events), context()))


def test_an_answer_is_streamed_as_it_grows() -> None:
    encoder = CODEC.stream_encoder(context(), CODEC.framing(context()))
    encoder.encode([ev.Start("msg_1", "up"), ev.BlockStart(1, "text")])
    for word in ("a", "b"):
        assert f'"text":"{word}"'.encode() in encoder.encode([ev.TextDelta(1, word)])
    encoder.encode([ev.BlockEnd(1), ev.BlockStart(2, "tool_call", call_id="c", name="f")])
    assert b'"partial_json":"{"' in encoder.encode([ev.ArgumentsDelta(2, "{")])


def test_prompt_tokens_are_estimated_until_they_are_known() -> None:
    events: list[ev.Event] = [
        ev.Start("msg_1"),
        ev.BlockStart(1, "text"),
        ev.TextDelta(1, "a"),
        ev.UsageReport(Usage(input_total=30, cache_read=20, output_total=5, web_search_requests=1)),
        ev.Finish("stop_sequence", stop_sequence="X"),
        ev.End(),
    ]
    shown = written(events, input_tokens_estimate=33)
    assert shown[0]["message"]["usage"] == {"input_tokens": 33, "output_tokens": 0}
    assert shown[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "X"}
    assert shown[-2]["usage"] == {
        "input_tokens": 10,
        "cache_read_input_tokens": 20,
        "output_tokens": 5,
        "server_tool_use": {"web_search_requests": 1},
    }


def test_a_search_of_another_vendor_is_shown_as_claudes_own() -> None:
    events: list[ev.Event] = [
        ev.Start("msg_1"),
        ev.BlockStart(1, "server_tool", native_id="ws_1", name="web_search"),
        ev.BlockEnd(1, input={"query": "q"}, results=[{"url": "https://a.example"}]),
        ev.Finish("stop"),
        ev.End(),
    ]
    use, found = CODEC.encode_reply(fold(events), context())["content"]
    assert (use["name"], use["input"]) == ("web_search", {"query": "q"})
    assert found["tool_use_id"] == use["id"] == "ws_1"
    assert found["content"][0]["title"] == "https://a.example"


# -- the same format on both sides ---------------------------------------------------------------------------


def relayed(data: bytes, **members: Any) -> tuple[bytes, Any]:
    shared = context(**members)
    relay = CODEC.native_relay(shared, CODEC.framing(shared))
    out = b"".join(relay.feed(frame) for frame in SseParser().feed(data))
    return out + relay.close(), relay


def test_a_stream_passes_byte_for_byte() -> None:
    odd = block(9, {"type": "new_block", "x": 1.0}, {"type": "new_delta", "y": "\n"})
    data = sse(*FULL[:-2], *odd, *FULL[-2:])
    out, relay = relayed(data)
    assert out == data
    assert (relay.complete, relay.served_model, relay.error) == (True, "up", None)
    assert (relay.usage.input_total, relay.usage.output_total) == (130, 50)


def test_only_the_model_of_the_first_event_is_renamed() -> None:
    out, _ = relayed(sse(*FULL), model="alias")
    assert out == sse(*FULL).replace(b'"model":"up"', b'"model":"alias"')


def test_a_relay_that_is_cut_or_refused_says_so() -> None:
    for count in range(len(FULL) - 1):
        _, relay = relayed(sse(*FULL[:count]))
        assert not relay.complete
        assert relay.error.status == 502
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    out, relay = relayed(sse(message(), overloaded))
    assert (relay.error.status, relay.meaningful) == (529, False)
    assert b"busy" not in out
    told = relay.fail(ErrorInfo(529, "busy"))
    assert told == b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'


def test_nothing_passes_after_the_end() -> None:
    out, _ = relayed(sse(*FULL, *text(9, "late")))
    assert out == sse(*FULL)
