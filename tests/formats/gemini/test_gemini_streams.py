"""Gemini's answers as events, and events as Gemini's answers."""

from __future__ import annotations

from itertools import count
from typing import Any

import orjson
import pytest
from google.genai import types
from hypothesis import given, settings
from strategies_gemini import META, STREAMS, as_body, chunk, event_lists, parse, payloads, sse

from cpa.conversation import events as ev
from cpa.conversation.names import NameMap, ToolIdentity
from cpa.conversation.reply import Block, Reply, fold
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.codec import ReplyContext
from cpa.formats.gemini import GeminiCliCodec, GeminiCodec
from cpa.formats.sse import SseFrame, SseParser

CODEC = GeminiCodec()
CLI = GeminiCliCodec()


def context(**members: Any) -> ReplyContext:
    numbers = count(1)
    members.setdefault("new_id", lambda prefix: f"{prefix}{next(numbers)}")
    members.setdefault("requested_model", "asked")
    return ReplyContext(**members)


def events_of(frames: list[SseFrame], **members: Any) -> list[ev.Event]:
    decoder = CODEC.stream_decoder(context(**members))
    return [event for frame in frames for event in decoder.feed(frame)] + decoder.close()


def decode(*frames: dict[str, Any], **members: Any) -> list[ev.Event]:
    return events_of(parse(sse(list(frames))), **members)


def reply_of(*frames: dict[str, Any], **members: Any) -> Reply:
    return fold(decode(*frames, **members))


def encode(events: list[ev.Event], codec: GeminiCodec = CODEC, **members: Any) -> bytes:
    reply_context = context(**members)
    return codec.stream_encoder(reply_context, codec.framing(reply_context)).encode(events)


# -- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_bytes_split_anywhere_give_the_same_events(name: str, newline: bytes) -> None:
    data = sse(STREAMS[name], newline)
    whole = decode(*STREAMS[name])
    for cut in range(1, len(data)):
        parser = SseParser()
        frames = [*parser.feed(data[:cut]), *parser.feed(data[cut:]), *parser.close()]
        assert events_of(frames) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_cut_stream_is_a_failure(name: str) -> None:
    frames = STREAMS[name]
    finishing = [index for index, frame in enumerate(frames) if b"finishReason" in orjson.dumps(frame)]
    for cut in range(finishing[-1] + 1):
        last = decode(*frames[:cut])[-1]
        assert isinstance(last, ev.Failure)
        assert last.error.status == 502
        assert last.error.code == ("stream_cut_off" if cut else "empty_stream")
    assert isinstance(decode(*frames)[-1], ev.End)


@pytest.mark.parametrize("name", STREAMS)
def test_whole_answer_and_stream_say_the_same(name: str) -> None:
    body = as_body(STREAMS[name])
    whole = fold(CODEC.decode_reply(body, context()))
    streamed = reply_of(*STREAMS[name])
    assert _by_choice(whole) == _by_choice(streamed)
    assert (whole.finishes, whole.usage, whole.ended) == (streamed.finishes, streamed.usage, True)
    assert fold(CODEC.decode_reply({"response": body}, context())) == whole


def _by_choice(reply: Reply) -> dict[int, list[Block]]:
    return {choice: [block for block in reply.blocks if block.choice == choice] for choice in reply.choices()}


def test_thoughts_texts_and_calls_keep_their_order() -> None:
    reply = reply_of(
        chunk({"text": "t1", "thought": True}, {"text": "a"}, {"text": "t2", "thought": True}),
        chunk({"text": "b"}, {"text": "c"}, {"functionCall": {"name": "f"}}, {"text": "d"}, finish="STOP"),
    )
    assert [(block.kind, block.text or block.name) for block in reply.blocks] == [
        ("reasoning", "t1"),
        ("text", "a"),
        ("reasoning", "t2"),
        ("text", "bc"),
        ("tool_call", "f"),
        ("text", "d"),
    ]
    assert reply.finishes[0].reason == "tool_calls"


def test_a_proof_follows_the_thoughts_it_proves() -> None:
    events = decode(*STREAMS["thinking"])
    kinds = [type(event) for event in events if isinstance(event, (ev.TextDelta, ev.SignatureDelta))]
    assert kinds == [ev.TextDelta, ev.TextDelta, ev.SignatureDelta, ev.TextDelta]
    assert fold(events).blocks[0].signature == "RXE0RENrZ0lDeEFD"


def test_the_bypass_literal_is_shown_to_nobody() -> None:
    literal = {"thoughtSignature": "skip_thought_signature_validator"}
    reply = reply_of(
        chunk({"text": "t", "thought": True, **literal}, {"functionCall": {"name": "f"}, **literal}, finish="STOP")
    )
    assert all(block.signature is None for block in reply.blocks)


@pytest.mark.parametrize("client", ["claude", "openai"])
def test_calls_without_or_with_equal_ids_get_distinct_ones(client: str) -> None:
    calls = [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "id": "x"}}] * 2
    reply = reply_of(chunk(*calls, finish="STOP"), client_format=client)
    ids = [block.call_id for block in reply.blocks]
    assert len(set(ids)) == 4
    assert ids[1] == "x"
    assert str(ids[0]).startswith("toolu_" if client == "claude" else "call_")


def test_names_and_custom_tools_are_the_clients_again() -> None:
    names = NameMap()
    names.add(ToolIdentity("a/b"), "a_b", distinguish=lambda name, n: name)
    names.add(ToolIdentity("patch", None, "custom", wrapped=True), "patch", distinguish=lambda name, n: name)
    names.add(ToolIdentity("run", "mcp__srv"), "mcp__srv__run", distinguish=lambda name, n: name)
    calls = [
        {"functionCall": {"name": "a_b"}},
        {"functionCall": {"name": "patch", "args": {"input": "text"}}},
        {"functionCall": {"name": "mcp__srv__run"}},
        {"functionCall": {"name": "A_B"}},
    ]
    reply = reply_of(chunk(*calls, finish="STOP"), names=names)
    assert [block.name for block in reply.blocks] == ["a/b", "patch", "run", "A_B"]
    assert (reply.blocks[1].tool_type, reply.blocks[1].arguments) == ("custom", "text")
    assert reply.blocks[2].namespace == "mcp__srv"
    assert reply_of(chunk(*calls, finish="STOP"), names=names, client_format="claude").blocks[3].name == "a/b"


def test_arguments_streamed_in_pieces() -> None:
    def piece(path: str, **value: Any) -> dict[str, Any]:
        return {"jsonPath": path, **value}

    reply = reply_of(
        chunk({"functionCall": {"name": "f", "id": "c", "willContinue": True}}),
        chunk(
            {
                "functionCall": {
                    "partialArgs": [piece("$.city", stringValue="New ", willContinue=True)],
                    "willContinue": True,
                }
            }
        ),
        chunk({"functionCall": {"partialArgs": [piece("$.city", stringValue="York")], "willContinue": True}}),
        chunk(
            {"functionCall": {"partialArgs": [piece("$.days[1].n", numberValue=2), piece("$['x y']", nullValue=None)]}}
        ),
        chunk({"functionCall": {}}, finish="STOP"),
    )
    [call] = reply.blocks
    assert call.call_id == "c"
    assert orjson.loads(call.arguments) == {"city": "New York", "days": [None, {"n": 2}], "x y": None}


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed_call"),
        ("OTHER", "stop"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_finish_reasons(native: str, reason: str) -> None:
    assert reply_of(chunk({"text": "x"}, finish=native)).finishes == {0: ev.Finish(reason, native=native)}


def test_a_blocked_prompt() -> None:
    reply = reply_of({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}, **META})
    assert reply.finishes == {0: ev.Finish("content_filter", native="SAFETY")}
    assert reply.ended


def test_an_empty_finish_is_a_complete_answer() -> None:
    reply = reply_of(chunk({"text": ""}, finish="STOP", usageMetadata={"promptTokenCount": 3, "totalTokenCount": 3}))
    assert (reply.blocks, reply.ended) == ([], True)
    assert reply.usage is not None
    assert reply.usage.output_total == 0


def test_usage() -> None:
    metadata = {
        "promptTokenCount": 130,
        "cachedContentTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 7,
        "totalTokenCount": 187,
    }
    usage = reply_of(chunk({"text": "x"}, finish="STOP", usageMetadata=metadata)).usage
    assert usage is not None
    assert (usage.input_total, usage.cache_read, usage.tool_prompt) == (137, 100, 7)
    assert (usage.output_total, usage.reasoning, usage.total, usage.raw) == (50, 30, 187, metadata)


def test_usage_is_known_while_the_answer_runs() -> None:
    decoder = CODEC.stream_decoder(context())
    [frame] = parse(sse([chunk({"text": "a"}, usageMetadata={"promptTokenCount": 10})]))
    assert any(isinstance(event, ev.UsageReport) for event in decoder.feed(frame))


@pytest.mark.parametrize("wrapper", [lambda error: error, lambda error: [error], lambda error: {"response": error}])
def test_an_error_in_the_stream(wrapper: Any) -> None:
    error = {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}
    frames = parse(
        sse([chunk({"text": "a"})]) + b"data: " + orjson.dumps(wrapper(error)) + b"\n\n" + sse([chunk({"text": "b"})])
    )
    events = events_of(frames)
    assert isinstance(events[-1], ev.Failure)
    assert events[-1].error.status == 429
    assert [event.text for event in events if isinstance(event, ev.TextDelta)] == ["a"]


def test_a_bare_error_line() -> None:
    [event] = events_of(parse(b'{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}\n\n'))
    assert isinstance(event, ev.Failure)
    assert event.error.status == 503


def test_broken_frames() -> None:
    good = sse([chunk({"text": "a"}, finish="STOP")])
    assert isinstance(events_of(parse(b'data: {"cand\n\n' + good))[-1], ev.Failure)
    assert isinstance(events_of(parse(b"data: alive\n\n" + good))[-1], ev.End)
    assert isinstance(events_of(parse(good + b'data: {"cand\n\n'))[-1], ev.Failure)


@pytest.mark.parametrize(
    "junk",
    [
        3,
        [],
        {},
        {"candidates": 3},
        {"candidates": [3, {"content": 3}, {"content": {"parts": 3}}, {"content": {"parts": [3, {}, {"text": 3}]}}]},
        {"candidates": [{"index": "x", "finishReason": 3, "groundingMetadata": 3}], "usageMetadata": 3},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": 3}}, {"inlineData": {"data": 3}}]}}]},
        {"candidates": [{"groundingMetadata": {"groundingSupports": [3, {"segment": {"startIndex": "x"}}]}}]},
        {"usageMetadata": {"promptTokenCount": "x", "candidatesTokensDetails": [3]}},
        {"promptFeedback": 3, "createTime": "yesterday", "modelVersion": 3},
    ],
)
def test_nonsense_breaks_nothing(junk: Any) -> None:
    frame = SseFrame(orjson.dumps(junk))
    events = events_of([frame, *parse(sse([chunk({"text": "a"}, finish="STOP")]))])
    assert isinstance(events[-1], (ev.End, ev.Failure))
    assert fold(events).blocks[-1].text == "a"


def test_grounding_becomes_citations_and_a_search() -> None:
    text = "Grün 😀 ist die Hoffnung."
    cited = "ist die Hoffnung"
    start = len(text[: text.index(cited)].encode())
    metadata = {
        "webSearchQueries": ["hope"],
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}],
        "groundingSupports": [
            {"segment": {"startIndex": start, "endIndex": start + len(cited)}, "groundingChunkIndices": [0, 9]},
            {"segment": {"endIndex": 5}, "groundingChunkIndices": [1]},
        ],
    }
    last = chunk({"text": text[6:]}, finish="STOP")
    last["candidates"][0]["groundingMetadata"] = metadata
    reply = reply_of(chunk({"text": text[:6]}), last)
    spoken, search = reply.blocks
    assert [citation.cited_text for citation in spoken.citations] == ["Grün", cited]
    assert [text[citation.start : citation.end] for citation in spoken.citations] == ["Grün", cited]
    assert spoken.citations[1].url == "https://a"
    assert (search.kind, search.name, search.input) == ("server_tool", "web_search", {"query": "hope"})
    assert search.results == [{"url": "https://a", "title": "A"}, {"url": "https://b", "title": "https://b"}]


# -- writing -----------------------------------------------------------------------------------------------

ANSWER: list[ev.Event] = [
    ev.Start(id="msg_1", model="up"),
    ev.BlockStart(0, "reasoning"),
    ev.TextDelta(0, "hm"),
    ev.SignatureDelta(0, "EqQBCkYIARgCKkA="),
    ev.BlockEnd(0),
    ev.BlockStart(1, "text"),
    ev.TextDelta(1, "Hé"),
    ev.TextDelta(1, "llo"),
    ev.BlockEnd(1),
    ev.BlockStart(2, "tool_call", call_id="c1", name="f"),
    ev.ArgumentsDelta(2, '{"a":'),
    ev.ArgumentsDelta(2, "1}"),
    ev.BlockEnd(2),
    ev.Finish("tool_calls"),
    ev.UsageReport(Usage(input_total=130, cache_read=100, cache_write=20, output_total=50, reasoning=30)),
    ev.End(),
]


def test_a_stream_for_a_gemini_client() -> None:
    frames = payloads(encode(ANSWER))
    parts = [part for frame in frames for part in frame["candidates"][0]["content"]["parts"]]
    assert parts == [
        {"text": "hm", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "EqQBCkYIARgCKkA="},
        {"text": "Hé"},
        {"text": "llo"},
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}},
        {"text": ""},
    ]
    assert [frame["candidates"][0].get("finishReason") for frame in frames] == [None] * 5 + ["STOP"]
    assert frames[-1]["usageMetadata"] == {
        "promptTokenCount": 130,
        "cachedContentTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 180,
    }
    assert {frame["modelVersion"] for frame in frames} == {"up"}
    assert {frame["responseId"] for frame in frames} == {"msg_1"}
    assert payloads(encode(ANSWER, model="alias"))[0]["modelVersion"] == "alias"


def test_a_whole_answer_for_a_gemini_client() -> None:
    body = CODEC.encode_reply(fold(ANSWER), context())
    [candidate] = body["candidates"]
    assert candidate["content"]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "EqQBCkYIARgCKkA="},
        {"text": "Héllo"},
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}},
    ]
    assert candidate["finishReason"] == "STOP"
    assert types.GenerateContentResponse.model_validate(body).text == "Héllo"
    assert CLI.encode_reply(fold(ANSWER), context()) == {"response": body}


def test_the_envelope_and_the_array() -> None:
    bare = payloads(encode(ANSWER))
    assert payloads(encode(ANSWER, CLI)) == [{"response": frame} for frame in bare]
    traced = [ev.Start(id="msg_1", model="up", trace_id="t"), *ANSWER[1:]]
    assert payloads(encode(traced, CLI)) == [{"response": frame, "traceId": "t"} for frame in bare]
    assert orjson.loads(encode(ANSWER, alt="json")) == bare
    assert orjson.loads(encode([ev.Failure(ErrorInfo(500, "x"))], alt="json"))[0]["error"]["code"] == 500


def test_summary_parts_are_parted() -> None:
    events = [
        ev.BlockStart(0, "reasoning"),
        ev.TextDelta(0, "a"),
        ev.PartBreak(0),
        ev.TextDelta(0, "b"),
        ev.BlockEnd(0),
        ev.End(),
    ]
    texts = [frame["candidates"][0]["content"]["parts"][0]["text"] for frame in payloads(encode(events))]
    assert texts == ["a", "\n\nb", ""]


def test_openai_cipher_text_is_no_thought_signature() -> None:
    import base64

    token = base64.urlsafe_b64encode(b"\x80" + bytes(8 + 16 + 32 + 32)).decode()
    events = [ev.BlockStart(0, "reasoning"), ev.TextDelta(0, "a"), ev.BlockEnd(0, signature=token), ev.End()]
    assert b"thoughtSignature" not in encode(events)


def test_parallel_calls_come_in_the_order_they_began() -> None:
    events: list[ev.Event] = [
        ev.BlockStart(0, "tool_call", name="a", call_id="1"),
        ev.BlockStart(1, "tool_call", call_id="2"),
        ev.ArgumentsDelta(1, "{}"),
        ev.ToolCallInfo(1, name="b"),
        ev.BlockEnd(1),
        ev.ArgumentsDelta(0, "{}"),
        ev.BlockEnd(0),
        ev.End(),
    ]
    calls = [frame["candidates"][0]["content"]["parts"][0] for frame in payloads(encode(events))[:-1]]
    assert [call["functionCall"]["name"] for call in calls] == ["a", "b"]


@pytest.mark.parametrize(("reason", "shown"), [("length", 0), ("stop", 1)])
def test_a_call_cut_off_is_not_shown_as_usable(reason: Any, shown: int) -> None:
    events: list[ev.Event] = [
        ev.BlockStart(0, "tool_call", name="f", call_id="1"),
        ev.ArgumentsDelta(0, '{"a": "cu'),
        ev.BlockEnd(0),
        ev.Finish(reason),
        ev.End(),
    ]
    assert encode(events).count(b"functionCall") == shown
    assert orjson.dumps(CODEC.encode_reply(fold(events), context())).count(b"functionCall") == shown


def test_long_numbers_keep_their_digits() -> None:
    arguments = '{"id": 123456789012345678901234}'
    events: list[ev.Event] = [
        ev.BlockStart(0, "tool_call", name="f"),
        ev.ArgumentsDelta(0, arguments),
        ev.BlockEnd(0),
        ev.End(),
    ]
    assert b"123456789012345678901234}" in encode(events)
    assert b"123456789012345678901234}" in orjson.dumps(CODEC.encode_reply(fold(events), context()))


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        (ev.Finish("stop"), "STOP"),
        (ev.Finish("length"), "MAX_TOKENS"),
        (ev.Finish("content_filter", native="content_filter"), "SAFETY"),
        (ev.Finish("content_filter", native="RECITATION"), "RECITATION"),
        (ev.Finish("refusal"), "SAFETY"),
        (ev.Finish("context_exceeded"), "MAX_TOKENS"),
        (ev.Finish("malformed_call", native="UNEXPECTED_TOOL_CALL"), "UNEXPECTED_TOOL_CALL"),
        (ev.Finish("pause"), "STOP"),
    ],
)
def test_finish_reasons_told(finish: ev.Finish, told: str) -> None:
    assert payloads(encode([finish, ev.End()]))[-1]["candidates"][0]["finishReason"] == told


def test_a_failure_ends_the_stream() -> None:
    error = ErrorInfo(529, "busy", retry_after=1.5)
    data = encode([*ANSWER[:3], ev.Failure(error), ev.TextDelta(0, "more"), ev.End()])
    last = payloads(data)[-1]
    assert last["error"]["code"] == 503
    assert last["error"]["status"] == "UNAVAILABLE"
    assert last["error"]["details"][0]["retryDelay"] == "1.5s"
    assert next(iter(last)) == "error"
    assert b"more" not in data


def test_keep_alive_is_no_comment() -> None:
    assert CODEC.framing(context()).keep_alive() == b"\n"


@settings(max_examples=100, deadline=None)
@given(event_lists())
def test_every_stream_keeps_the_rules_of_the_format(events: list[ev.Event]) -> None:
    data = encode(events)
    assert all(line.startswith(b"data: {") for line in data.split(b"\n\n")[:-1])
    frames = payloads(data)
    finished: set[int] = set()
    for frame in frames:
        types.GenerateContentResponse.model_validate(frame)
        for candidate in frame["candidates"]:
            assert candidate["index"] not in finished
            assert candidate["content"]["role"] == "model"
            for part in candidate["content"]["parts"]:
                if "functionCall" in part:
                    assert part["functionCall"]["name"]
                    assert isinstance(part["functionCall"]["args"], dict)
            if "finishReason" in candidate:
                finished.add(candidate["index"])
    assert finished
    assert {frame["modelVersion"] for frame in frames} == {"up-model"}
    assert {frame["responseId"] for frame in frames} == {"up_1"}
    reported = fold(events).usage
    assert ("usageMetadata" in frames[-1]) == (reported is not None)
    assert orjson.loads(encode(events, alt="json")) == frames
    assert payloads(encode(events, CLI)) == [{"response": frame} for frame in frames]


@settings(max_examples=100, deadline=None)
@given(event_lists())
def test_stream_and_whole_answer_are_equal(events: list[ev.Event]) -> None:
    body = CODEC.encode_reply(fold(events), context())
    types.GenerateContentResponse.model_validate_json(orjson.dumps(body))
    streamed = fold(CODEC.decode_reply(as_body(payloads(encode(events))), context()))
    whole = fold(CODEC.decode_reply(orjson.loads(orjson.dumps(body)), context()))
    assert streamed.choices() == whole.choices()
    assert streamed.finishes == whole.finishes
    assert streamed.usage == whole.usage
    for choice in whole.choices():
        for kind in ("text", "reasoning"):
            assert _said(streamed, choice, kind) == _said(whole, choice, kind)
        assert _calls(streamed, choice) == _calls(whole, choice)


def test_calls_keep_their_order_also_after_one_that_cannot_be_read() -> None:
    events: list[ev.Event] = [ev.Start()]
    for key, arguments in enumerate(["not json", '{"a":1}'], 1):
        events += [
            ev.BlockStart(key, "tool_call", call_id=f"c{key}", name=f"f{key}"),
            ev.ArgumentsDelta(key, arguments),
        ]
        events.append(ev.BlockEnd(key))
    for reason, names in (("tool_calls", ["f1", "f2"]), ("length", ["f2"])):
        whole = [*events, ev.Finish(reason), ev.End()]  # type: ignore[arg-type]
        streamed = fold(CODEC.decode_reply(as_body(payloads(encode(whole))), context()))
        assert [name for name, _ in _calls(streamed, 0)] == names


def _said(reply: Reply, choice: int, kind: str) -> list[str]:
    said = "".join(block.text for block in reply.blocks if block.choice == choice and block.kind == kind)
    return sorted(said)


def _calls(reply: Reply, choice: int) -> list[tuple[str | None, str]]:
    return [
        (block.name, block.arguments) for block in reply.blocks if block.choice == choice and block.kind == "tool_call"
    ]


@settings(max_examples=50, deadline=None)
@given(event_lists())
def test_a_failure_after_any_prefix_is_told_once(events: list[ev.Event]) -> None:
    for cut in range(0, len(events), 3):
        frames = payloads(encode([*events[:cut], ev.Failure(ErrorInfo(502, "cut"))]))
        assert [frame for frame in frames if "error" in frame] == [frames[-1]]
        assert b"finishReason" not in orjson.dumps(frames)
