"""Gemini clients at Gemini upstreams: what is changed, what passes untouched, and the envelope between the dialects."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_gemini import META, STREAMS, USAGE, chunk, parse, payloads, sse

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.models import ModelLimits
from cpa.errors import ErrorInfo
from cpa.exchange.relay import PassingRelay
from cpa.formats.codec import NativeRelay, ReplyContext, Target
from cpa.formats.gemini import GeminiCliCodec, GeminiCodec
from cpa.formats.sse import JsonArrayFraming, SseParser

CODEC = GeminiCodec()
CLI = GeminiCliCodec()
SENTINEL = "skip_thought_signature_validator"
OWN = "CskBAXLI2nw="
TARGET = Target("gemini-2.5-pro", "gemini")
CLI_TARGET = Target("gemini-2.5-pro", "gemini-cli")


def adapt(body: dict[str, Any], target: Target = TARGET, reasoning: ResolvedReasoning = KEEP) -> dict[str, Any]:
    before = copy.deepcopy(body)
    adapted = CODEC.adapt_native(body, target, reasoning).body
    assert body == before
    return adapted


def contents(*items: tuple[str | None, list[Any]]) -> dict[str, Any]:
    return {
        "contents": [{"role": role, "parts": parts} if role else {"parts": parts} for role, parts in items],
        "safetySettings": [],
    }


def test_a_good_body_stays_the_same_object() -> None:
    body = contents(
        ("user", [{"text": "q", "unknown": 1.0}]),
        ("model", [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": OWN}]),
        ("user", [{"functionResponse": {"name": "f", "response": {"result": "r"}}}]),
    )
    body["unknown"] = {"a": [1]}
    assert adapt(body) is body


def test_untouched_members_keep_their_identity() -> None:
    body = contents(("function", [{"text": "a"}]), ("model", [{"text": "b"}]))
    adapted = adapt(body)
    assert adapted["contents"][0]["role"] == "user"
    assert adapted["contents"][1] is body["contents"][1]
    assert adapted["safetySettings"] is body["safetySettings"]


def test_roles_and_the_first_turn() -> None:
    adapted = adapt(contents(("assistant", [{"text": "a"}]), (None, [{"text": "b"}]), ("tool", [{"text": "c"}])))
    assert [content["role"] for content in adapted["contents"]] == ["user", "model", "user", "user"]


def test_names_are_filled_in_and_kept() -> None:
    calls = [{"functionCall": {"name": "Read"}, "thoughtSignature": OWN}, {"functionCall": {"name": "Grep", "id": "g"}}]
    answers = [
        {"functionResponse": {"name": "", "id": "g", "response": {}}},
        {"functionResponse": {"response": {}}},
        {"functionResponse": {"name": "Other", "response": {}}},
        {"text": "kept"},
    ]
    adapted = adapt(contents(("user", [{"text": "q"}]), ("model", calls), ("user", answers)))
    parts = adapted["contents"][2]["parts"]
    assert [part["functionResponse"]["name"] for part in parts[:3]] == ["Grep", "Grep", "Other"]
    assert parts[3] == {"text": "kept"}


def test_signatures() -> None:
    body = contents(
        ("user", [{"text": "q"}]),
        ("model", [{"functionCall": {"name": "a"}}, {"functionCall": {"name": "b"}}]),
        ("user", [{"functionResponse": {"name": "a", "response": {}}, "thoughtSignature": OWN}]),
        ("model", [{"text": "x", "thoughtSignature": "EqQBCkYIARgCKkA="}, {"functionCall": {"name": "a"}}]),
        ("model", [{"functionCall": {"name": "a"}, "thought_signature": OWN}]),
    )
    turns = [content["parts"] for content in adapt(body)["contents"]]
    assert [part.get("thoughtSignature") for part in turns[1]] == [SENTINEL, None]
    assert "thoughtSignature" not in turns[2][0]
    assert turns[3] == [{"text": "x"}, {"functionCall": {"name": "a"}, "thoughtSignature": SENTINEL}]
    assert turns[4] is body["contents"][4]["parts"]


def test_null_holes_and_empty_contents_go() -> None:
    body = contents(("user", [None, {"text": "a"}]), ("model", []), ("user", [{"text": "b"}]))
    assert adapt(body)["contents"] == [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "user", "parts": [{"text": "b"}]},
    ]


def test_schemas_are_json_schema() -> None:
    body = {
        **contents(("user", [{"text": "q"}])),
        "tools": [
            {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]},
            {"googleSearch": {}},
        ],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}},
    }
    adapted = adapt(body)
    assert adapted["tools"][0]["functionDeclarations"] == [
        {"name": "f", "parametersJsonSchema": {"type": "object", "properties": {}}}
    ]
    assert adapted["tools"][1] is body["tools"][1]
    assert adapted["generationConfig"]["responseJsonSchema"] == {"type": "string"}
    assert "responseSchema" not in adapted["generationConfig"]


def test_upstream_quirks_and_bookkeeping() -> None:
    config = {"maxOutputTokens": 5, "topK": 1}
    body = {**contents(("user", [{"text": "q"}])), "model": "x", "session_id": "s", "generationConfig": config}
    adapted = adapt(body, Target("m", "gemini", quirks=frozenset({"aistudio"})))
    assert adapted["generationConfig"] == {"topK": 1}
    assert "model" not in adapted
    assert "session_id" not in adapted


@pytest.mark.parametrize("key", ["safetySettings", "safety_settings"])
def test_safety_settings(key: str) -> None:
    body = contents(("user", [{"text": "q"}]))
    del body["safetySettings"]
    assert len(adapt(body)["safetySettings"]) == 5
    assert adapt({**body, key: []})[key] == []


def test_reasoning_is_written() -> None:
    body = contents(("user", [{"text": "q"}]))
    adapted = adapt(body, reasoning=ResolvedReasoning("budget", budget=5))
    assert adapted["generationConfig"]["thinkingConfig"] == {"includeThoughts": True, "thinkingBudget": 5}
    same = {**body, "generationConfig": adapted["generationConfig"]}
    assert adapt(same, reasoning=ResolvedReasoning("budget", budget=5)) is same


def test_envelopes_between_the_dialects() -> None:
    inner = {**contents(("user", [{"text": "q"}])), "system_instruction": {"parts": [{"text": "S"}]}}
    envelope = {"model": "alias", "project": "p", "user_prompt_id": "u", "request": inner}
    wrapped = CLI.adapt_native(envelope, CLI_TARGET, KEEP).body
    assert {key: wrapped[key] for key in ("model", "project", "user_prompt_id")} == {
        "model": "gemini-2.5-pro",
        "project": "p",
        "user_prompt_id": "u",
    }
    assert wrapped["request"]["systemInstruction"] is inner["system_instruction"]
    assert "system_instruction" not in wrapped["request"]
    assert adapt(envelope) is inner
    assert CLI.adapt_native(inner, CLI_TARGET, KEEP).body["request"]["contents"] is inner["contents"]


def test_count_bodies() -> None:
    count = Target("gemini-x", "gemini", operation="count")
    body = {**contents(("user", [{"text": "q"}])), "tools": [{"googleSearch": {}}]}
    inner = adapt(body, count)["generateContentRequest"]
    assert inner["model"] == "models/gemini-x"
    assert inner["tools"]
    assert "safetySettings" not in inner
    assert (
        adapt({"generateContentRequest": {"model": "models/alias", **body}}, count)["generateContentRequest"] == inner
    )
    wrapped = CLI.adapt_native(body, Target("g", "gemini-cli", operation="count"), KEEP).body
    assert set(wrapped) == {"request"}


_parts = st.sampled_from(
    [
        {"text": "a"},
        None,
        3,
        {"functionCall": {"name": "f"}},
        {"functionCall": {"name": "f"}, "thoughtSignature": "bad"},
        {"functionResponse": {"response": 1}},
        {"functionResponse": {"name": "", "id": "c"}},
        {"text": "t", "thought": True, "thought_signature": OWN},
    ]
)
_contents = st.lists(
    st.fixed_dictionaries(
        {"parts": st.lists(_parts, max_size=3)}, optional={"role": st.sampled_from(["user", "model", 3])}
    )
    | st.sampled_from([None, 3, {}, {"parts": 1}]),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries({"contents": _contents}, optional={"tools": st.just([None, {"functionDeclarations": [1]}])})
)
def test_input_is_never_changed_and_adapting_settles(body: dict[str, Any]) -> None:
    once = adapt(body)
    assert adapt(once) == once


# -- streams -----------------------------------------------------------------------------------------------


def relay(data: bytes, codec: GeminiCodec = CODEC, step: int = 0, **context: Any) -> tuple[bytes, NativeRelay]:
    context.setdefault("upstream_format", "gemini")
    reply_context = ReplyContext(**context)
    native = codec.native_relay(reply_context, codec.framing(reply_context))
    parser = SseParser()
    frames = []
    for start in range(0, len(data), step or len(data) or 1):
        frames += parser.feed(data[start : start + (step or len(data))])
    frames += parser.close()
    out = b"".join(native.feed(frame) for frame in frames)
    return out + native.close(), native


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_frames_pass_as_they_came(name: str, step: int) -> None:
    data = sse(STREAMS[name])
    out, native = relay(data, step=step)
    assert out == data
    assert native.complete
    assert native.error is None
    assert native.served_model == "gemini-up"


def test_usage_is_that_of_the_last_frame() -> None:
    _, native = relay(sse(STREAMS["usage after finish"]))
    assert native.usage is not None
    assert (native.usage.input_total, native.usage.output_total, native.usage.cache_read) == (10, 5, 2)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_what_googles_sdk_cannot_read_is_rewritten(newline: bytes) -> None:
    payload = orjson.dumps(chunk({"text": "a"}, finish="STOP"))
    data = (
        b": comment" + newline * 2 + b"event: message" + newline + b"id: 1" + newline + b"data:" + payload + newline * 2
    )
    out, _ = relay(data)
    assert out == b"data: " + payload + b"\n\n"


def test_data_over_several_lines_becomes_one() -> None:
    pretty = orjson.dumps(chunk({"text": "a"}, finish="STOP"), option=orjson.OPT_INDENT_2)
    data = b"".join(b"data: " + line + b"\n" for line in pretty.split(b"\n")) + b"\n"
    out, _ = relay(data)
    assert out == sse([chunk({"text": "a"}, finish="STOP")])


def test_model_name_is_replaced_where_it_stands_and_nowhere_else() -> None:
    frame = chunk({"functionCall": {"name": "f", "args": {"modelVersion": "gemini-up", "n": 1.0}}}, finish="STOP")
    out, native = relay(sse([chunk({"text": '"modelVersion":"gemini-up"'}), frame]), model="alias(high)")
    first, second = payloads(out)
    assert first["modelVersion"] == second["modelVersion"] == "alias(high)"
    assert second["candidates"] == frame["candidates"]
    assert b'"n":1.0' in out
    assert native.served_model == "gemini-up"


def test_envelope_is_put_on_and_taken_off() -> None:
    bare = sse(STREAMS["calls"])
    wrapped = sse([{"response": frame, "traceId": "t"} for frame in STREAMS["calls"]])
    assert relay(wrapped, upstream_format="gemini-cli")[0] == bare
    out, native = relay(bare, CLI, upstream_format="gemini")
    assert payloads(out) == [{"response": frame} for frame in STREAMS["calls"]]
    assert native.complete
    out, native = relay(wrapped, CLI, upstream_format="gemini-cli")
    assert out == wrapped
    assert native.usage is not None
    out, _ = relay(wrapped, CLI, upstream_format="gemini-cli", model="alias")
    assert payloads(out)[0]["response"]["modelVersion"] == "alias"
    assert payloads(out)[0]["traceId"] == "t"


def test_json_array() -> None:
    out, _ = relay(sse(STREAMS["text"]), alt="json")
    assert orjson.loads(out) == STREAMS["text"]


@pytest.mark.parametrize("cut", range(3))
def test_a_stream_without_its_end_is_an_error(cut: int) -> None:
    out, native = relay(sse(STREAMS["text"][:cut]))
    assert out == sse(STREAMS["text"][:cut])
    assert native.error is not None
    assert native.error.status == 502
    assert native.error.code == ("stream_cut_off" if cut else "empty_stream")
    assert native.meaningful is bool(cut)
    [told] = payloads(native.fail(native.error))
    assert told["error"]["code"] == 502
    assert native.fail(native.error) == b""


@pytest.mark.parametrize("wrapper", [lambda error: error, lambda error: [error]])
def test_an_error_inside_the_stream(wrapper: Any) -> None:
    error = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}
    data = sse([chunk({"text": "a"})]) + b"data: " + orjson.dumps(wrapper(error)) + b"\n\n"
    out, native = relay(data)
    assert out == sse([chunk({"text": "a"})])
    assert native.error is not None
    assert native.error.status == 429
    assert payloads(native.fail(native.error)) == [error]


def test_text_that_speaks_of_errors_is_no_error() -> None:
    data = sse([chunk({"text": '{"error": "finishReason"}'}), chunk({"text": "error"}), chunk(finish="STOP")])
    out, native = relay(data)
    assert out == data
    assert native.error is None


def test_a_broken_frame_ends_the_stream() -> None:
    out, native = relay(sse([chunk({"text": "a"})]) + b'data: {"candidates":[{"cont\n\n' + sse([chunk({"text": "b"})]))
    assert out == sse([chunk({"text": "a"})])
    assert native.error is not None
    assert native.error.status == 502


def test_a_blocked_prompt_is_a_complete_answer() -> None:
    data = sse([{"promptFeedback": {"blockReason": "SAFETY"}, **META}])
    out, native = relay(data)
    assert out == data
    assert native.complete


def test_an_error_in_a_json_array_closes_it() -> None:
    framing = JsonArrayFraming()
    native = CODEC.native_relay(ReplyContext(upstream_format="gemini"), framing)
    out = b"".join(native.feed(frame) for frame in parse(sse([chunk({"text": "a"})])))
    out += native.fail(ErrorInfo(503, "gone"))
    assert orjson.loads(out)[1]["error"]["status"] == "UNAVAILABLE"


def test_whole_answers() -> None:
    body = {**chunk({"text": "a"}, finish="STOP"), "usageMetadata": USAGE}
    plain = ReplyContext(upstream_format="gemini")
    assert CODEC.adapt_native_reply(body, plain) is body
    renamed = CODEC.adapt_native_reply(body, ReplyContext(model="alias"))
    assert renamed == {**body, "modelVersion": "alias"}
    envelope = {"response": body, "traceId": "t"}
    assert CODEC.adapt_native_reply(envelope, plain) is body
    assert CLI.adapt_native_reply(envelope, plain) is envelope
    assert CLI.adapt_native_reply(body, plain) == {"response": body}
    assert CLI.adapt_native_reply(envelope, ReplyContext(model="x"))["response"]["modelVersion"] == "x"
    usage = CODEC.read_usage(envelope)
    assert usage is not None
    assert usage.raw == USAGE


def test_failures_with_status_200() -> None:
    error = CODEC.reply_failure({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}})
    assert error is not None
    assert error.status == 503
    empty = CODEC.reply_failure({"usageMetadata": USAGE})
    assert empty is not None
    assert empty.code == "empty_stream"
    assert CODEC.reply_failure({"totalTokens": 3}) is None
    assert CODEC.reply_failure(chunk({"text": "a"})) is None


def part_of(index: int, word: str, finish: str | None = None) -> dict[str, Any]:
    candidate = {"index": index, "content": {"role": "model", "parts": [{"text": word}]}}
    return {"candidates": [{**candidate, **({"finishReason": finish} if finish else {})}]}


def test_what_follows_a_finish_is_passed_on_and_only_the_end_makes_it_complete() -> None:
    counts = {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}}
    data = sse([part_of(0, "a", "STOP"), part_of(1, "b"), part_of(1, "c", "STOP"), counts])
    shared = ReplyContext()
    native = CODEC.native_relay(shared, CODEC.framing(shared))
    out = b"".join(native.feed(frame) for frame in SseParser().feed(data))
    assert (out, native.complete) == (data, False)
    assert native.close() == b""
    assert native.complete
    assert native.usage.output_total == 2


def test_a_candidate_without_its_finish_was_cut_off() -> None:
    _, native = relay(sse([part_of(0, "a"), part_of(1, "b", "STOP")]))
    assert not native.complete
    assert native.error.status == 502


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "second",
    [
        [part_of(1, "b")],
        [{"candidates": [part_of(index, "b")["candidates"][0] for index in (1, 0)]}],
        [{"candidates": [{"content": {"role": "model", "parts": [{"text": word}]}} for word in "ab"]}],
    ],
)
def test_a_candidate_that_begins_late_and_is_cut_off_is_noticed(second: list[Any], together: bool) -> None:
    first = [part_of(0, word) for word in "abcdef"]
    frames = [sse([body]) for body in (*first, *second, *first, part_of(0, "", "STOP"))]
    shared = ReplyContext()
    native = PassingRelay(CODEC.native_relay(shared, CODEC.framing(shared)))
    for piece in [b"".join(frames)] if together else frames:
        assert native.feed(piece) == piece
    native.close()
    assert native.error.code == "stream_cut_off"
    assert not native.complete


@pytest.mark.parametrize("space", [b"", b" "])
def test_frames_that_differ_in_their_text_pass_in_runs(space: bytes) -> None:
    shared = ReplyContext()
    native = CODEC.native_relay(shared, CODEC.framing(shared))
    frame = sse([part_of(0, "some words")]).replace(b'":', b'":' + space)
    for piece in SseParser().feed(frame * 2):
        native.feed(piece)
    others = frame.replace(b"some", b"other") * 3
    assert native.pass_chunk(others) == (others, len(others))


def test_a_mark_for_the_end_that_other_vendors_send_is_left_out() -> None:
    data = sse([part_of(0, "a"), part_of(0, "b", "STOP")])
    out, native = relay(data + b"data: [DONE]\n\n")
    assert (out, native.complete, native.error) == (data, True, None)


@pytest.mark.parametrize("spelling", [("functionCall", "functionResponse"), ("function_call", "function_response")])
def test_vertex_gets_no_ids_of_calls(spelling: tuple[str, str]) -> None:
    call, answer = spelling
    body = contents(
        ("user", [{"text": "q"}]),
        ("model", [{call: {"id": "1", "name": "f", "args": {}}, "thoughtSignature": OWN}]),
        ("user", [{answer: {"id": "1", "name": "f", "response": {}}}]),
    )
    parts = [turn["parts"][0] for turn in adapt(body, Target("m", "gemini", quirks=frozenset({"vertex"})))["contents"]]
    assert parts[1][call] == {"name": "f", "args": {}}
    assert parts[2][answer] == {"name": "f", "response": {}}
    assert adapt(body) is body


@pytest.mark.parametrize(("wanted", "asked"), [(5, 5), (100_000, 8192)])
def test_no_more_output_is_asked_for_than_the_model_gives(wanted: int, asked: int) -> None:
    target = Target("m", "gemini", limits=ModelLimits(max_output_tokens=8192))
    body = {**contents(("user", [{"text": "q"}])), "generationConfig": {"maxOutputTokens": wanted}}
    assert adapt(body, target)["generationConfig"] == {"maxOutputTokens": asked}
    translated = CODEC.encode_request(CODEC.decode_request(body, model="m", stream=False), target, KEEP).body
    assert translated["generationConfig"]["maxOutputTokens"] == asked
    assert adapt(body)["generationConfig"] == {"maxOutputTokens": wanted}
