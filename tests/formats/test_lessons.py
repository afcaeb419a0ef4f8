"""What went wrong in other proxies and must not go wrong here: streams, calls and requests, one failure a test."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from answers import ANSWERS, CODECS, FORMATS, answer, call, calls, context, read, said, text, whole, written
from dialogues import asked as what_is_asked
from invariants import CHECKS, errors_in
from referees import Referees

from cpa.conversation import events as ev
from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.names import NameMap, ToolIdentity
from cpa.conversation.reply import Reply, fold
from cpa.formats.codec import Target
from cpa.formats.sse import SseParser

Object = dict[str, Any]
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
USER: Object = {"role": "user", "content": "x"}
FERNET = base64.urlsafe_b64encode(b"\x80" + bytes(72)).decode()
every_format = pytest.mark.parametrize("name", FORMATS)


def sse(*events: Object) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def chat(*deltas: Object, finish: str | None = None, usage: Any = None, done: bool = True) -> bytes:
    """A stream of Chat Completions; ``usage`` stands on every chunk."""
    every = [*({"delta": delta} for delta in deltas), *([{"delta": {}, "finish_reason": finish}] if finish else [])]
    chunks = [{"id": "c", "model": "up", "choices": [{"index": 0, **one}], "usage": usage} for one in every]
    return sse(*chunks) + (b"data: [DONE]\n\n" if done else b"")


def tool(index: int, call_id: str | None, name: str | None, arguments: str = "") -> Object:
    call = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [{key: value for key, value in call.items() if value is not None}]}


def codex(*events: Object, end: str = "response.completed", **response: Any) -> bytes:
    """A stream of Responses."""
    head = {"type": "response.created", "response": {"id": "resp_1", "model": "up", "created_at": 1}}
    last = {"type": end, "response": {"id": "resp_1", "model": "up", "output": [], **response}}
    return sse(head, *events, last)


def item(kind: str, index: int, **members: Any) -> Object:
    """``output_item.added`` or ``.done`` of a function call."""
    call = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}", "name": "f", **members}
    return {"type": f"response.output_item.{kind}", "output_index": index, "item": call}


def gemini(*parts: Object, finish: str | None = "STOP", **members: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    return sse({"candidates": [{**candidate, **({"finishReason": finish} if finish else {})}], **members})


def claude(*blocks: Object, reason: str = "end_turn") -> list[Object]:
    """The events of Messages; blocks are whole."""
    events: list[Object] = [{"type": "message_start", "message": {"id": "msg_1", "model": "up", "usage": {}}}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    return [*events, {"type": "message_delta", "delta": {"stop_reason": reason}}, {"type": "message_stop"}]


def across(upstream: str, data: bytes, client: str, **members: Any) -> Reply:
    """What a client understands of an upstream's stream, after its stream was found to keep the rules."""
    out = written(client, read(upstream, data, client_format=client, **members), **members)
    CHECKS[client](out)
    return fold(read(client, out))


def asked(client: str, upstream: str, body: Object, reasoning: ResolvedReasoning = KEEP) -> Object:
    """The body an upstream is sent for a client's."""
    conversation = CODECS[client].decode_request(body, model="m", stream=False)
    target = Target("up", upstream, client_format=client)
    return CODECS[upstream].encode_request(conversation, target, reasoning).body


# -- streams: tool calls -------------------------------------------------------------------------------------


@every_format
def test_usage_on_every_chunk_closes_no_call(name: str) -> None:
    data = chat(
        tool(0, "a", "f"), tool(0, None, None, '{"a":'), tool(0, None, None, "1}"), finish="tool_calls", usage=USAGE
    )
    assert calls(across("openai", data, name)) == [("f", {"a": 1})]


@every_format
@pytest.mark.parametrize(
    "events",
    [
        [{"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'}],
        [{"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":1}'}],
        [
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a"'},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'},
        ],
        [
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'},
        ],
        [],
    ],
    ids=["done alone", "deltas alone", "some of both", "done twice", "with the item alone"],
)
def test_arguments_arrive_once_however_they_come(name: str, events: list[Object]) -> None:
    done = item("done", 0, arguments='{"a":1}')
    data = codex(item("added", 0, arguments=""), *events, done, done)
    assert calls(across("openai-response", data, name)) == [("f", {"a": 1})]


@every_format
def test_a_call_in_one_piece_streams_as_it_reads_whole(name: str) -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}}
    streamed = across("gemini", gemini(call), name)
    body = orjson.loads(gemini(call)[6:])
    direct = whole(name, CODECS["gemini"].decode_reply(body, context(client_format=name)))
    assert calls(streamed) == calls(fold(CODECS[name].decode_reply(direct, context()))) == [("f", {"a": 1})]


@every_format
def test_text_beside_an_empty_list_of_calls_is_kept(name: str) -> None:
    assert said(across("openai", chat({"content": "a", "tool_calls": []}, finish="stop"), name)) == "a"


@every_format
def test_one_call_is_one_block_however_often_it_is_named(name: str) -> None:
    pieces = [tool(0, "a", "f", piece) for piece in ('{"a"', ":", "1}")]
    assert calls(across("openai", chat(*pieces, finish="tool_calls"), name)) == [("f", {"a": 1})]


@every_format
def test_reasoning_before_calls_swallows_none_of_them(name: str) -> None:
    data = chat({"reasoning_content": "hm"}, {"content": "a"}, tool(0, "a", "f", "{}"), finish="tool_calls")
    reply = across("openai", data, name)
    assert [block.kind for block in reply.blocks if block.text or block.name] == ["reasoning", "text", "tool_call"]


@every_format
def test_parallel_calls_all_arrive_and_the_first_is_number_0(name: str) -> None:
    pieces = [tool(0, "a", "f"), tool(1, "b", "g"), tool(0, None, None, "{}"), tool(1, None, None, '{"b":2}')]
    data = chat(*pieces, finish="tool_calls")
    assert calls(across("openai", data, name)) == [("f", {}), ("g", {"b": 2})]


def test_a_call_ends_a_turn_as_a_call_and_brings_no_empty_text() -> None:
    data = chat({"role": "assistant", "content": ""}, tool(0, "a", "f", "{}"), finish="stop")
    message = whole("claude", read("openai", data))
    assert ([block["type"] for block in message["content"]], message["stop_reason"]) == (["tool_use"], "tool_use")
    shown = CHECKS["claude"](written("claude", read("openai", data)))
    assert [event["content_block"]["type"] for event in shown if "content_block" in event] == ["tool_use"]


@pytest.mark.parametrize(("first", "reason"), [("tool_calls", "tool_calls"), ("length", "length")])
def test_a_later_stop_does_not_overwrite_why_it_ended(first: str, reason: str) -> None:
    data = chat(tool(0, "a", "f", "{}"), finish=first, done=False) + chat(finish="stop")
    assert fold(read("openai", data)).finishes[0].reason == reason


@every_format
def test_a_name_that_comes_late_loses_no_argument_and_one_that_never_comes_is_no_call(name: str) -> None:
    late = chat(tool(0, "a", None, '{"a"'), tool(0, None, None, ":1"), tool(0, None, "f", "}"), finish="tool_calls")
    assert calls(across("openai", late, name)) == [("f", {"a": 1})]
    never = across("openai", chat(tool(0, "a", None, "{}"), {"content": "t"}, finish="tool_calls"), name)
    assert (calls(never), never.finishes[0].reason) == ([], "stop")


@every_format
def test_a_call_without_id_gets_one(name: str) -> None:
    data = chat(tool(0, None, "f", "{}"), tool(1, None, "g", "{}"), finish="tool_calls")
    ids = [block.call_id for block in across("openai", data, name).blocks]
    assert len(set(ids)) == 2
    assert all(ids)


@every_format
def test_half_a_call_at_a_dead_socket_is_an_error_and_no_call(name: str) -> None:
    out = written(name, read("openai", chat(tool(0, "a", "f", '{"path": "/et'), done=False)))
    assert len(errors_in(name, out)) == 1
    for word in (b"message_stop", b"output_item.done", b"functionCall", b'"finish_reason":"'):
        assert word not in out


@every_format
def test_a_call_with_empty_arguments_is_whole_and_there_once(name: str) -> None:
    done = {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"}
    data = codex(item("added", 0, arguments=""), done, item("done", 0, arguments="{}"))
    assert calls(across("openai-response", data, name)) == [("f", {})]
    assert calls(across("openai-response", codex(item("added", 0, arguments="")), name)) == [("f", {})]


@every_format
def test_a_delta_with_an_unknown_item_id_finds_its_call_by_place(name: str) -> None:
    delta = {
        "type": "response.function_call_arguments.delta",
        "item_id": "other",
        "output_index": 1,
        "delta": '{"a":1}',
    }
    data = codex(item("added", 0, arguments=""), item("added", 1, name="g", arguments=""), delta)
    assert calls(across("openai-response", data, name)) == [("f", {}), ("g", {"a": 1})]


@every_format
def test_only_names_that_were_changed_are_changed_back(name: str) -> None:
    names = NameMap()
    names.add(ToolIdentity("a/b"), "a_b", distinguish=lambda taken, n: taken)
    data = chat(tool(0, "a", "a_b", "{}"), tool(1, "b", "c_d", "{}"), finish="tool_calls")
    assert [called for called, _ in calls(across("openai", data, name, names=names))] == ["a/b", "c_d"]


@pytest.mark.parametrize("upstream", ["openai", "openai-response", "gemini"])
def test_the_case_of_a_name_is_the_clients_own_for_claude(upstream: str) -> None:
    names = NameMap()
    names.add(ToolIdentity("Bash"), "Bash", distinguish=lambda taken, n: taken)
    data = written(upstream, answer(call(1, "bash", "{}"), finish="tool_calls"))
    shown = {name: calls(across(upstream, data, name, names=names))[0][0] for name in FORMATS}
    assert shown == {name: "Bash" if name == "claude" else "bash" for name in FORMATS}


@pytest.mark.parametrize("value", ["null", "[1]", '"x"', "3"])
def test_arguments_that_are_no_object_stay_where_they_can_and_are_empty_elsewhere(value: str) -> None:
    events = read("openai", chat(tool(0, "a", "f", value), finish="tool_calls"))
    shown = {
        name: fold(read(name, written(name, events))).blocks[0].arguments for name in ("openai", "openai-response")
    }
    assert shown == {"openai": value, "openai-response": value}
    assert whole("claude", events)["content"][0]["input"] == {}
    assert calls(fold(read("claude", written("claude", events)))) == [("f", {})]
    assert whole("gemini", events)["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == {}


BROKEN = ["not json", "<a>x</a>", "[1", '{"a": "cu', "{a b}"]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("upstream", ["openai", "openai-response"])
def test_arguments_that_cannot_be_read_are_shown_to_every_client(upstream: str, text: str) -> None:
    events = read(upstream, written(upstream, answer(call(1, "f", text), finish="tool_calls")))
    for name in ("openai", "openai-response"):
        assert fold(read(name, written(name, events))).blocks[0].arguments == text
        assert fold(CODECS[name].decode_reply(whole(name, events), context())).blocks[0].arguments == text
    shown = {"INVALID_JSON": text}
    assert whole("claude", events)["content"][0]["input"] == shown
    assert whole("gemini", events)["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == shown
    assert calls(fold(read("gemini", written("gemini", events)))) == [("f", shown)]
    streamed = fold(read("claude", written("claude", events))).blocks[0].arguments
    assert streamed == text if text.startswith("{") else orjson.loads(streamed) == shown


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("client", ["openai", "openai-response"])
@pytest.mark.parametrize("upstream", FORMATS)
def test_arguments_that_cannot_be_read_reach_every_upstream(client: str, upstream: str, text: str) -> None:
    bodies: dict[str, Object] = {
        "openai": {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", **tool(0, "c", "f", text)},
                {"role": "tool", "tool_call_id": "c", "content": "bad arguments"},
            ]
        },
        "openai-response": {
            "input": [
                {"role": "user", "content": "q"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": text},
                {"type": "function_call_output", "call_id": "c", "output": "bad arguments"},
            ]
        },
    }
    conversation = CODECS[client].decode_request(bodies[client], model="m", stream=False)
    target = Target("m", upstream, client_format=client)
    body = CODECS[upstream].encode_request(conversation, target, KEEP).body
    shown = {"INVALID_JSON": text}
    match upstream:
        case "openai":
            assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == text
        case "openai-response":
            assert body["input"][1]["arguments"] == text
        case "claude":
            assert body["messages"][1]["content"][0]["input"] == shown
        case "gemini":
            assert body["contents"][1]["parts"][0]["functionCall"]["args"] == shown


# -- streams: framing, order, end ----------------------------------------------------------------------------


@every_format
def test_no_character_is_broken_wherever_bytes_are_split(name: str) -> None:
    data = written(name, answer(text(1, "你好 😀 é")))
    for cut in range(len(data)):
        assert said(fold(read(name, data, cut))) == "你好 😀 é"


def test_frames_keep_their_blank_lines_and_data_of_many_lines_is_one() -> None:
    data = b'event: x\r\ndata:{"a":\r\ndata: 1}\r\n\r\n: c\r\n\r\ndata: {}\r\n\r\n'
    frames = [frame.data for frame in SseParser().feed(data) if frame.data]
    assert frames == [b'{"a":\n1}', b"{}"]


@every_format
def test_half_an_object_never_reaches_a_client(name: str) -> None:
    events = written(name, ANSWERS["text"]).split(b"\n\n")
    data = b"\n\n".join([*events[:2], events[2][:-9], b""])
    relay = CODECS[name].native_relay(context(), CODECS[name].framing(context()))
    out = b"".join(relay.feed(frame) for frame in SseParser().feed(data)) + relay.close()
    assert relay.error is not None
    assert relay.error.status == 502
    for frame in SseParser().feed(out + relay.fail(relay.error)):
        orjson.loads(frame.data)


@every_format
@pytest.mark.parametrize("upstream", FORMATS)
def test_an_answer_that_has_lost_a_part_is_no_success(upstream: str, name: str) -> None:
    frames = written(upstream, ANSWERS["text"]).split(b"\n\n")
    middle = len(frames) // 2
    data = b"\n\n".join([*frames[:middle], frames[middle][:-9], *frames[middle + 1 :]])
    out = written(name, read(upstream, data))
    assert len(errors_in(name, out)) == 1


@every_format
def test_what_comes_after_the_end_reaches_nobody(name: str) -> None:
    once = written(name, ANSWERS["text"])
    if name != "gemini":
        assert read(name, once + written(name, answer(text(9, "late")))) == read(name, once)


@every_format
def test_a_stream_is_over_at_its_end_mark_and_a_bare_end_is_judged(name: str) -> None:
    assert across("openai", chat({"content": "a"}), name).finishes[0].reason == "stop"
    assert len(errors_in(name, written(name, read("openai", chat({"content": "a"}, done=False))))) == 1
    ended = chat({"content": "a"}, finish="stop", done=False)
    assert said(across("openai", ended, name)) == "a"


@every_format
def test_an_error_is_never_an_empty_success(name: str) -> None:
    for data in (b"", sse({"error": {"message": "no", "code": 429}}), chat()):
        events = read("openai", data)
        assert isinstance(events[-1], ev.Failure)
        assert not any(isinstance(event, ev.End) for event in events)
    assert CODECS["openai"].reply_failure({"error": {"message": "no", "code": 429}}) is not None
    assert CODECS[name].reply_failure(whole(name, ANSWERS["text"])) is None


@every_format
def test_an_answer_ends_once(name: str) -> None:
    data = chat({"content": "a"}, finish="stop", usage=USAGE) + b"data: [DONE]\n\n"
    CHECKS[name](written(name, [*read("openai", data), ev.End()]))


@every_format
def test_usage_and_text_after_the_finish_are_kept(name: str) -> None:
    tail = sse({"choices": [{"index": 0, "delta": {"content": "b"}}]}, {"choices": [], "usage": USAGE})
    data = chat({"content": "a"}, finish="stop", done=False) + tail + b"data: [DONE]\n\n"
    reply = across("openai", data, name)
    assert (said(reply), reply.usage and reply.usage.output_total) == ("ab", 7)


def test_a_block_that_is_not_shown_leaves_no_hole_in_the_numbers() -> None:
    image = [ev.BlockStart(5, "image"), ev.BlockEnd(5, data="QUJD", media_type="image/png")]
    for name in FORMATS:
        CHECKS[name](written(name, answer(text(1, "a"), image, text(2, "b"))))


@every_format
def test_each_delta_is_sent_as_it_comes(name: str) -> None:
    codec = CODECS[name]
    encoder = codec.stream_encoder(context(), codec.framing(context()))
    encoder.encode([ev.Start("x"), ev.BlockStart(1, "text")])
    assert b"first" in encoder.encode([ev.TextDelta(1, "first")])
    assert b"second" in encoder.encode([ev.TextDelta(1, "second")])


@every_format
def test_keep_alive_means_nothing_to_a_client(name: str, referees: Referees) -> None:
    alive = CODECS[name].framing(context()).keep_alive()
    assert {frame.data for frame in SseParser().feed(alive)} <= {b"", b'{"type":"ping"}'}
    data = written(name, ANSWERS["text"])
    middle = data.index(b"\n\n") + 2
    assert alive
    assert str(referees.stream(name, data[:middle] + alive + data[middle:])) == str(
        referees.stream(name, data)
    ).replace(f"'content-length': '{len(data)}'", f"'content-length': '{len(data) + len(alive)}'")


@every_format
def test_keep_alive_of_an_upstream_is_not_part_of_the_answer(name: str) -> None:
    data = codex(
        {"type": "keepalive"}, {"type": "codex.rate_limits"}, item("added", 0, arguments=""), {"type": "new.kind"}
    )
    assert calls(across("openai-response", data, name)) == [("f", {})]


def test_overload_told_before_the_first_word_can_still_be_answered_elsewhere() -> None:
    failed = {"response": {"id": "resp_1", "error": {"code": "server_is_overloaded", "message": "busy"}}}
    data = sse({"type": "response.created", "response": {"id": "resp_1"}}, {"type": "response.failed", **failed})
    relay = CODECS["codex"].native_relay(context(), CODECS["codex"].framing(context()))
    for frame in SseParser().feed(data):
        relay.feed(frame)
    assert relay.error is not None
    assert (relay.error.status, relay.meaningful) == (503, False)


@pytest.mark.parametrize("name", ["openai-response", "claude", "gemini"])
def test_a_whole_answer_keeps_the_order_of_its_blocks(name: str) -> None:
    body = whole(name, ANSWERS["text around a call"])
    kinds = [block.kind for block in fold(CODECS[name].decode_reply(body, context())).blocks]
    assert kinds == ["text", "tool_call", "text"]


def test_the_output_of_a_response_is_filled_from_its_items() -> None:
    done = item("done", 0, arguments="{}")
    for end in ("response.completed", "response.incomplete"):
        data = codex(item("added", 0, arguments=""), done, end=end)
        relay = CODECS["codex"].native_relay(context(), CODECS["codex"].framing(context()))
        out = b"".join(relay.feed(frame) for frame in SseParser().feed(data))
        assert orjson.loads(SseParser().feed(out)[-1].data)["response"]["output"] == [done["item"]]


@pytest.mark.parametrize(("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_cut_short_is_incomplete(reason: Any, told: str) -> None:
    shown = CHECKS["openai-response"](written("openai-response", answer(text(1, "a"), finish=reason)))
    assert shown[-1]["response"]["incomplete_details"] == {"reason": told}


@every_format
def test_the_model_is_the_one_the_client_asked_for_in_every_event(name: str) -> None:
    out = written(name, ANSWERS["thinking, text and a call"], model="alias(high)")
    assert b"up-model" not in out
    assert b"alias(high)" in out
    relay = CODECS[name].native_relay(context(model="alias"), CODECS[name].framing(context()))
    frames = SseParser().feed(written(name, ANSWERS["text"]))
    assert b"up-model" not in b"".join(relay.feed(frame) for frame in frames)


# -- requests ------------------------------------------------------------------------------------------------

SIGNED: Object = {"type": "thinking", "thinking": "t ", "signature": "EqQBCkYIARgCKkA="}


def test_thinking_passes_untouched_where_both_sides_speak_the_same() -> None:
    body = {"messages": [USER, {"role": "assistant", "content": [SIGNED]}, USER], "max_tokens": 9}
    adapted = CODECS["claude"].adapt_native(body, Target("up", "claude"), KEEP).body
    assert adapted["messages"][1]["content"][0] is SIGNED


@pytest.mark.parametrize("upstream", ["claude", "codex", "gemini"])
@pytest.mark.parametrize(
    ("signature", "vendor"),
    [(SIGNED["signature"], "claude"), (FERNET, "codex"), ("Cq4BAVSoXO4=", "gemini"), ("", ""), ("made up!", "")],
)
def test_a_signature_is_sent_to_the_vendor_that_made_it_alone(signature: str, vendor: str, upstream: str) -> None:
    history = {"role": "assistant", "content": [{**SIGNED, "signature": signature}, {"type": "text", "text": "a"}]}
    sent = str(asked("claude", upstream, {"messages": [USER, history, USER]}))
    assert (bool(signature) and signature in sent) == (vendor == upstream)
    assert ("'type': 'thinking'" in sent) == (vendor == upstream == "claude")


def test_one_reasoning_item_is_one_thinking_block_signed_at_its_end() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "early"}
    parts = [{"type": "summary_text", "text": word} for word in ("a", "b")]
    data = codex(
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        *(
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": at, "delta": word}
            for at, word in enumerate("ab")
        ),
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**reasoning, "summary": parts, "encrypted_content": "late"},
        },
    )
    content = whole("claude", read("openai-response", data))["content"]
    assert content == [{"type": "thinking", "thinking": "a\n\nb", "signature": "late"}]
    CHECKS["claude"](written("claude", read("openai-response", data)))


def test_a_forced_tool_leaves_no_thinking() -> None:
    body = {"messages": [USER], "tools": [{"name": "f"}], "tool_choice": {"type": "any"}, "max_tokens": 9000}
    thinking = ResolvedReasoning("budget", budget=2000)
    assert "thinking" not in asked("claude", "claude", body, thinking)
    assert "thinking" not in CODECS["claude"].adapt_native(body, Target("up", "claude"), thinking).body


@every_format
def test_empty_texts_are_not_sent_and_something_always_is(name: str) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": ""},
        USER,
    ]
    sent = CODECS[name].decode_request(asked("openai", name, {"messages": messages}), model="m", stream=False)
    parts = [part for turn in sent.turns for part in turn.parts]
    assert [part.text for part in parts if hasattr(part, "text")] == ["a", "x"]


def _calling(*results: Object, after: str | None = None) -> Object:
    """A Messages body with two calls and these blocks after them."""
    uses = [{"type": "tool_use", "id": call_id, "name": "f", "input": {}} for call_id in ("a", "b")]
    rest = [{"type": "text", "text": after}] if after else []
    return {"messages": [USER, {"role": "assistant", "content": uses}, {"role": "user", "content": [*rest, *results]}]}


def _result(call_id: str, content: str) -> Object:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def test_results_lead_the_turn_after_their_calls() -> None:
    body = _calling(_result("b", "2"), _result("a", "1"), after="reminder")
    sent = asked("claude", "claude", body)["messages"][2]["content"]
    assert [block["type"] for block in sent] == ["tool_result", "tool_result", "text"]
    roles = [message["role"] for message in asked("claude", "openai", body)["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


@every_format
def test_every_call_has_one_result_and_every_result_its_call(name: str) -> None:
    body = _calling(_result("a", "old"), _result("a", "new"), _result("nobody", "x"), after="go on")
    sent = CODECS[name].decode_request(asked("claude", name, body), model="m", stream=False)
    turns = what_is_asked(sent)["turns"]
    shown = [part for _, parts in turns for part in parts if isinstance(part, tuple)]
    assert [part[:2] for part in shown] == [("call", 0), ("call", 1), ("result", 0), ("result", 1)]
    assert shown[2][2] == ("old" if name == "openai-response" else "new")


@pytest.mark.parametrize("name", ["claude", "gemini"])
def test_turns_of_one_role_in_a_row_are_one_with_calls_last(name: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        USER,
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        USER,
    ]
    sent = asked("openai", name, {"messages": messages})
    roles = [turn["role"] for turn in sent["messages" if name == "claude" else "contents"]]
    assert roles == (["user", "assistant", "user"] if name == "claude" else ["user", "model", "user", "user"])


@every_format
def test_instructions_in_the_middle_and_alone_are_heard(name: str) -> None:
    middle = asked("openai", name, {"messages": [USER, {"role": "system", "content": "RULE"}, USER]})
    assert "RULE" in str(middle)
    alone = asked("openai", name, {"messages": [{"role": "system", "content": "RULE"}]})
    assert "RULE" in str(alone)
    member = {"openai": "messages", "openai-response": "input", "claude": "messages", "gemini": "contents"}[name]
    assert alone[member]


def test_a_history_that_begins_with_the_model_is_begun_by_the_user() -> None:
    messages = [{"role": "assistant", "content": "a"}, USER]
    assert asked("openai", "gemini", {"messages": messages})["contents"][0]["role"] == "user"
    assert asked("openai", "claude", {"messages": messages})["messages"][0]["role"] == "user"


@every_format
def test_a_picture_in_a_result_and_a_pdf_arrive(name: str) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "UElDVFVSRQ=="}}
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "UERG"}}
    body = _calling({**_result("a", ""), "content": [picture]}, _result("b", "2"))
    body["messages"].append({"role": "user", "content": [document]})
    sent = str(asked("claude", name, body))
    assert "UElDVFVSRQ==" in sent
    assert "UERG" in sent


def test_a_stored_file_is_named_to_gemini() -> None:
    part = {"type": "image_url", "image_url": {"url": "gs://bucket/i.png"}}
    sent = asked("openai", "gemini", {"messages": [{"role": "user", "content": [part]}]})
    assert "gs://bucket/i.png" in str(sent)


@pytest.mark.parametrize("word", ["properties", "propertyNames", "title", "type", "default", "$ref", "format"])
@every_format
def test_a_property_may_have_any_name(name: str, word: str) -> None:
    schema = {"type": "object", "properties": {word: {"type": "string"}}, "required": [word]}
    body = {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}
    sent = CODECS[name].decode_request(asked("openai", name, body), model="m", stream=False)
    assert sent.tools is not None
    assert list(sent.tools[0].schema["properties"]) == [word]


def test_ids_made_for_calls_are_the_same_in_every_turn() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    answered = {"functionResponse": {"name": "f", "response": {"result": "1"}}}
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [call, call]},
            {"role": "user", "parts": [answered, answered]},
        ]
    }
    first, second = asked("gemini", "openai", body)["messages"], asked("gemini", "openai", body)["messages"]
    ids = [made["id"] for made in first[1]["tool_calls"]]
    assert first == second
    assert len(set(ids)) == 2
    assert [message["tool_call_id"] for message in first[2:]] == ids


def test_long_ids_stay_apart_when_they_are_shortened() -> None:
    ids = ["x" * 70 + end for end in "ab"]
    uses = [{"type": "tool_use", "id": call_id, "name": "f", "input": {}} for call_id in ids]
    body = {
        "messages": [
            USER,
            {"role": "assistant", "content": uses},
            {"role": "user", "content": [_result(i, i) for i in ids]},
        ]
    }
    sent = asked("claude", "codex", body)["input"]
    called = [entry["call_id"] for entry in sent if entry["type"] == "function_call"]
    results = [entry["call_id"] for entry in sent if entry["type"] == "function_call_output"]
    assert called == results
    assert len(set(called)) == 2
    assert all(len(call_id) <= 64 for call_id in called)


@pytest.mark.parametrize(
    ("client", "body"),
    [
        ("openai", {"messages": [USER], "max_tokens": 7, "stop": "X"}),
        ("openai", {"messages": [USER], "max_completion_tokens": 7, "stop": ["X"]}),
        (
            "gemini",
            {
                "contents": [{"parts": [{"text": "x"}]}],
                "generationConfig": {"maxOutputTokens": 7, "stopSequences": ["X"]},
            },
        ),
        (
            "gemini",
            {
                "contents": [{"parts": [{"text": "x"}]}],
                "generation_config": {"max_output_tokens": 7, "stop_sequences": ["X"]},
            },
        ),
    ],
)
def test_limits_are_understood_in_every_spelling_and_written_in_one(client: str, body: Object) -> None:
    sent = asked(client, "claude", body)
    assert (sent["max_tokens"], sent["stop_sequences"]) == (7, ["X"])
    chat_body = asked(client, "openai", body)
    assert (chat_body["max_tokens"], chat_body["stop"]) == (7, "X")


@every_format
def test_no_choice_is_left_where_no_tool_is(name: str) -> None:
    body = {
        "input": "x",
        "tools": [{"type": "code_interpreter"}],
        "tool_choice": "required",
        "parallel_tool_calls": True,
    }
    sent = asked("openai-response", name, {**body, "tools": []})
    assert not {"tool_choice", "toolConfig", "tools"} & set(sent)


@pytest.mark.parametrize(
    "member",
    [
        "stream_options",
        "prompt_cache_retention",
        "prompt_cache_options",
        "safety_identifier",
        "temperature",
        "top_p",
        "user",
    ],
)
def test_codex_is_not_sent_what_it_refuses(member: str) -> None:
    value: Any = (
        {"include_usage": True} if member.endswith("options") else 1 if member in ("temperature", "top_p") else "v"
    )
    native = CODECS["codex"].adapt_native({"input": "x", member: value}, Target("up", "codex", stream=True), KEEP).body
    assert member not in native
    assert member not in asked("openai", "codex", {"messages": [USER], member: value})


@pytest.mark.parametrize("body", [{"input": "x"}, {"input": "x", "instructions": None}])
@pytest.mark.parametrize("operation", ["generate", "compact"])
def test_codex_always_has_instructions(body: Object, operation: Any) -> None:
    target = Target("up", "codex", stream=operation == "generate", operation=operation)
    assert CODECS["codex"].adapt_native(body, target, KEEP).body["instructions"] == ""


def test_tools_and_instructions_come_before_the_dialogue_where_order_counts() -> None:
    body = {"messages": [USER], "system": "S", "tools": [{"name": "f"}], "max_tokens": 9, "zeta": 1}
    keys = list(CODECS["claude"].adapt_native(body, Target("up", "claude"), KEEP).body)
    assert [key for key in keys if key in body] == list(body)
    built = list(asked("claude", "claude", body))
    assert built.index("system") < built.index("messages")


@every_format
def test_tools_keep_their_order_and_their_bytes(name: str) -> None:
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"t{at}",
                "parameters": {"type": "object", "properties": {key: {"type": "string"} for key in "zya"}},
            },
        }
        for at in (3, 1, 2)
    ]
    body = {"messages": [USER], "tools": tools}
    sent = [orjson.dumps(asked("openai", name, body)) for _ in range(2)]
    assert sent[0] == sent[1]
    assert [sent[0].index(b'"t%d"' % at) for at in (3, 1, 2)] == sorted(
        sent[0].index(b'"t%d"' % at) for at in (3, 1, 2)
    )
    assert sent[0].index(b'"z":') < sent[0].index(b'"y":') < sent[0].index(b'"a":')


def test_text_and_calls_of_one_answer_are_one_turn() -> None:
    items = [
        {"role": "user", "content": "x"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "let me see"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]
    _, assistant, *results = asked("openai-response", "openai", {"input": items})["messages"]
    assert (assistant["content"], len(assistant["tool_calls"])) == ("let me see", 2)
    assert [message["role"] for message in results] == ["tool", "tool"]


@pytest.mark.parametrize("member", ["reasoning", "reasoning_content"])
def test_reasoning_is_read_under_both_names(member: str) -> None:
    assert said(fold(read("openai", chat({member: "hm"}, finish="stop"))), "reasoning") == "hm"
    history = {"role": "assistant", "content": "a", member: "hm"}
    assert asked("openai", "openai", {"messages": [USER, history]})["messages"][1]["reasoning_content"] == "hm"


def test_the_model_sent_upstream_is_the_upstreams_own() -> None:
    for name in ("openai", "openai-response", "claude"):
        member = "input" if name == "openai-response" else "messages"
        body = {"model": "prov/alias(high)", member: [USER]}
        assert CODECS[name].adapt_native(body, Target("up", name), KEEP).body["model"] == "up"
        assert asked(name, name, body)["model"] == "up"
