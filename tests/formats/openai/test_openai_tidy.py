"""Chat answers for a Chat client: what providers write in their own way arrives as OpenAI's SDK can add it up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from cpa.formats.codec import ReplyContext
from cpa.formats.openai import OpenAICodec
from cpa.formats.sse import SseParser

CODEC = OpenAICodec()
Object = dict[str, Any]
USAGE: Object = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def chunk(finish: str | None = None, **delta: Any) -> Object:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [choice]}


def call(index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> Object:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    known = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return chunk(tool_calls=[{**known, "function": function}])


def relayed(*chunks: Object, done: bool = True, **members: Any) -> list[Object]:
    """The chunks a client gets; the stream must end as it should."""
    ids = iter(range(99))
    shared = ReplyContext(**{"include_usage": True, "new_id": lambda prefix: f"{prefix}{next(ids)}", **members})
    relay = CODEC.native_relay(shared, CODEC.framing(shared))
    data = b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks) + b"data: [DONE]\n\n" * done
    out = b"".join(relay.feed(frame) for frame in SseParser().feed(data)) + relay.close()
    assert relay.error is None
    assert out.endswith(b"data: [DONE]\n\n")
    return [orjson.loads(frame.data) for frame in SseParser().feed(out)[:-1]]


def summed(chunks: list[Object]) -> Any:
    """What OpenAI's SDK makes of the chunks."""
    state = ChatCompletionStreamState()
    for one in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(one))
    return state.get_final_completion()


def told(*chunks: Object) -> list[tuple[str, str, str]]:
    message = summed(relayed(*chunks)).choices[0].message
    return [(one.id, one.function.name, one.function.arguments) for one in message.tool_calls or ()]


END = chunk("tool_calls")
BOTH = [("a", "f", '{"x":1}'), ("b", "g", "{}")]


@pytest.mark.parametrize(
    "chunks",
    [
        [call(0, "a", "f", '{"x":1}'), call(2, "b", "g", "{}")],
        [call(0, "a", "f", '{"x":1}'), call(0, "b", "g", "{}")],
        [call(None, "a", "f", '{"x"'), call(None, None, None, ":1}"), call(None, "b", "g", "{}")],
        [call(0, "a", "f", '{"x"'), call(0, "a", "f", ":1}"), call(1, "b", "g", "{}")],
        [call(0, "a", None, '{"x"'), call(0, None, "f", ":1}"), call(1, "b", "g", "{}")],
        [call(0, None, "f", '{"x"'), call(0, "a", None, ":1}"), call(1, "b", "g", "{}")],
        [call(0, "a", "f", {"x": 1}), call(1, "b", "g", "")],
        [call(1, "a", "f", '{"x"'), call(7, "b", "g", "{"), call(1, None, None, ":1}"), call(7, None, None, "}")],
    ],
    ids=["gap", "one index for two", "no index", "named again", "name late", "id late", "object", "by turns"],
)
def test_calls_come_in_order_once_named_and_whole(chunks: list[Object]) -> None:
    assert told(*chunks, END) == BOTH


def test_a_call_nobody_gave_an_id_gets_one_and_a_nameless_one_is_none() -> None:
    assert told(call(0, None, "f", "{}"), call(1, "b", None, "{}"), END) == [("call_0", "f", "{}")]


def test_a_legacy_call_is_a_tool_call_for_a_client_with_tools() -> None:
    chunks = [chunk(function_call={"name": "f", "arguments": "{"}), chunk(function_call={"arguments": "}"})]
    assert told(*chunks, chunk("function_call")) == [("call_0", "f", "{}")]
    kept = relayed(*chunks, chunk("function_call"), request={"functions": []})
    assert [one["choices"][0]["delta"].get("function_call") for one in kept[:2]] == [
        {"name": "f", "arguments": "{"},
        {"arguments": "}"},
    ]
    assert kept[2]["choices"][0]["finish_reason"] == "function_call"


def test_the_role_is_told_once_and_the_finish_once() -> None:
    chunks = relayed(*[chunk(role="assistant", content=word) for word in "ab"], chunk("tool_calls"), chunk("stop"))
    choice = summed(chunks).choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "ab", "tool_calls")


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "hm"},
        {"reasoning": "hm", "reasoning_content": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_content": [{"text": "h"}, "m"]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    ],
)
def test_reasoning_has_one_name_streamed_and_whole(delta: Object) -> None:
    chunks = relayed(chunk(**delta), chunk(content=[{"type": "text", "text": "Hi"}]), chunk("stop"))
    assert "".join(one["choices"][0]["delta"].get("reasoning_content") or "" for one in chunks) == "hm"
    assert summed(chunks).choices[0].message.content == "Hi"
    body = CODEC.adapt_native_reply(
        {"choices": [{"index": 0, "message": {"role": "assistant", **delta}}]}, ReplyContext()
    )
    assert body["choices"][0]["message"]["reasoning_content"] == "hm"


def test_usage_is_told_once_at_the_end() -> None:
    for chunks in (
        [chunk(content="a") | {"usage": USAGE}, chunk("stop") | {"usage": USAGE}],
        [
            chunk(content="a"),
            {**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
        ],
        [chunk(content="a"), chunk("stop"), {**chunk(), "choices": [], "usage": USAGE}],
    ):
        asked = relayed(*chunks)
        assert [(bool(one["choices"]), one.get("usage")) for one in asked[-2:]] == [(True, None), (False, USAGE)]
        plain = relayed(*chunks, include_usage=False)
        assert [one.get("usage") for one in plain] == [None, USAGE]
        assert plain[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("said", "reason"), [(chunk(content="a"), "stop"), (call(0, "a", "f", "{}"), "tool_calls")])
def test_an_upstream_that_says_done_without_a_reason_has_finished(said: Object, reason: str) -> None:
    for asked in (True, False):
        assert relayed(said, include_usage=asked)[-1]["choices"][0]["finish_reason"] == reason


def test_a_whole_message_has_whole_calls() -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "b", "function": {"name": "g", "arguments": ""}},
    ]
    body: Object = {"choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": calls}}]}
    shown = CODEC.adapt_native_reply(body, ReplyContext(new_id=lambda prefix: prefix + "0"))
    assert shown["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert CODEC.adapt_native_reply(shown, ReplyContext()) is shown
