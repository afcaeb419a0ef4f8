"""Every member of real bodies replaced by values of every other type: refused or told, never an accident.

``CPA_EVERY_WRONG_VALUE=1`` tries every value at every place instead of some.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from answers import CODECS, FORMATS, context
from specimens import REPLIES, REQUESTS, STREAMS

from cpa.conversation import events as ev
from cpa.conversation.effort import KEEP
from cpa.conversation.reply import fold
from cpa.errors import InvalidRequest
from cpa.formats.codec import Target
from cpa.formats.sse import SseFrame, SseParser

WRONG: list[Any] = [
    None, True, 0, -1, 3.5, 1e308, 2**64 - 1, -(2**63), "", "x", "\0", [], [1], [None], ["x"], [[]], {}, {"a": 1},
    {"type": 5}, {"type": ["x"]}, [{"type": None}],
]  # fmt: skip
STEP = 1 if os.environ.get("CPA_EVERY_WRONG_VALUE") else 5
CLIENTS = (*FORMATS, "gemini-cli")
UPSTREAMS = (*FORMATS, "codex", "gemini-cli")
every_format = pytest.mark.parametrize("name", FORMATS)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inner:
        yield from places(member, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def spoilt(body: Any) -> Iterator[Any]:
    """The body with one value wrong, for every place in turn."""
    number = itertools.count()
    for path in places(body):
        for wrong in WRONG:
            if next(number) % STEP == 0:
                yield put(body, path, wrong)


def heard(events: list[ev.Event]) -> None:
    """Every client can be told of these events, streamed and whole, and they have an end."""
    assert isinstance(events[-1], ev.End | ev.Failure)
    for client in CLIENTS:
        shared = context(client_format=client, model="asked")
        out = CODECS[client].stream_encoder(shared, CODECS[client].framing(shared)).encode(events)
        assert [orjson.loads(frame.data) for frame in SseParser().feed(out) if frame.data != b"[DONE]"]
        reply = fold(events)
        if reply.error is None:
            orjson.dumps(CODECS[client].encode_reply(reply, shared))


@every_format
def test_a_request_is_answered_or_refused(name: str) -> None:
    refused = set()
    for body in spoilt(REQUESTS[name]):
        if not isinstance(body, dict):
            continue
        for upstream in UPSTREAMS:
            target = Target("up", upstream, client_format=name)
            try:
                if CODECS[upstream].family == CODECS[name].family:
                    orjson.dumps(CODECS[upstream].adapt_native(body, target, KEEP).body)
                asked = CODECS[name].decode_request(body, model="m", stream=False)
                orjson.dumps(CODECS[upstream].encode_request(asked, target, KEEP).body)
                CODECS[upstream].countable_text(CODECS[upstream].encode_count_request(asked, target))
            except InvalidRequest as error:
                refused.add(error.error.status)
    assert refused == {400}


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_answer_is_read_or_told(name: str) -> None:
    codec = CODECS[name]
    for body in spoilt(REPLIES[name]):
        if not isinstance(body, dict):
            continue
        codec.reply_failure(body)
        codec.read_usage(body)
        codec.decode_error(500, orjson.dumps(body))
        orjson.dumps(codec.adapt_native_reply(body, context(model="asked")))
        heard(codec.decode_reply(body, context(client_format="claude")))


def frame_of(event: Any, named: bool) -> SseFrame:
    data = orjson.dumps(event)
    kind = event.get("type") if named and isinstance(event, dict) else None
    name = kind if isinstance(kind, str) and kind else None
    return SseFrame(data, name, (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n")


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_is_read_or_told(name: str) -> None:
    codec, events = CODECS[name], STREAMS[name]
    frames = [frame_of(event, name in ("openai-response", "claude")) for event in events]
    for number, event in enumerate(events):
        for body in spoilt(event):
            sent = [*frames[:number], frame_of(body, name in ("openai-response", "claude")), *frames[number + 1 :]]
            decoder = codec.stream_decoder(context(client_format="claude"))
            read = [found for frame in sent for found in decoder.feed(frame)]
            heard([*read, *decoder.close()])
            for counted in (True, False):
                shared = context(client_format=name, model="asked", include_usage=counted)
                relay = codec.native_relay(shared, codec.framing(shared))
                for frame in sent:
                    relay.feed(frame)
                relay.close()
                assert relay.complete or relay.error is not None
                if relay.error is not None:
                    assert relay.fail(relay.error)


def user(**part: Any) -> Any:
    return {"role": "user", "content": [part]}


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("openai", {"messages": [user(type="text", text={"a": 1})]}, "messages[0].content[0].text"),
        ("openai", {"messages": [user(text2="x")]}, "messages[0].content[0].type"),
        ("openai", {"messages": [user(type="input_audio", input_audio=5)]}, "messages[0].content[0].input_audio"),
        ("openai", {"messages": [user(type="file", file={})]}, "messages[0].content[0].file"),
        ("openai", {"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
        (
            "openai",
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": {}}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ("openai", {"messages": [], "tool_choice": "sometimes"}, "tool_choice"),
        ("openai", {"messages": [], "response_format": {"type": "yaml"}}, "response_format.type"),
        ("openai", {"messages": [], "stop": [1]}, "stop"),
        ("openai", {"messages": [], "n": 1e300}, "n"),
        ("openai-response", {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ("openai-response", {"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ("openai-response", {"input": [{"id": "x"}]}, "input[0].type"),
        ("openai-response", {"input": "x", "text": "json"}, "text"),
        ("openai-response", {"input": "x", "tools": [{"a": 1}]}, "tools[0].type"),
        ("claude", {"messages": [user(type="text", text=["x"])]}, "messages.0.content.0.text"),
        ("claude", {"messages": [user(type="image", source={"type": "url"})]}, "messages.0.content.0.source.url"),
        ("claude", {"messages": [user(a=1)]}, "messages.0.content.0.type"),
        ("claude", {"messages": [], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ("claude", {"messages": [], "output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ("gemini", {"contents": [{"role": "user", "parts": [{"text": {}}]}]}, "contents[0].parts[0].text"),
        ("gemini", {"contents": [], "generationConfig": {"topK": "many"}}, "generationConfig.topK"),
    ],
)  # fmt: skip
def test_what_is_asked_in_a_form_nobody_understands_is_not_dropped(name: str, body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        CODECS[name].decode_request(body, model="m", stream=False)
    assert refused.value.error.param == param
    assert param in refused.value.error.message
