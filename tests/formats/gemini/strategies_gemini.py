"""Well-formed canonical event lists, with interleaved blocks, and the Gemini streams used all over the tests."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from cpa.conversation import events as ev
from cpa.conversation.usage import Usage
from cpa.formats.sse import SseFrame, SseParser

USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15, "cachedContentTokenCount": 2}
META = {"modelVersion": "gemini-up", "responseId": "g_1"}


def chunk(*parts: dict[str, Any], finish: str | None = None, index: int = 0, **members: Any) -> dict[str, Any]:
    """One frame of a Gemini stream."""
    candidate: dict[str, Any] = {"index": index, "content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **META, **members}


STREAMS: dict[str, list[dict[str, Any]]] = {
    "text": [
        chunk({"text": "Héllo "}),
        chunk({"text": "wörld 😀"}),
        chunk({"text": ""}, finish="STOP", usageMetadata=USAGE),
    ],
    "thinking": [
        chunk({"text": "", "thought": True, "thoughtSignature": "RXE0RENrZ0lDeEFD"}),
        chunk({"text": "Let me ", "thought": True}),
        chunk({"text": "think.", "thought": True}),
        chunk({"text": "42"}, finish="STOP", usageMetadata={**USAGE, "thoughtsTokenCount": 3}),
    ],
    "calls": [
        chunk({"text": "Checking."}),
        chunk(
            {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}, "id": "a"}, "thoughtSignature": "Cq4B"},
            {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}, "id": "b"}},
        ),
        chunk({"text": ""}, finish="STOP", usageMetadata=USAGE),
    ],
    "image": [chunk({"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}), chunk({"text": ""}, finish="STOP")],
    "two candidates": [
        chunk({"text": "a"}),
        chunk({"text": "b"}, index=1),
        chunk(finish="STOP"),
        chunk(finish="MAX_TOKENS", index=1, usageMetadata=USAGE),
    ],
    "usage after finish": [chunk({"text": "x"}, finish="STOP"), {"candidates": [], "usageMetadata": USAGE, **META}],
    "code": [
        chunk({"executableCode": {"language": "PYTHON", "code": "1+1"}}),
        chunk({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}),
        chunk({"text": "2"}, finish="STOP"),
    ],
}


def sse(frames: list[dict[str, Any]], newline: bytes = b"\n") -> bytes:
    """The bytes of a stream."""
    return b"".join(b"data: " + orjson.dumps(frame) + newline * 2 for frame in frames)


def parse(data: bytes) -> list[SseFrame]:
    """The frames in ``data``."""
    parser = SseParser()
    return [*parser.feed(data), *parser.close()]


def payloads(data: bytes) -> list[Any]:
    """The JSON payloads of an SSE answer."""
    return [orjson.loads(frame.data) for frame in parse(data)]


def as_body(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer that says the same as a stream."""
    body: dict[str, Any] = {"candidates": [], **META}
    by_index: dict[int, dict[str, Any]] = {}
    for frame in frames:
        if "usageMetadata" in frame:
            body["usageMetadata"] = frame["usageMetadata"]
        for candidate in frame["candidates"]:
            whole = by_index.setdefault(
                candidate["index"], {"index": candidate["index"], "content": {"role": "model", "parts": []}}
            )
            whole["content"]["parts"] += candidate["content"]["parts"]
            if "finishReason" in candidate:
                whole["finishReason"] = candidate["finishReason"]
    body["candidates"] = list(by_index.values())
    return body


_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
_arguments = st.sampled_from(
    ["{}", '{"a":1}', "", "[1]", "null", '{"a": "cut', '{"n":12345678901234567890123}', "{a: b}"]
)
_KINDS = ("text", "refusal", "reasoning", "tool_call", "image", "audio", "server_tool", "opaque")


@st.composite
def _block(draw: st.DrawFn, key: int) -> list[ev.Event]:
    kind = draw(st.sampled_from(_KINDS))
    choice = draw(st.integers(0, 1))
    events: list[ev.Event] = []
    end = ev.BlockEnd(key)
    if kind in ("text", "refusal", "reasoning"):
        events.append(ev.BlockStart(key, kind, choice, style=draw(st.sampled_from(["summary", "full"]))))
        pieces = draw(st.lists(_texts.filter(bool) if kind == "reasoning" else _texts, max_size=3))
        events += [ev.TextDelta(key, piece) for piece in pieces]
        if kind == "reasoning":
            if draw(st.booleans()):
                events += [ev.PartBreak(key), ev.TextDelta(key, "next")]
            if draw(st.booleans()):
                events.append(ev.SignatureDelta(key, "EqQBsig"))
        elif draw(st.booleans()):
            end.text = "".join(pieces) or None
    elif kind == "tool_call":
        late = draw(st.booleans())
        name = draw(st.sampled_from(["f", "g_2"]))
        identity = {} if late else {"name": name, "call_id": f"c{key}"}
        tool_type = draw(st.sampled_from(["function", "custom"]))
        events.append(ev.BlockStart(key, "tool_call", choice, tool_type=tool_type, **identity))
        arguments = draw(_arguments)
        middle = len(arguments) // 2
        events += [ev.ArgumentsDelta(key, arguments[:middle]), ev.ArgumentsDelta(key, arguments[middle:])]
        if late and draw(st.booleans()):
            events.append(ev.ToolCallInfo(key, call_id=f"c{key}", name=name))
    elif kind == "image":
        events += [ev.BlockStart(key, "image", choice), ev.DataDelta(key, "AAAA", 0)]
        end.media_type, end.data = "image/png", "QUJD"
    elif kind == "audio":
        events += [ev.BlockStart(key, "audio", choice), ev.TextDelta(key, "said"), ev.DataDelta(key, "QUJD")]
    elif kind == "server_tool":
        events.append(ev.BlockStart(key, "server_tool", choice, name="web_search", input={"query": "q"}))
        end.results = [{"url": "https://a", "title": "A"}]
    else:
        origin = draw(st.sampled_from(["gemini", "claude"]))
        raw = {"executableCode": {"language": "PYTHON", "code": "1"}}
        events.append(ev.BlockStart(key, "opaque", choice, json=raw, format=origin))
    return [*events, end]


@st.composite
def event_lists(draw: st.DrawFn) -> list[ev.Event]:
    """A complete answer: several blocks of two choices, interleaved in any way."""
    lanes = [draw(_block(key)) for key in range(draw(st.integers(0, 5)))]
    events: list[ev.Event] = []
    while lanes:
        lane = lanes[draw(st.integers(0, len(lanes) - 1))]
        events.append(lane.pop(0))
        lanes = [lane for lane in lanes if lane]
    reasons = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "malformed_call", "pause", "refusal"])
    tail: list[ev.Event] = [ev.Finish(draw(reasons), choice) for choice in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        tail.insert(draw(st.integers(0, len(tail))), ev.UsageReport(Usage(input_total=10, output_total=5, reasoning=2)))
    return [ev.Start(id="up_1", model="up-model"), *events, *tail, ev.End()]
