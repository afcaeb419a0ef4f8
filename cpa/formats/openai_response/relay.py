"""A Responses stream for a Responses client: frames pass as they came, only what breaks the protocol is repaired."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.numbers import natural
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, bad_event
from cpa.formats.change import Note
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.errors import cut_off, error_event, failed_event, stream_error
from cpa.formats.openai_response.fields import Object, object_of
from cpa.formats.openai_response.usage import read_usage
from cpa.formats.sse import Framing, SseFrame
from cpa.formats.stencil import FrameKind

_HANDSHAKE = frozenset({"response.created", "response.in_progress", "response.queued"})
_TERMINAL = frozenset({"response.completed", "response.done", "response.incomplete"})
_FAILED = frozenset({"response.failed", "response.error", "response.cancelled", "error"})
_ITEM_ADDED = "response.output_item.added"
_ITEM_DONE = "response.output_item.done"
_EMPTY: dict[str, Object] = {
    "message": {"status": "in_progress", "content": []},
    "reasoning": {"summary": []},
    "function_call": {"status": "in_progress", "arguments": ""},
    "custom_tool_call": {"status": "in_progress", "input": ""},
}
"""What an item begins with."""
_TEXT_DELTAS = FrameKind(b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"', b"}\n\n")


class ResponseNativeRelay:
    """See :class:`cpa.formats.codec.NativeRelay`.

    An ordinary delta is recognised by its event name and passes unparsed when its data names the same type.
    """

    def __init__(self, context: ReplyContext, framing: Framing) -> None:
        self._context = context
        self._framing = framing
        self._frame = framing.frame
        self._done: list[tuple[int, int, Object]] = []
        """Finished items with their index and order of arrival."""
        self._added = 0
        """How many items the upstream announced."""
        self._response: Object = {}
        self._sequence = -1
        self._last_delta = b""
        self._prefixes: dict[str, tuple[bytes, bytes]] = {}
        self.usage: Usage | None = None
        self.complete = False
        self.error: ErrorInfo | None = None
        self.meaningful = False
        self.served_model: str | None = None

    def pass_chunk(self, chunk: bytes, note: Note | None = None) -> tuple[bytes, int]:
        """The text deltas."""
        if self.complete or self.error is not None:
            return b"", 0
        used = _TEXT_DELTAS.reach(chunk)
        if used:
            self._last_delta = chunk[chunk.rfind(b"\ndata: ", 0, used) + 7 : used - 2]
        return chunk[:used], used

    def feed(self, frame: SseFrame) -> bytes:
        """Bytes for the client."""
        data = frame.data
        if self.complete or self.error is not None:
            return b""
        if not data:
            return frame.raw if self.meaningful else b""
        event = frame.event
        if event is not None and self.meaningful and event[-6:] == ".delta":
            known = self._prefixes.get(event)
            if known is None:
                name = event.encode()
                known = self._prefixes[event] = (b'{"type":"%b"' % name, b'"type": "%b"' % name)
            if data[-1:] == b"}" and (data.startswith(known[0]) or known[0][1:] in data or known[1] in data):
                self._last_delta = data
                return frame.raw
        return self._parsed(frame)

    def _parsed(self, frame: SseFrame) -> bytes:
        try:
            event: Any = orjson.loads(frame.data)
        except orjson.JSONDecodeError:
            if frame.data.strip() == b"[DONE]":
                return b""
            self.error = bad_event()
            return b""
        if not isinstance(event, dict):
            return b""
        kind = event.get("type")
        if not isinstance(kind, str):
            if event.get("error"):
                self.error = stream_error(event)
                return b""
            kind = frame.event or ""
        return self._event(kind, event, frame)

    def _event(self, kind: str, event: Object, frame: SseFrame) -> bytes:
        sequence = natural(event.get("sequence_number"))
        if sequence is not None:
            self._sequence = sequence
        if kind in _FAILED:
            self.usage = read_usage(object_of(event.get("response")), self._context.request) or self.usage
            self.error = stream_error(event)
            return b""
        if not kind.startswith("response."):
            return self._write(kind, event, frame, changed=False) if self._context.codex_client and kind else b""
        changed = False
        response = event.get("response")
        if isinstance(response, dict):
            event, changed = self._with_response(kind, event, response)
            if self.error is not None:
                return b""
        elif kind in _TERMINAL:
            event, changed = self._with_response(kind, event, {})
        if kind in _TERMINAL:
            self.complete = True
            if kind == "response.done":
                kind, changed = "response.completed", True
                event = {**event, "type": kind}
        elif kind not in _HANDSHAKE:
            self.meaningful = self.meaningful or kind != "response.metadata"
            if kind == _ITEM_DONE and isinstance(event.get("item"), dict):
                index = event.get("output_index")
                order = len(self._done)
                self._done.append((index if isinstance(index, int) else 1 << 30, order, event["item"]))
            elif kind == _ITEM_ADDED:
                self._added += 1
        if not self.complete:
            return self._write(kind, event, frame, changed=changed)
        self.meaningful = True
        out = self._announced(object_of(event.get("response")).get("output"))
        if out and isinstance(event.get("sequence_number"), int):
            self._sequence += 1
            event, changed = {**event, "sequence_number": self._sequence}, True
        return out + self._write(kind, event, frame, changed=changed) + self._framing.end()

    def _announced(self, output: Any) -> bytes:
        """Events for the items of the output when the terminal event is the first to tell of any."""
        if self._added or self._done or not isinstance(output, list):
            return b""
        out: list[bytes] = []
        self._sequence = max(self._sequence - 1, -1)
        for index, item in enumerate(output):
            shown = object_of(item)
            begun: Object = {key: shown[key] for key in ("id", "type", "role", "call_id", "name") if key in shown}
            begun |= _EMPTY.get(str(shown.get("type")), {})
            for kind, told in ((_ITEM_ADDED, begun), (_ITEM_DONE, shown)):
                self._sequence += 1
                event = {"type": kind, "sequence_number": self._sequence, "output_index": index, "item": told}
                out.append(self._frame(kind, orjson.dumps(event)))
        return b"".join(out)

    def _with_response(self, kind: str, event: Object, response: Object) -> tuple[Object, bool]:
        """The event with its response repaired, and whether anything had to be."""
        changes: Object = {}
        model = response.get("model")
        if self.served_model is None and isinstance(model, str):
            self.served_model = model
        shown = self._context.model
        if shown is not None and model != shown:
            changes["model"] = shown
        elif not model and (self.served_model or self._context.requested_model):
            changes["model"] = self.served_model or self._context.requested_model
        if kind in _TERMINAL:
            if response.get("status") == "failed":
                self.error = stream_error(event)
            self.usage = read_usage(response, self._context.request) or self.usage
            output = self._repaired(response.get("output"))
            if output is not response.get("output"):
                changes["output"] = output
        repaired = {**response, **changes} if changes else response
        self._response = repaired
        return ({**event, "response": repaired}, True) if changes else (event, False)

    def _repaired(self, output: Any) -> Any:
        """The terminal output, from the finished items when it is missing; ids from there when they are."""
        done = [item for _, _, item in sorted(self._done, key=lambda entry: entry[:2])]
        if not isinstance(output, list) or not output:
            return done if done or not isinstance(output, list) else output
        if len(output) != len(done):
            return output
        repaired = [
            {"id": known["id"], **item}
            if isinstance(item, dict) and not item.get("id") and isinstance(known.get("id"), str)
            else item
            for item, known in zip(output, done, strict=True)
        ]
        return output if all(new is old for new, old in zip(repaired, output, strict=True)) else repaired

    def _write(self, kind: str, event: Object, frame: SseFrame, *, changed: bool) -> bytes:
        if not changed and frame.event == kind and event.get("type") == kind:
            return frame.raw
        if event.get("type") != kind:
            event = {**event, "type": kind}
            changed = True
        return self._frame(kind, orjson.dumps(event) if changed else frame.data)

    def close(self) -> bytes:
        """The upstream closed."""
        if not self.complete and self.error is None:
            if self.meaningful or self._response:
                self.error = cut_off()
            else:
                message = "the upstream's stream is empty"
                self.error = ErrorInfo(502, message, type="server_error", code="empty_stream")
        return b""

    def fail(self, error: ErrorInfo) -> bytes:
        """The in-band error."""
        if self._last_delta:
            last = object_of(orjson.loads(self._last_delta) if _is_json(self._last_delta) else {})
            self._sequence = max(self._sequence, natural(last.get("sequence_number")) or 0)
        if self._context.codex_client:
            output = [item for _, _, item in sorted(self._done, key=lambda entry: entry[:2])]
            payload = failed_event(error, {**self._response, "output": output}, self._sequence + 1)
        else:
            payload = error_event(error, self._sequence + 1)
        return self._frame(payload["type"], orjson.dumps(payload)) + self._framing.abort()


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
