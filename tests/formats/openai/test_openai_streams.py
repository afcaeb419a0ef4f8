"""Chat Completions answers of all kinds of providers, read, relayed and written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from cpa.conversation import events as ev
from cpa.conversation.names import NameMap, ToolIdentity
from cpa.conversation.reply import Reply, fold
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.exchange.relay import PassingRelay
from cpa.formats.codec import ReplyContext
from cpa.formats.openai import OpenAICodec
from cpa.formats.sse import SseParser

CODEC = OpenAICodec()
Object = dict[str, Any]
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def context(**members: Any) -> ReplyContext:
    return ReplyContext(**{"requested_model": "asked", "created": 9, **members})


def chunk(finish: str | None = None, index: int = 0, usage: Any = None, **delta: Any) -> Object:
    """One chunk of a stream."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
    shown: Object = {**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
    return shown if usage is None else {**shown, "usage": usage}


def tool(index: int | None = 0, call_id: str | None = None, name: str | None = None, arguments: Any = "") -> Object:
    """A delta with one tool call."""
    call: Object = {"function": {"name": name, "arguments": arguments}}
    if index is not None:
        call["index"] = index
    if call_id is not None:
        call["id"] = call_id
    return {"tool_calls": [call]}


def sse(*chunks: Object, done: bool = True) -> bytes:
    data = b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks)
    return data + b"data: [DONE]\n\n" if done else data


def decode(data: bytes, **members: Any) -> list[ev.Event]:
    parser, decoder = SseParser(), CODEC.stream_decoder(context(**members))
    frames = [*parser.feed(data), *parser.close()]
    return [event for frame in frames for event in decoder.feed(frame)] + decoder.close()


def reply_of(*chunks: Object, **members: Any) -> Reply:
    return fold(decode(sse(*chunks), **members))


def written(events: list[ev.Event], **members: Any) -> list[Object]:
    shared = context(**members)
    data = CODEC.stream_encoder(shared, CODEC.framing(shared)).encode(events)
    return [orjson.loads(frame.data) for frame in SseParser().feed(data) if frame.data != b"[DONE]"]


STOP = chunk("stop")

# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], [("text", "ab")]),
        ([{"reasoning_content": "a"}, {"content": "b"}], [("reasoning", "a"), ("text", "b")]),
        ([{"reasoning": "a"}, {"content": "b"}], [("reasoning", "a"), ("text", "b")]),
        ([{"reasoning": "a", "reasoning_content": "a"}], [("reasoning", "a")]),
        ([{"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]}], [("reasoning", "a")]),
        ([{"reasoning_details": [{"type": "reasoning.summary", "summary": "a"}]}], [("reasoning", "a")]),
        ([{"reasoning_content": ["a", {"text": "b"}]}], [("reasoning", "ab")]),
        ([{"content": [{"type": "text", "text": "a"}]}], [("text", "a")]),
        (
            [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}, {"content": "b"}],
            [("reasoning", "a"), ("text", "b")],
        ),
        (
            [{"reasoning_content": "a"}, {"content": "b"}, {"reasoning_content": "c"}],
            [("reasoning", "a"), ("text", "b"), ("reasoning", "c")],
        ),
        ([{"content": "a", "tool_calls": []}], [("text", "a")]),
        ([{"content": "<think>a</think>b"}], [("text", "<think>a</think>b")]),
        ([{"refusal": "no"}, {"refusal": "pe"}], [("refusal", "nope")]),
        ([{"content": None, "refusal": None, "tool_calls": None, "reasoning_content": None}], []),
    ],
)
def test_text_and_reasoning_are_read_in_every_spelling(deltas: list[Object], expected: list[Any]) -> None:
    reply = reply_of(*(chunk(**delta) for delta in deltas), STOP)
    assert [(block.kind, block.text) for block in reply.blocks] == expected


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([tool(0, "a", "f", '{"x"'), tool(0, None, None, ":1}")], [("a", "f", '{"x":1}')]),
        ([tool(0, "a", "f"), tool(0, "a", "f", "{}")], [("a", "f", "{}")]),
        ([tool(0, "a", "f", "{"), tool(0, None, "", "}")], [("a", "f", "{}")]),
        ([tool(0, None, None, "{"), tool(0, "a", "f", "}")], [("a", "f", "{}")]),
        ([tool(0, "a", "f", "1"), tool(2, "b", "g", "2")], [("a", "f", "1"), ("b", "g", "2")]),
        ([tool(0, "a", "f", "1"), tool(0, "b", "g", "2")], [("a", "f", "1"), ("b", "g", "2")]),
        ([tool(None, "a", "f", "1"), tool(None, "b", "g", "2")], [("a", "f", "1"), ("b", "g", "2")]),
        ([tool(None, "a", "f", "1"), tool(None, None, None, "2")], [("a", "f", "12")]),
        (
            [tool(0, "a", "f"), tool(1, "b", "g"), tool(0, None, None, "1"), tool(1, None, None, "2")],
            [("a", "f", "1"), ("b", "g", "2")],
        ),
        ([tool(0, "a", "f", {"x": 1})], [("a", "f", '{"x":1}')]),
        ([tool(0, "a", "f", None)], [("a", "f", "")]),
        ([tool(0, None, "f", "{}")], [(None, "f", "{}")]),
        (
            [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}],
            [(None, "f", "{}")],
        ),
    ],
)
def test_calls_are_read_however_their_fragments_come(deltas: list[Object], expected: list[Any]) -> None:
    reply = reply_of(*(chunk(**delta) for delta in deltas), chunk("tool_calls"))
    assert [(block.call_id, block.name, block.arguments) for block in reply.blocks] == expected


def test_a_whole_answer_reads_like_its_stream() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}],
    }
    body = {**chunk(), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": USAGE}
    direct = fold(CODEC.decode_reply(body, context()))
    assert direct == reply_of(chunk(**message), chunk("tool_calls", usage=USAGE))
    assert [block.kind for block in direct.blocks] == ["reasoning", "text", "image", "tool_call"]
    assert direct.blocks[1].citations[0].url == "https://a.example"


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk("stop"), {**chunk(), "choices": [], "usage": USAGE}],
        [chunk("stop", usage=USAGE)],
        [chunk(usage={**USAGE, "completion_tokens": 1}, content="x"), chunk("stop", usage=USAGE), chunk()],
        [{**chunk("stop"), "usage": None}, {**chunk(), "choices": [], "usage": USAGE}],
        [{**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}],
    ],
)
def test_usage_is_found_wherever_a_provider_puts_it(chunks: list[Object]) -> None:
    usage = reply_of(chunk(content="x"), *chunks).usage
    assert usage is not None
    assert (usage.input_total, usage.output_total) == (5, 7)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}}, Usage(cache_read=3)),
        ({"prompt_cache_hit_tokens": 3}, Usage(cache_read=3)),
        ({"cached_tokens": 3}, Usage(cache_read=3)),
        ({"prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1}}, Usage(cache_read=2, cache_write=1)),
        ({"completion_tokens_details": {"reasoning_tokens": 4}}, Usage(reasoning=4)),
        (
            {"completion_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 16},
            Usage(reasoning=4, output_total=11),
        ),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Usage()),
    ],
)
def test_cached_and_reasoning_tokens_are_part_of_what_they_are_part_of(raw: Object, expected: Usage) -> None:
    usage = CODEC.read_usage({"usage": {**USAGE, **raw}})
    assert usage is not None
    assert (usage.input_total, usage.output_total) == (5, expected.output_total or 7)
    assert (usage.cache_read, usage.cache_write, usage.reasoning) == (
        expected.cache_read,
        expected.cache_write,
        expected.reasoning,
    )


@pytest.mark.parametrize("raw", [None, {}, [], "x", {"total_tokens": 3}, {"prompt_tokens": None}])
def test_usage_without_counts_is_none(raw: Any) -> None:
    assert CODEC.read_usage({"usage": raw}) is None
    assert reply_of(chunk(content="x"), STOP, {**chunk(), "choices": [], "usage": raw}).usage is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b'{"error":{"message":"x","code":429}}\n\n', 429),
        (b'data: {"error":{"message":"x","code":429}}\n\n', 429),
        (b'data: {"error":{"message":"x","status":503}}\n\n', 503),
        (b'data: {"error":{"message":"x"}}\n\n', 502),
        (b'data: {"error":"x"}\n\n', 502),
        (b'data: [{"error":{"message":"x","code":"401"}}]\n\n', 401),
        (b'event: error\ndata: {"message":"x","status_code":400}\n\n', 400),
        (b'data: {"type":"error","message":"x"}\n\n', 502),
        (b'data: {"code":500,"message":"x"}\n\n', 500),
        (b'data: {"response":{"error":{"message":"x","code":404}}}\n\n', 404),
    ],
)
def test_an_error_is_seen_in_any_shape(data: bytes, status: int) -> None:
    for before in (b"", sse(chunk(content="a"), done=False)):
        failure = decode(before + data + sse(chunk(content="b")))[-1]
        assert isinstance(failure, ev.Failure)
        assert (failure.error.status, failure.error.message) == (status, "x")


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (sse(chunk(content="x"), STOP, done=False), True),
        (sse(chunk(content="x")), True),
        (sse(chunk(content="x"), done=False), False),
        (sse(chunk(content="x"), done=False) + b'data: {"cho', False),
        (sse(chunk(**tool(0, "a", "f", '{"x'))), True),
        (sse(chunk(**tool(0, "a", "f", '{"x')), done=False), False),
        (sse(), False),
        (b"", False),
        (sse(chunk(role="assistant", content="")), False),
    ],
)
def test_an_answer_is_over_when_its_reason_or_the_end_mark_came(data: bytes, ends: bool) -> None:
    last = decode(data)[-1]
    assert isinstance(last, ev.End if ends else ev.Failure)
    if isinstance(last, ev.Failure):
        assert last.error.status == 502


def test_several_choices_end_each_for_their_own_reason() -> None:
    reply = reply_of(chunk(content="a"), chunk(content="b", index=1), chunk("length", index=1), STOP)
    assert [(block.choice, block.text) for block in reply.blocks] == [(0, "a"), (1, "b")]
    assert {index: finish.reason for index, finish in reply.finishes.items()} == {0: "stop", 1: "length"}


def test_the_clients_names_come_back() -> None:
    names = NameMap()
    names.add(ToolIdentity("run", "mcp__srv__"), "mcp__srv__run", distinguish=lambda name, n: name)
    names.add(ToolIdentity("patch", None, "custom", wrapped=True), "patch", distinguish=lambda name, n: name)
    reply = reply_of(
        chunk(**tool(0, "a", "mcp__srv__run", "{}")),
        chunk(**tool(1, "b", "patch", '{"input":')),
        chunk(**tool(1, None, None, '"*** Begin"}')),
        chunk("tool_calls"),
        names=names,
    )
    run, patch = reply.blocks
    assert (run.name, run.namespace) == ("run", "mcp__srv__")
    assert (patch.name, patch.tool_type, patch.arguments) == ("patch", "custom", "*** Begin")


def test_sources_of_a_search_are_citations() -> None:
    sources = {"citations": ["https://a.example", "https://b.example"]}
    reply = reply_of({**chunk(content="x"), **sources}, {**STOP, **sources})
    assert [citation.url for citation in reply.blocks[0].citations] == sources["citations"]


# -- writing -------------------------------------------------------------------------------------------------

TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}
ANSWER: list[ev.Event] = [
    ev.Start("up_1", "up", 7, service_tier="flex", system_fingerprint="fp"),
    ev.BlockStart(1, "text"),
    ev.TextDelta(1, "Hi", [TOKEN]),
    ev.CitationDelta(1, ev.Citation(url="https://a.example", title="A", start=0, end=2)),
    ev.BlockEnd(1),
    ev.BlockStart(2, "image"),
    ev.DataDelta(2, "AAAA", 0),
    ev.BlockEnd(2, media_type="image/webp", data="QUJD"),
    ev.BlockStart(3, "tool_call", call_id="c", name="f"),
    ev.BlockEnd(3),
    ev.UsageReport(Usage(input_total=5, output_total=7)),
    ev.Finish("tool_calls", native="STOP"),
    ev.End(),
]


def test_a_stream_is_written_chunk_by_chunk() -> None:
    chunks = written(ANSWER, upstream_format="gemini")
    for one in chunks:
        ChatCompletionChunk.model_validate(one)
    assert {(one["id"], one["created"], one["model"], one["service_tier"]) for one in chunks} == {
        ("up_1", 7, "up", "flex")
    }
    deltas = [one["choices"][0]["delta"] for one in chunks]
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Hi"},
        {
            "annotations": [
                {
                    "index": 0,
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 2, "title": "A", "url": "https://a.example"},
                }
            ]
        },
        {"images": [{"type": "image_url", "index": 0, "image_url": {"url": "data:image/webp;base64,QUJD"}}]},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert chunks[1]["choices"][0]["logprobs"]["content"] == [TOKEN]
    assert chunks[-1]["choices"][0]["native_finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == 12


def test_usage_has_a_chunk_of_its_own_for_those_who_asked() -> None:
    chunks = written(ANSWER, include_usage=True)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 5
    assert not any("usage" in one for one in chunks[:-1])


def test_a_whole_answer_is_written() -> None:
    body = CODEC.encode_reply(fold(ANSWER), context(model="alias"))
    ChatCompletion.model_validate(body)
    assert (body["model"], body["object"]) == ("alias", "chat.completion")
    message = body["choices"][0]["message"]
    assert message["content"] == "Hi"
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert message["images"][0]["image_url"]["url"].startswith("data:image/webp")
    assert body["choices"][0]["logprobs"]["content"] == [TOKEN]


def test_parts_of_a_summary_are_parted_by_a_blank_line_and_none_ends_it() -> None:
    events: list[ev.Event] = [
        ev.BlockStart(1, "reasoning", style="summary"),
        ev.TextDelta(1, "a"),
        ev.PartBreak(1),
        ev.TextDelta(1, "b"),
        ev.PartBreak(1),
        ev.BlockEnd(1),
        ev.End(),
    ]
    deltas = [one["choices"][0]["delta"].get("reasoning_content", "") for one in written(events)]
    assert "".join(deltas) == "a\n\nb"
    assert CODEC.encode_reply(fold(events), context())["choices"][0]["message"]["reasoning_content"] == "a\n\nb"


def test_the_legacy_route_is_told_texts_alone() -> None:
    shared = context(alt="completions", include_usage=True)
    data = CODEC.stream_encoder(shared, CODEC.framing(shared)).encode(ANSWER)
    assert data.endswith(b"data: [DONE]\n\n")
    chunks = [orjson.loads(frame.data) for frame in SseParser().feed(data)[:-1]]
    assert {one["object"] for one in chunks} == {"text_completion"}
    shown = [(choice["text"], choice["finish_reason"]) for one in chunks for choice in one["choices"]]
    assert shown == [("Hi", None), ("", "stop")]
    assert chunks[-1]["usage"]["total_tokens"] == 12
    body = CODEC.encode_reply(fold(ANSWER), shared)
    assert (body["object"], body["choices"][0]["text"], body["usage"]["total_tokens"]) == ("text_completion", "Hi", 12)


@pytest.mark.parametrize("model", [None, "shown"])
@pytest.mark.parametrize("include_usage", [True, False])
def test_no_chat_chunk_passes_to_a_client_of_the_legacy_route(model: str | None, include_usage: bool) -> None:
    shared = context(alt="completions", model=model, include_usage=include_usage)
    native = PassingRelay(CODEC.native_relay(shared, CODEC.framing(shared)))
    texts = [str(number) for number in range(50)]
    stream = sse(*(chunk(content=text) for text in texts), chunk("stop"), {**chunk(), "choices": [], "usage": USAGE})
    frames = SseParser().feed(native.feed(stream) + native.close())
    assert frames[-1].data == b"[DONE]"
    chunks = [orjson.loads(frame.data) for frame in frames[:-1]]
    assert {one["object"] for one in chunks} == {"text_completion"}
    assert "".join(choice["text"] for one in chunks for choice in one["choices"]) == "".join(texts)
    assert chunks[-1]["usage"] == USAGE


# -- the same format on both sides ---------------------------------------------------------------------------


def relayed(data: bytes, **members: Any) -> tuple[bytes, Any]:
    shared = context(**members)
    relay = CODEC.native_relay(shared, CODEC.framing(shared))
    out = b"".join(relay.feed(frame) for frame in SseParser().feed(data))
    return out + relay.close(), relay


STREAM = sse(
    chunk(role="assistant", content=""),
    {**chunk(content="a"), "unknown": {"deep": 1.0}},
    chunk(
        tool_calls=[
            {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"model":"up"}'}}
        ]
    ),
    chunk("tool_calls"),
    {**chunk(), "choices": [], "usage": USAGE},
)


def test_a_stream_passes_byte_for_byte() -> None:
    out, relay = relayed(STREAM, include_usage=True)
    assert out == STREAM
    assert (relay.complete, relay.error, relay.served_model) == (True, None, "up")
    assert relay.usage.output_total == 7


def test_usage_no_client_asked_for_rides_on_the_last_chunk() -> None:
    out, relay = relayed(STREAM)
    chunks = [orjson.loads(frame.data) for frame in SseParser().feed(out)[:-1]]
    assert all(one["choices"] for one in chunks)
    assert chunks[-1]["usage"] == USAGE
    assert relay.usage.input_total == 5


def test_the_model_is_renamed_in_every_chunk_and_nowhere_else() -> None:
    out, _ = relayed(STREAM, model="alias", include_usage=True)
    assert out == STREAM.replace(b'"model":"up","choices"', b'"model":"alias","choices"')
    body = {"model": "up", "x": 1}
    assert CODEC.adapt_native_reply(body, context(model="alias")) == {"model": "alias", "x": 1}
    assert CODEC.adapt_native_reply(body, context()) is body


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (sse(chunk(content="a"), done=False), "stream_cut_off"),
        (b"", "empty_stream"),
        (sse(), "empty_stream"),
        (sse(chunk(content="a"), done=False) + b'data: {"cho\n\n', "bad_event"),
    ],
)
def test_a_relay_tells_a_broken_stream(data: bytes, code: str) -> None:
    out, relay = relayed(data)
    assert (relay.complete, relay.error.status, relay.error.code) == (False, 502, code)
    assert b"[DONE]" not in out
    last = SseParser().feed(relay.fail(ErrorInfo(502, "m")))[-1]
    assert orjson.loads(last.data)["error"]["message"] == "m"


def test_nothing_passes_after_the_end_mark() -> None:
    out, relay = relayed(STREAM + sse(chunk(content="late")), include_usage=True)
    assert out == STREAM
    assert relay.complete


def test_a_stream_without_end_mark_is_given_one_when_its_reason_came() -> None:
    out, relay = relayed(sse(chunk(content="a"), chunk("stop", usage=USAGE), done=False))
    assert relay.complete
    assert out.endswith(b"data: [DONE]\n\n")
