"""Read Messages answers, streamed and whole: a whole one is read as the events a stream of it would have had."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.errors import ErrorInfo, bad_event, no_answer
from cpa.formats.change import Varying
from cpa.formats.claude.errors import error_event
from cpa.formats.claude.fields import Object, a_list, an_object, text_of
from cpa.formats.claude.finish import decode_finish
from cpa.formats.claude.usage import decode_usage
from cpa.formats.codec import ReplyContext
from cpa.formats.openai.stream_decode import unwrap_input
from cpa.formats.sse import SseFrame, is_half

_RESULTS = ("web_search_tool_result", "web_fetch_tool_result")


class _Block:
    """An open block."""

    __slots__ = ("buffer", "key", "kind", "raw", "redacted", "wrapped")

    def __init__(self, key: int, kind: str) -> None:
        self.key = key
        self.kind = kind
        self.wrapped = False
        self.redacted: str | None = None
        self.raw: Object | None = None
        self.buffer: list[str] = []


class ClaudeStreamDecoder:
    """See :class:`cpa.formats.codec.RunDecoder`."""

    varying: tuple[Varying, ...] = ()

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._keys = 0
        self._open: dict[int, _Block] = {}
        self._started = False
        self._closed = False
        self._usage: Object = {}
        self._finish: ev.Finish | None = None
        self._doubt: ErrorInfo | None = None

    def feed(self, frame: SseFrame) -> list[ev.Event]:
        """Events of one frame."""
        if self._closed or not frame.data:
            return []
        try:
            event: Any = orjson.loads(frame.data)
        except orjson.JSONDecodeError:
            self._doubt = bad_event()
            if not is_half(frame):
                return []
            self._closed = True
            return [ev.Failure(self._doubt)]
        return self.event(event) if isinstance(event, dict) else []

    def event(self, event: Object) -> list[ev.Event]:
        """Events of one parsed event."""
        match event.get("type"):
            case "content_block_delta":
                return self._delta(event)
            case "content_block_start":
                return self._block_start(event)
            case "content_block_stop":
                return self._block_stop(self._index(event))
            case "message_start":
                return self._start(an_object(event.get("message")))
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                return self._end()
            case "ping":
                return [ev.Ping()]
            case "error":
                self._closed = True
                return [ev.Failure(error_event(event))]
            case None if "error" in event:
                self._closed = True
                return [ev.Failure(error_event(event))]
        return []

    def lead(self, event: ev.TextDelta | ev.ArgumentsDelta) -> bytes | None:
        """See :class:`cpa.formats.codec.RunDecoder`."""
        if isinstance(event, ev.ArgumentsDelta):
            return b'"partial_json":'
        kind = next((block.kind for block in self._open.values() if block.key == event.key), "")
        return {"text": b'"text":', "thinking": b'"thinking":'}.get(kind)

    def skipped(self, key: int, texts: list[bytes]) -> None:
        """See :class:`cpa.formats.codec.RunDecoder`: nothing is kept of a text."""

    def close(self) -> list[ev.Event]:
        """The upstream closed; once the reason came nothing of the answer is missing but its end mark."""
        if self._closed:
            return []
        if self._finish is not None and not self._open:
            return self._end()
        self._closed = True
        if self._doubt is not None:
            return [ev.Failure(self._doubt)]
        if not self._started:
            error = ErrorInfo(502, "the upstream's stream is empty", type="server_error", code="empty_stream")
        else:
            message = "the upstream closed the stream before it was complete"
            error = ErrorInfo(502, message, type="server_error", code="stream_cut_off")
        return [ev.Failure(error)]

    def _index(self, event: Object) -> int:
        index = event.get("index")
        return index if isinstance(index, int) else -1

    def _start(self, message: Object) -> list[ev.Event]:
        if self._started:
            return []
        self._started = True
        events: list[ev.Event] = [
            ev.Start(
                id=text_of(message.get("id")),
                model=text_of(message.get("model")),
                service_tier=text_of(an_object(message.get("usage")).get("service_tier")),
            )
        ]
        return events + self._report(message.get("usage"))

    def _report(self, raw: Any) -> list[ev.Event]:
        usage = decode_usage(raw, self._usage)
        if usage is None:
            return []
        self._usage = an_object(usage.raw)
        return [ev.UsageReport(usage)]

    # -- blocks --------------------------------------------------------------------------------------------

    def _block_start(self, event: Object) -> list[ev.Event]:
        raw = an_object(event.get("content_block"))
        index = self._index(event)
        events: list[ev.Event] = [] if self._started else self._start({})
        if index in self._open:
            events += self._block_stop(index)
        self._keys += 1
        key = self._keys
        kind = str(raw.get("type"))
        block = self._open[index] = _Block(key, kind)
        match kind:
            case "text":
                events.append(ev.BlockStart(key, "text"))
                if text := raw.get("text"):
                    events.append(ev.TextDelta(key, str(text)))
                events += [self._citation(key, c) for c in a_list(raw.get("citations")) if isinstance(c, dict)]
            case "thinking":
                events.append(ev.BlockStart(key, "reasoning"))
                if text := raw.get("thinking"):
                    events.append(ev.TextDelta(key, str(text)))
                if signature := text_of(raw.get("signature")):
                    events.append(ev.SignatureDelta(key, signature))
            case "redacted_thinking":
                block.redacted = str(raw.get("data") or "")
                events.append(ev.BlockStart(key, "reasoning"))
            case "tool_use":
                events.append(self._tool_start(block, raw))
                if raw.get("input"):
                    events += self._arguments(block, orjson.dumps(raw["input"]).decode())
            case "server_tool_use":
                block.raw = raw
                start = ev.BlockStart(
                    key, "server_tool", native_id=text_of(raw.get("id")), name=text_of(raw.get("name"))
                )
                start.input, start.format = raw.get("input") or None, "claude"
                events.append(start)
            case _:
                block.raw = raw
                events.append(ev.BlockStart(key, "opaque", json=raw, format="claude"))
        return events

    def _tool_start(self, block: _Block, raw: Object) -> ev.Event:
        identity = self._context.names.identity(str(raw.get("name") or ""))
        block.wrapped = identity.wrapped
        return ev.BlockStart(
            block.key,
            "tool_call",
            call_id=text_of(raw.get("id")),
            name=identity.name or None,
            namespace=identity.namespace,
            tool_type="custom" if identity.wrapped else "function",
        )

    def _arguments(self, block: _Block, text: str) -> list[ev.Event]:
        if block.wrapped or block.kind != "tool_use":
            block.buffer.append(text)
            return []
        return [ev.ArgumentsDelta(block.key, text)]

    def _delta(self, event: Object) -> list[ev.Event]:
        block = self._open.get(self._index(event))
        delta = event.get("delta")
        if block is None or not isinstance(delta, dict):
            return []
        match delta.get("type"):
            case "text_delta":
                text = delta.get("text")
                return [ev.TextDelta(block.key, text)] if isinstance(text, str) and text else []
            case "input_json_delta":
                text = delta.get("partial_json")
                return self._arguments(block, text) if isinstance(text, str) and text else []
            case "thinking_delta":
                text = delta.get("thinking")
                return [ev.TextDelta(block.key, text)] if isinstance(text, str) and text else []
            case "signature_delta":
                signature = text_of(delta.get("signature"))
                return [ev.SignatureDelta(block.key, signature)] if signature else []
            case "citations_delta" if isinstance(delta.get("citation"), dict):
                return [self._citation(block.key, delta["citation"])]
        return []

    def _citation(self, key: int, raw: Object) -> ev.Event:
        citation = ev.Citation(
            url=text_of(raw.get("url")),
            title=text_of(raw.get("title")) or text_of(raw.get("document_title")),
            cited_text=text_of(raw.get("cited_text")),
            raw=raw,
            format="claude",
        )
        return ev.CitationDelta(key, citation)

    def _block_stop(self, index: int) -> list[ev.Event]:
        block = self._open.pop(index, None)
        if block is None:
            return []
        match block.kind:
            case "redacted_thinking":
                return [ev.BlockEnd(block.key, redacted_data=block.redacted)]
            case "tool_use" if block.wrapped:
                text = unwrap_input("".join(block.buffer))
                return [ev.ArgumentsDelta(block.key, text), ev.BlockEnd(block.key)]
            case "server_tool_use":
                raw = dict(block.raw or {})
                if block.buffer:
                    try:
                        raw["input"] = orjson.loads("".join(block.buffer))
                    except orjson.JSONDecodeError:
                        raw["input"] = {}
                return [ev.BlockEnd(block.key, input=raw.get("input"), json=raw)]
        if block.raw is not None:
            return [ev.BlockEnd(block.key, json=block.raw)]
        return [ev.BlockEnd(block.key)]

    # -- the end -------------------------------------------------------------------------------------------

    def _message_delta(self, event: Object) -> list[ev.Event]:
        delta = an_object(event.get("delta"))
        native = text_of(delta.get("stop_reason"))
        if native:
            self._finish = ev.Finish(
                decode_finish(native),
                native=native,
                stop_sequence=text_of(delta.get("stop_sequence")),
                details=delta.get("stop_details"),
            )
        return self._report(event.get("usage"))

    def _end(self) -> list[ev.Event]:
        self._closed = True
        if not self._started:
            return [
                ev.Failure(ErrorInfo(502, "the upstream's stream is empty", type="server_error", code="empty_stream"))
            ]
        if self._finish is None:
            message = "the upstream's answer ended without saying why"
            return [ev.Failure(ErrorInfo(502, message, type="server_error", code="stream_cut_off"))]
        events: list[ev.Event] = []
        for index in list(self._open):
            events += self._block_stop(index)
        events.append(self._finish)
        events.append(ev.End())
        return events


def decode_reply(body: Object, context: ReplyContext) -> list[ev.Event]:
    """Events of a whole answer."""
    if body.get("type") == "error" or ("error" in body and "content" not in body):
        return [ev.Failure(error_event(body))]
    if not isinstance(body.get("content"), list):
        return [ev.Failure(no_answer())]
    decoder = ClaudeStreamDecoder(context)
    events = decoder.event({"type": "message_start", "message": body})
    for index, block in enumerate(a_list(body.get("content"))):
        if isinstance(block, dict):
            events += decoder.event({"type": "content_block_start", "index": index, "content_block": block})
            events += decoder.event({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": body.get("stop_reason") or "end_turn", "stop_sequence": body.get("stop_sequence")}
    events += decoder.event({"type": "message_delta", "delta": ending})
    return events + decoder.event({"type": "message_stop"})
