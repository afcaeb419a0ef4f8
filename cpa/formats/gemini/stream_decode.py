"""Read Gemini's answer, streamed or whole, as canonical events.

Every frame is a complete ``GenerateContentResponse`` whose parts continue those before. There is no start, no end
mark and no closing of parts: blocks are opened and closed here, and the answer ends when the upstream closes after
every candidate had its ``finishReason``. A whole body is a stream of one frame.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.signatures import GEMINI_SKIP_VALIDATION
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, bad_event, ended_within_event
from cpa.formats.change import Varying
from cpa.formats.codec import ReplyContext
from cpa.formats.gemini.errors import error_of, info_of
from cpa.formats.gemini.fields import Object, get
from cpa.formats.gemini.finish import decode_finish
from cpa.formats.gemini.grounding import citations_of, search_of
from cpa.formats.gemini.partial_args import PartialArguments
from cpa.formats.gemini.usage import counts_of, decode_usage
from cpa.formats.runs import joined
from cpa.formats.sse import SseFrame, is_half

_USAGE_INTERVAL = 16
"""Usage stands in nearly every frame; this often it is reported while the answer runs."""


class _Candidate:
    """One candidate of the answer while it is read."""

    __slots__ = ("called", "choice", "finish", "grounding", "key", "kind", "offset", "partial", "signature", "texts")

    def __init__(self, choice: int) -> None:
        self.choice = choice
        self.key = -1
        self.kind = ""
        """Kind of the open block; empty when none is open."""
        self.texts: list[str] = []
        """Visible text of the open block."""
        self.offset = 0
        """UTF-8 bytes of visible text in closed blocks: where the open block begins."""
        self.signature: str | None = None
        self.called = False
        self.finish: str | None = None
        self.grounding: Object = {}
        self.partial: PartialArguments | None = None


class GeminiStreamDecoder:
    """Turns frames into events; see :class:`cpa.formats.codec.RunDecoder`."""

    varying: tuple[Varying, ...] = ()

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._started = False
        self._done = False
        self._broken = False
        self._next_key = 0
        self._candidates: dict[int, _Candidate] = {}
        self._blocked: str | None = None
        self._usage: Object | None = None
        self._reported: Object | None = None
        self._frames = 0
        self._call_ids: set[str] = set()

    # -- frames --------------------------------------------------------------------------------------------

    def feed(self, frame: SseFrame) -> list[ev.Event]:
        """Events of one frame."""
        data = frame.data
        if self._done or not data or data == b"[DONE]":
            return []
        try:
            value: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._broken = True
            if not is_half(frame):
                return []
            self._done = True
            return [ev.Failure(bad_event())]
        self._broken = False
        return self.read(value)

    def read(self, value: Any) -> list[ev.Event]:
        """Events of one decoded response, in its envelope or not; arrays are read one by one."""
        events: list[ev.Event] = []
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict) and not self._done:
                self._read_one(item, events)
        return events

    def _read_one(self, item: Object, out: list[ev.Event]) -> None:
        response = item.get("response")
        if isinstance(response, dict):
            trace_id = item.get("traceId")
        else:
            response, trace_id = item, None
        if "error" in response or "error" in item:
            error = error_of(item) or error_of(response)
            if error is not None:
                self._done = True
                out.append(ev.Failure(info_of(error)))
                return
        if not self._started:
            self._start(response, trace_id, out)
        usage = counts_of(response)
        if isinstance(usage, dict):
            self._usage = usage
            if self._frames % _USAGE_INTERVAL == 0:
                self._report_usage(out)
        self._frames += 1
        candidates = response.get("candidates")
        if isinstance(candidates, list):
            for position, candidate in enumerate(candidates):
                if isinstance(candidate, dict):
                    self._read_candidate(candidate, position, out)
        feedback = response.get("promptFeedback")
        if isinstance(feedback, dict) and isinstance(feedback.get("blockReason"), str):
            self._blocked = feedback["blockReason"]

    def _start(self, response: Object, trace_id: Any, out: list[ev.Event]) -> None:
        self._started = True
        out.append(
            ev.Start(
                id=_string(response.get("responseId")),
                model=_string(response.get("modelVersion")),
                created=_seconds(response.get("createTime")),
                trace_id=_string(trace_id),
            )
        )

    def unreported_usage(self) -> Usage | None:
        """Counts that no event has told yet."""
        return None if self._usage is self._reported else decode_usage(self._usage)

    def _report_usage(self, out: list[ev.Event]) -> None:
        if self._usage is self._reported:
            return
        self._reported = self._usage
        usage = decode_usage(self._usage)
        if usage is not None:
            out.append(ev.UsageReport(usage))

    def _read_candidate(self, candidate: Object, position: int, out: list[ev.Event]) -> None:
        index = candidate.get("index", position)
        if type(index) is not int or index < 0:
            index = position
        state = self._candidates.get(index)
        if state is None:
            state = self._candidates[index] = _Candidate(index)
        content = candidate.get("content")
        if isinstance(content, dict):
            parts = content.get("parts")
            if isinstance(parts, list):
                for part in parts:
                    if isinstance(part, dict):
                        self._read_part(state, part, out)
        for name in ("groundingMetadata", "citationMetadata"):
            metadata = candidate.get(name)
            if isinstance(metadata, dict):
                known = state.grounding.setdefault(name, {})
                known.update({key: value for key, value in metadata.items() if value})
        finish = candidate.get("finishReason")
        if isinstance(finish, str) and finish:
            state.finish = finish
            self._report_usage(out)

    def lead(self, event: ev.TextDelta | ev.ArgumentsDelta) -> bytes | None:
        """See :class:`cpa.formats.codec.RunDecoder`."""
        return b'"text":' if isinstance(event, ev.TextDelta) else None

    def skipped(self, key: int, texts: list[bytes]) -> None:
        """See :class:`cpa.formats.codec.RunDecoder`: what sources point at is counted from the beginning of a text."""
        for state in self._candidates.values():
            if state.key == key and state.kind == "text":
                state.texts.append(joined(texts))

    # -- parts ---------------------------------------------------------------------------------------------

    def _read_part(self, state: _Candidate, part: Object, out: list[ev.Event]) -> None:
        text = part.get("text")
        if isinstance(text, str):
            kind = "reasoning" if part.get("thought") is True else "text"
            if text:
                if state.kind != kind:
                    self._open(state, kind, out)
                if kind == "text":
                    state.texts.append(text)
                out.append(ev.TextDelta(state.key, text))
            if len(part) > 1:
                self._note_signature(state, part, kind, out)
            return
        for name, read in _READERS.items():
            value = get(part, name)
            if isinstance(value, dict):
                read(self, state, value, part, out)
                return
        if part.get("thought") is True or get(part, "thoughtSignature") is not None:
            self._note_signature(state, part, "reasoning" if part.get("thought") is True else "text", out)
        elif part:
            self._whole(state, ev.BlockStart(0, "opaque", json=part, format="gemini"), ev.BlockEnd(0, json=part), out)

    def _open(self, state: _Candidate, kind: str, out: list[ev.Event]) -> None:
        self._close_block(state, out)
        state.key = self._new_key()
        state.kind = kind
        if kind == "reasoning":
            out.append(ev.BlockStart(state.key, "reasoning", state.choice, style="summary"))
        else:
            out.append(ev.BlockStart(state.key, "text", state.choice))

    def _note_signature(self, state: _Candidate, part: Object, kind: str, out: list[ev.Event]) -> None:
        """Keep a proof for the end of its block. One that stands alone after thoughts belongs to them."""
        signature = _signature(part)
        if signature is None:
            return
        if kind == "reasoning" and state.kind != kind:
            self._open(state, kind, out)
        if state.kind:
            state.signature = signature

    def _close_block(self, state: _Candidate, out: list[ev.Event]) -> None:
        if not state.kind:
            return
        if state.kind == "reasoning":
            if state.signature is not None:
                out.append(ev.SignatureDelta(state.key, state.signature))
            out.append(ev.BlockEnd(state.key))
        else:
            out.append(ev.BlockEnd(state.key, signature=state.signature))
            state.offset += len("".join(state.texts).encode())
            state.texts = []
        state.kind = ""
        state.signature = None

    def _whole(self, state: _Candidate, start: ev.BlockStart, end: ev.BlockEnd, out: list[ev.Event]) -> None:
        """A block that comes in one piece."""
        self._close_block(state, out)
        start.key = end.key = self._new_key()
        start.choice = state.choice
        out.append(start)
        out.append(end)

    def _new_key(self) -> int:
        key = self._next_key
        self._next_key = key + 1
        return key

    def _read_call(self, state: _Candidate, value: Object, part: Object, out: list[ev.Event]) -> None:
        name = value.get("name")
        pending = state.partial
        if pending is not None and (not name or name == pending.name):
            pending.add(value)
        elif not isinstance(name, str) or not name:
            return
        else:
            self._end_partial(state, out)
            if value.get("willContinue") is not True and "partialArgs" not in value:
                self._emit_call(state, name, value.get("id"), value.get("args"), _signature(part), out)
                return
            pending = state.partial = PartialArguments(name, value.get("id"), _signature(part))
            pending.add(value)
        if value.get("willContinue") is not True:
            self._end_partial(state, out)

    def _end_partial(self, state: _Candidate, out: list[ev.Event]) -> None:
        if (pending := state.partial) is not None:
            state.partial = None
            self._emit_call(state, pending.name, pending.call_id, pending.arguments, pending.signature, out)

    def _emit_call(
        self, state: _Candidate, name: str, call_id: Any, args: Any, signature: str | None, out: list[ev.Event]
    ) -> None:
        self._close_block(state, out)
        state.called = True
        identity = self._context.tool(name)
        if identity.wrapped and isinstance(args, dict) and isinstance(args.get("input"), str):
            text = args["input"]
        else:
            text = "{}" if args is None else orjson.dumps(args).decode()
        key = self._new_key()
        out.append(
            ev.BlockStart(
                key,
                "tool_call",
                state.choice,
                call_id=self._call_id(call_id),
                name=identity.name,
                tool_type=identity.kind,
                namespace=identity.namespace,
            )
        )
        out.append(ev.ArgumentsDelta(key, text))
        out.append(ev.BlockEnd(key, signature=signature))

    def _call_id(self, given: Any) -> str:
        """The upstream's id, or a new one when it gave none or the same twice."""
        if isinstance(given, str) and given and given not in self._call_ids:
            call_id = given
        else:
            call_id = self._context.new_id("toolu_" if self._context.client_format == "claude" else "call_")
        self._call_ids.add(call_id)
        return call_id

    def _read_inline(self, state: _Candidate, value: Object, part: Object, out: list[ev.Event]) -> None:
        if part.get("thought") is True:
            return
        data, media_type = value.get("data"), get(value, "mimeType")
        if not isinstance(data, str):
            return
        media_type = media_type if isinstance(media_type, str) and media_type else "image/png"
        kind = media_type.partition("/")[0]
        if kind == "image":
            self._whole(state, ev.BlockStart(0, "image"), ev.BlockEnd(0, media_type=media_type, data=data), out)
        elif kind == "audio":
            self._whole(state, ev.BlockStart(0, "audio"), ev.BlockEnd(0, media_type=media_type, data=data), out)
        else:
            self._read_opaque(state, value, part, out)

    def _read_file(self, state: _Candidate, value: Object, part: Object, out: list[ev.Event]) -> None:
        uri, media_type = get(value, "fileUri"), get(value, "mimeType")
        if isinstance(uri, str) and isinstance(media_type, str) and media_type.startswith("image/"):
            self._whole(state, ev.BlockStart(0, "image"), ev.BlockEnd(0, media_type=media_type, url=uri), out)
        else:
            self._read_opaque(state, value, part, out)

    def _read_opaque(self, state: _Candidate, value: Object, part: Object, out: list[ev.Event]) -> None:
        self._whole(state, ev.BlockStart(0, "opaque", json=part, format="gemini"), ev.BlockEnd(0, json=part), out)

    # -- end -----------------------------------------------------------------------------------------------

    def close(self) -> list[ev.Event]:
        """The upstream closed: complete when every candidate that began has finished."""
        return self._finish(whole=False)

    def close_whole(self) -> list[ev.Event]:
        """A whole body was read: nothing can have been cut off, so a missing ``finishReason`` means a stop."""
        return self._finish(whole=True)

    def _finish(self, *, whole: bool) -> list[ev.Event]:
        if self._done:
            return []
        self._done = True
        out: list[ev.Event] = []
        if self._usage is not None:
            self._report_usage(out)
        states = list(self._candidates.values())
        failure = self._failure(states, whole)
        if failure is not None:
            out.append(ev.Failure(failure))
            return out
        for state in states:
            self._finish_candidate(state, out)
        if not states and self._blocked is not None:
            out.append(ev.Finish("content_filter", native=self._blocked))
        out.append(ev.End())
        return out

    def _failure(self, states: list[_Candidate], whole: bool) -> ErrorInfo | None:
        if self._broken:
            return ended_within_event()
        if not states:
            if self._blocked is not None:
                return None
            return ErrorInfo(502, "the upstream's answer is empty", type="server_error", code="empty_stream")
        if not whole and any(state.finish is None for state in states) and self._blocked is None:
            return _cut("the upstream's stream ended before the answer was complete")
        return None

    def _finish_candidate(self, state: _Candidate, out: list[ev.Event]) -> None:
        self._end_partial(state, out)
        if state.grounding and state.kind == "text":
            citations = citations_of(state.grounding, "".join(state.texts), state.offset)
            out.extend(ev.CitationDelta(state.key, citation) for citation in citations)
        self._close_block(state, out)
        search = search_of(state.grounding)
        if search is not None:
            queries, results = search
            given = {"query": queries[0]} if queries else {}
            self._whole(
                state,
                ev.BlockStart(0, "server_tool", name="web_search", input=given, format="gemini"),
                ev.BlockEnd(0, input=given, results=results, status="completed"),
                out,
            )
        native = state.finish or self._blocked
        if native is None:
            out.append(ev.Finish("tool_calls" if state.called else "stop", state.choice))
        elif state.finish is None:
            out.append(ev.Finish("content_filter", state.choice, native=native))
        else:
            out.append(decode_finish(native, state.choice, called=state.called))


_Reader = Callable[[GeminiStreamDecoder, _Candidate, Object, Object, list[ev.Event]], None]

_READERS: dict[str, _Reader] = {
    "functionCall": GeminiStreamDecoder._read_call,
    "inlineData": GeminiStreamDecoder._read_inline,
    "fileData": GeminiStreamDecoder._read_file,
    "executableCode": GeminiStreamDecoder._read_opaque,
    "codeExecutionResult": GeminiStreamDecoder._read_opaque,
}


def decode_reply(body: Object, context: ReplyContext) -> list[ev.Event]:
    """Read a whole answer."""
    decoder = GeminiStreamDecoder(context)
    return [*decoder.read(body), *decoder.close_whole()]


def _cut(message: str) -> ErrorInfo:
    return ErrorInfo(502, message, type="server_error", code="stream_cut_off")


def _signature(part: Object) -> str | None:
    """The proof on a part; the literal that skips validation proves nothing and is kept from clients."""
    value = get(part, "thoughtSignature")
    return value if isinstance(value, str) and value and value != GEMINI_SKIP_VALIDATION else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return int(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError, OSError):
        return None
