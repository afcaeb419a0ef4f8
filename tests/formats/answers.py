"""Answers of a model as canonical events, by hand and made up, and what can be read back from them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st

from cpa.conversation import events as ev
from cpa.conversation.reply import Reply, fold
from cpa.conversation.usage import Usage
from cpa.formats.codec import ReplyContext
from cpa.formats.registry import builtin_formats
from cpa.formats.sse import SseParser

CODECS = builtin_formats()
FORMATS = ("openai", "openai-response", "claude", "gemini")
MADE_UP = settings(max_examples=60, deadline=None, derandomize=True)

COUNTS = Usage(input_total=130, cache_read=100, cache_write=20, output_total=50, reasoning=30)
"""10 fresh prompt tokens, 100 read from cache, 20 written to it; 50 generated, 30 of them reasoning."""


def context(**members: Any) -> ReplyContext:
    """A context whose ids count up."""
    taken = iter(range(1, 10_000))
    members.setdefault("new_id", lambda prefix: f"{prefix}{next(taken):024d}")
    return ReplyContext(**{"requested_model": "asked", "created": 1_700_000_000, **members})


def written(name: str, events: Iterable[ev.Event], **members: Any) -> bytes:
    """The stream a client of this format is sent."""
    codec, shared = CODECS[name], context(client_format=name, **members)
    return codec.stream_encoder(shared, codec.framing(shared)).encode(events)


def read(name: str, data: bytes, *cuts: int, **members: Any) -> list[ev.Event]:
    """The events of a stream of this format, whose bytes come in pieces."""
    parser, decoder = SseParser(), CODECS[name].stream_decoder(context(**members))
    edges = [0, *sorted(cuts), len(data)]
    events: list[ev.Event] = []
    for begin, end in itertools.pairwise(edges):
        for frame in parser.feed(data[begin:end]):
            events += decoder.feed(frame)
    for frame in parser.close():
        events += decoder.feed(frame)
    return [*events, *decoder.close()]


def whole(name: str, events: Iterable[ev.Event], **members: Any) -> dict[str, Any]:
    """The whole answer a client of this format is given, through JSON and back."""
    body = CODECS[name].encode_reply(fold(events), context(client_format=name, **members))
    parsed: dict[str, Any] = orjson.loads(orjson.dumps(body))
    return parsed


def text(key: int, *pieces: str, choice: int = 0) -> list[ev.Event]:
    """A block of visible text."""
    deltas: list[ev.Event] = [ev.TextDelta(key, piece) for piece in pieces]
    return [ev.BlockStart(key, "text", choice), *deltas, ev.BlockEnd(key)]


def reasoning(key: int, *pieces: str, signature: str | None = None) -> list[ev.Event]:
    """A block of reasoning."""
    deltas: list[ev.Event] = [ev.TextDelta(key, piece) for piece in pieces]
    if signature:
        deltas.append(ev.SignatureDelta(key, signature))
    return [ev.BlockStart(key, "reasoning"), *deltas, ev.BlockEnd(key)]


def call(key: int, name: str, *pieces: str, call_id: str | None = None) -> list[ev.Event]:
    """A tool call."""
    deltas: list[ev.Event] = [ev.ArgumentsDelta(key, piece) for piece in pieces]
    start = ev.BlockStart(key, "tool_call", call_id=call_id or f"call_{key}", name=name)
    return [start, *deltas, ev.BlockEnd(key)]


def answer(*blocks: list[ev.Event], finish: ev.StopReason = "stop", usage: Usage | None = COUNTS) -> list[ev.Event]:
    """A whole answer of these blocks."""
    report: list[ev.Event] = [ev.UsageReport(usage)] if usage is not None else []
    body = [event for block in blocks for event in block]
    return [ev.Start(id="up_1", model="up-model", created=7), *body, ev.Finish(finish), *report, ev.End()]


PARALLEL: list[ev.Event] = [
    ev.BlockStart(1, "tool_call", call_id="call_a", name="f"),
    ev.BlockStart(2, "tool_call", call_id="call_b", name="g"),
    ev.ArgumentsDelta(1, '{"a"'),
    ev.ArgumentsDelta(2, '{"b":'),
    ev.ArgumentsDelta(1, ":1}"),
    ev.BlockEnd(1),
    ev.ArgumentsDelta(2, "2}"),
    ev.BlockEnd(2),
]
"""Two calls whose arguments come by turns."""

ANSWERS: dict[str, list[ev.Event]] = {
    "text": answer(text(1, "Grüß ", "dich 😀")),
    "thinking, then text": answer(reasoning(1, "hm, ", "so"), text(2, "Hi")),
    "thinking, text and a call": answer(
        reasoning(1, "hm"), text(2, "Hi"), call(3, "f", '{"a":', "1}"), finish="tool_calls"
    ),
    "a call alone": answer(call(1, "f"), finish="tool_calls"),
    "calls by turns": answer(PARALLEL, finish="tool_calls"),
    "text around a call": answer(text(1, "a"), call(2, "f", "{}"), text(3, "b"), finish="tool_calls"),
    "cut short": answer(text(1, "too lo"), finish="length"),
    "filtered": answer(text(1, "I"), finish="content_filter"),
    "no usage": answer(text(1, "x"), usage=None),
}


def said(reply: Reply, kind: str = "text") -> str:
    """Everything of one kind, choice after choice."""
    order = sorted(reply.blocks, key=lambda block: block.choice)
    return "".join(block.text for block in order if block.kind == kind)


def calls(reply: Reply) -> list[tuple[str | None, Any]]:
    """Names and arguments of all calls, arguments as values."""
    return [(block.name, orjson.loads(block.arguments or "{}")) for block in reply.blocks if block.kind == "tool_call"]


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
_ARGUMENTS = st.sampled_from(["{}", "", '{"a":1}', '{"ü":"\\n","big":12345678901234567890}'])
_SOURCES = [{"url": "https://a.example/", "title": "A"}]


@st.composite
def _block(draw: st.DrawFn, key: int, kinds: tuple[str, ...], choices: int) -> list[ev.Event]:
    kind = draw(st.sampled_from(kinds))
    choice = draw(st.integers(0, choices - 1))
    if kind == "tool_call":
        return draw(_call(key, choice))
    events: list[ev.Event] = [ev.BlockStart(key, kind, choice)]  # type: ignore[arg-type]
    end = ev.BlockEnd(key)
    if kind in ("text", "refusal", "reasoning"):
        events += [ev.TextDelta(key, word) for word in draw(st.lists(WORDS, max_size=3))]
        if kind == "reasoning" and draw(st.booleans()):
            events += [ev.PartBreak(key), ev.TextDelta(key, "next")]
        if kind == "reasoning" and draw(st.booleans()):
            events.append(ev.SignatureDelta(key, "EqQBCkYIARgCKkA="))
        if kind == "text" and draw(st.booleans()):
            events.append(ev.CitationDelta(key, ev.Citation(url="https://a.example/", title="A", cited_text="x")))
    elif kind == "server_tool":
        events = [ev.BlockStart(key, "server_tool", choice, native_id=f"srv_{key}", name="web_search")]
        end.input, end.results = {"query": "q"}, _SOURCES
    elif kind == "image":
        end.media_type, end.data = "image/png", "QUJD"
    else:
        events = [ev.BlockStart(key, "opaque", choice, json={"executableCode": {}}, format="gemini")]
    return [*events, end]


@st.composite
def _call(draw: st.DrawFn, key: int, choice: int) -> list[ev.Event]:
    """A call; who is called may be known late, or never."""
    known = draw(st.sampled_from(["at once", "name first", "late", "never"]))
    identity = {"at once": {"name": f"tool_{key}", "call_id": f"call_{key}"}, "name first": {"name": f"tool_{key}"}}
    arguments = draw(_ARGUMENTS)
    middle = draw(st.integers(0, len(arguments)))
    pieces: list[ev.Event] = [ev.ArgumentsDelta(key, arguments[:middle]), ev.ArgumentsDelta(key, arguments[middle:])]
    start = ev.BlockStart(key, "tool_call", choice, **identity.get(known, {}))  # type: ignore[arg-type]
    if known in ("name first", "late"):
        pieces.insert(draw(st.integers(0, 2)), ev.ToolCallInfo(key, call_id=f"call_{key}", name=f"tool_{key}"))
    return [start, *pieces, ev.BlockEnd(key)]


KINDS = ("text", "refusal", "reasoning", "tool_call", "server_tool", "image", "opaque")
REASONS = ("stop", "length", "tool_calls", "content_filter", "refusal", "pause", "context_exceeded", "malformed_call")


@st.composite
def answers(
    draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, choices: int = 2, interleaved: bool = True
) -> list[ev.Event]:
    """A complete answer: blocks that interleave in any way, usage before or after the finish, or never."""
    lanes = [draw(_block(key, kinds, choices)) for key in range(1, draw(st.integers(1, 6)))]
    events: list[ev.Event] = [ev.Start(id="up_1", model="up-model", created=7)]
    while lanes:
        lane = lanes[draw(st.integers(0, len(lanes) - 1)) if interleaved else 0]
        events.append(lane.pop(0))
        lanes = [left for left in lanes if left]
    tail: list[ev.Event] = [ev.Finish(draw(st.sampled_from(REASONS)), choice) for choice in range(choices)]  # type: ignore[arg-type]
    if draw(st.booleans()):
        tail.insert(draw(st.integers(0, len(tail))), ev.UsageReport(COUNTS))
    return [*events, *tail, ev.End()]
