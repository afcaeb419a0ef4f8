"""Streams of which only the whole answer is wanted: it is what reading every frame gives."""

from __future__ import annotations

import itertools
import os
from typing import Any

from answers import context
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_streams import streams
from streams_openai_response import CALL, FULL, HEAD, MESSAGE, REASONING, added, completed, done, stream

from cpa.conversation import events as ev
from cpa.conversation.reply import Reply, fold
from cpa.formats.openai_response import CodexCodec
from cpa.formats.whole_stream import StreamReader

EXAMPLES = int(os.environ.get("CPA_STREAM_EXAMPLES", "100"))
CODEC = CodexCodec()
Object = dict[str, Any]


def outcome(reader: StreamReader, pieces: list[bytes]) -> Reply:
    """The answer, read up to its end or its failure."""
    events: list[ev.Event] = []
    for piece in pieces:
        events += reader.feed(piece)
        if events and isinstance(events[-1], ev.End | ev.Failure):
            break
    else:
        events += reader.close()
    return fold(events)


def check(pieces: list[bytes]) -> Reply:
    """The answer, which is that of a reader that decodes every frame."""
    expected = outcome(StreamReader(CODEC.stream_decoder(context())), pieces)
    assert outcome(CODEC.stream_reader(context()), pieces) == expected
    return expected


def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes in some pieces."""
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=5))), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


CONTENT = {
    "message": ("response.output_text", "text"),
    "refusing": ("response.refusal", "refusal"),
    "reasoning": ("response.reasoning_summary_text", "text"),
    "thinking": ("response.reasoning_text", "text"),
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
    "web_search_call": ("response.web_search_call", "text"),
}
TYPES = {"refusing": "message", "thinking": "reasoning"}


def ended(kind: str, name: str, text: str) -> Object:
    """An item with all of its content."""
    item = {"id": name, "type": TYPES.get(kind, kind), "status": "completed"}
    match kind:
        case "message":
            return item | {"content": [{"type": "output_text", "text": text, "annotations": []}]}
        case "refusing":
            return item | {"content": [{"type": "refusal", "refusal": text}]}
        case "reasoning":
            return item | {"summary": [{"type": "summary_text", "text": text}], "encrypted_content": "gAAA"}
        case "thinking":
            return item | {"summary": [], "content": [{"type": "reasoning_text", "text": text}]}
        case "function_call":
            return item | {"call_id": f"call_{name}", "name": "f", "arguments": text}
        case "custom_tool_call":
            return item | {"call_id": f"call_{name}", "name": "g", "input": text}
    return item | {"action": {"type": "search", "query": text}}


@st.composite
def items(draw: st.DrawFn, index: int) -> tuple[list[Object], Object]:
    """The events of one item, mostly as they should be, and the item as it ends."""
    kind = draw(st.sampled_from(sorted(CONTENT)))
    name = f"item_{index}"
    prefix, member = CONTENT[kind]
    texts = draw(st.lists(st.sampled_from(["a", "b ", "é", "", '"', "event: x\n\n"]), max_size=6))
    text = draw(st.sampled_from(["".join(texts)] * 6 + ["", "other", "".join(texts) + "more"]))
    place = {"item_id": name, "output_index": index, "content_index": 0, "summary_index": 0}
    more = draw(st.sampled_from([{}] * 4 + [{"logprobs": []}, {"logprobs": [{"token": "a", "logprob": -1}]}]))
    content: list[Object] = [{"type": "response.content_part.added", **place}] * draw(st.sampled_from([0, 1, 1, 1, 2]))
    for number, piece in enumerate(texts):
        at = place | ({"content_index": 1, "summary_index": 1} if number and draw(st.integers(0, 9)) == 0 else {})
        content.append({"type": f"{prefix}.delta", **at, "delta": piece, **more})
    if draw(st.booleans()):
        content.append({"type": f"{prefix}.done", **place, member: text})
    if draw(st.integers(0, 9)) == 0:
        other = draw(st.sampled_from(sorted(set(CONTENT) - {kind})))
        content.append({"type": f"{CONTENT[other][0]}.delta", **place, "delta": "x"})
    if draw(st.integers(0, 9)) == 0:
        cited = {"type": "url_citation", "url": "http://x", "start_index": 0, "end_index": 1}
        content.append({"type": "response.output_text.annotation.added", **place, "annotation": cited})
    whole = ended(kind, draw(st.sampled_from([name] * 5 + ["renamed"])), text)
    begun = added(index, ended(kind, name, ""))
    events = [begun] * draw(st.sampled_from([1] * 8 + [0, 2])) + content
    return events + [done(index, whole)] * draw(st.sampled_from([1] * 8 + [0, 2])), whole


@st.composite
def plausible(draw: st.DrawFn) -> list[bytes]:
    """Pieces of a stream that is nearly what the vendor sends."""
    made = [draw(items(index)) for index in range(draw(st.integers(0, 3)))]
    order = [number for number, (events, _) in enumerate(made) for _ in events]
    if draw(st.integers(0, 4)) == 0:
        order = draw(st.permutations(order))
    queues = [iter(events) for events, _ in made]
    body = [next(queues[number]) for number in order]
    start: list[Object] = [
        {"type": "response.created", "response": HEAD},
        {"type": "codex.rate_limits", "rate_limits": {}},
        {"type": "response.in_progress", "response": HEAD},
    ]
    output = draw(st.sampled_from([[], [whole for _, whole in made], [MESSAGE, CALL]]))
    incomplete = {**HEAD, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    ends: list[list[Object]] = [
        [completed(output)],
        [completed(output)],
        [completed(output)],
        [completed(output), {"type": "error", "message": "late"}],
        [completed(output) | {"type": "response.done"}],
        [completed(output, status="failed", error={"code": "server_error", "message": "no"})],
        [{"type": "response.incomplete", "response": incomplete}],
        [{"type": "response.failed", "response": {**HEAD, "error": {"code": "server_error", "message": "no"}}}],
        [{"type": "error", "code": "rate_limit_exceeded", "message": "no"}],
        [],
    ]
    events = start[: draw(st.integers(0, 3))] + body + draw(st.sampled_from(ends))
    return cut(draw, stream(*events)[: draw(st.sampled_from([None] * 4 + [-1, -2, -9]))])


@settings(max_examples=EXAMPLES, deadline=None)
@given(plausible())
def test_the_whole_answer_is_that_of_every_frame(pieces: list[bytes]) -> None:
    check(pieces)


@settings(max_examples=EXAMPLES, deadline=None)
@given(streams("openai-response"))
def test_the_whole_answer_is_that_of_every_frame_in_made_up_streams(pieces: list[bytes]) -> None:
    check(pieces)


def test_an_answer_whose_end_lists_no_items_has_them_all() -> None:
    reply = check([stream(*FULL)])
    assert [block.kind for block in reply.blocks] == ["reasoning", "text", "tool_call", "tool_call"]
    assert [reply.blocks[1].text, reply.blocks[2].arguments] == ["Hi é", '{"a":1}']


def test_what_the_end_of_an_item_does_not_repeat_comes_from_its_deltas() -> None:
    empty = {**MESSAGE, "content": []}
    assert check([stream(*FULL[:10], done(1, empty), completed([]))]).blocks[1].text == "Hi é"


def test_a_spoilt_delta_harms_no_answer_whose_items_repeat_their_text() -> None:
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "delta": "Hi "}
    frames = stream(FULL[0], added(1, MESSAGE), delta, {**delta, "delta": "SPOILT"}, done(1, MESSAGE), completed([]))
    spoilt = frames.replace(b'"SPOILT"', b'"\xff')
    reply = outcome(CODEC.stream_reader(context()), [spoilt])
    assert (reply.error, reply.blocks[0].text) == (None, "Hi é")


def test_a_stream_that_fails_is_not_read_any_further() -> None:
    reader = CODEC.stream_reader(context())
    reader.feed(stream(*FULL[:10]))
    (failure,) = reader.feed(stream({"type": "error", "code": "rate_limit_exceeded", "message": "no"}))[-1:]
    assert isinstance(failure, ev.Failure)


def test_a_giant_item_in_many_pieces() -> None:
    text = "x" * 1_000_000
    message = {**MESSAGE, "content": [{"type": "output_text", "text": text, "annotations": []}]}
    data = stream(FULL[0], added(0, REASONING), *FULL[3:7], added(1, MESSAGE), done(1, message), completed([]))
    pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert check(pieces).blocks[1].text == text
