"""The items of a Responses stream while they are being written: one small state machine per kind."""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from msgspec.structs import replace

from cpa.conversation import events as ev
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.fields import Object
from cpa.formats.openai_response.history_decode import REDACTED_PREFIX
from cpa.formats.openai_response.shown import annotation, search_item

_dumps = orjson.dumps


class Writer(Protocol):
    """What an item needs of the stream it is written to."""

    def emit(self, kind: str, payload: Object) -> None:
        """Write one event."""

    def emit_delta(self, kind: str, head: bytes, text: str, tail: bytes) -> None:
        """Write one frequent event."""

    def new_item_id(self, wanted: str | None, prefix: str, known: str | None = None) -> str:
        """An id for an item."""


class OpenItem:
    """An item between ``output_item.added`` and ``output_item.done``."""

    def __init__(self, choice: int, start: ev.BlockStart) -> None:
        self.choice = choice
        self.start = start
        self.index = 0
        self.id = ""
        self.closed = False
        self.end: ev.BlockEnd | None = None

    def begin(self, writer: Writer) -> None:
        """Write that the item begins."""
        raise NotImplementedError

    def finish(self, writer: Writer, status: str) -> Object:
        """Write what ends its content; gives the item as it is done."""
        raise NotImplementedError

    def _added(self, writer: Writer, item: Object) -> None:
        writer.emit("response.output_item.added", {"output_index": self.index, "item": item})

    def _place(self) -> Object:
        return {"item_id": self.id, "output_index": self.index}

    def _head(self, kind: str, place: Object) -> bytes:
        return _dumps({"type": kind, **place})[:-1] + b',"delta":'


class _Part:
    """A content part of a message."""

    __slots__ = ("annotations", "base", "closed", "head", "kind", "logprobs", "place", "text")

    def __init__(self, kind: str, place: Object) -> None:
        self.kind = kind
        self.place = place
        self.text: list[str] = []
        self.logprobs: list[Any] = []
        self.annotations: list[Object] = []
        self.closed = False
        self.head = b""
        self.base = 0
        """Where the text block that is being written begins in this part; citations count from there."""

    def shown(self) -> Object:
        text = "".join(self.text)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": self.annotations, "logprobs": self.logprobs}


class MessageItem(OpenItem):
    """``message``."""

    def __init__(self, choice: int, start: ev.BlockStart) -> None:
        super().__init__(choice, start)
        self._parts: list[_Part] = []

    def takes(self, start: ev.BlockStart) -> bool:
        """Whether a further text block belongs to this message."""
        return start.message_key == self.start.message_key and start.phase == self.start.phase

    def begin(self, writer: Writer) -> None:
        self.id = writer.new_item_id(self.start.message_key, "msg_")
        self._added(writer, self._shown("in_progress", []))

    def _shown(self, status: str, content: list[Object]) -> Object:
        item: Object = {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}
        if self.start.phase:
            item["phase"] = self.start.phase
        return item

    def open_part(self, writer: Writer, kind: str) -> int:
        """Begin a part, or go on with the last one; gives its index.

        Formats without content parts give one answer as several text blocks: clients expect them in one part.
        """
        index = len(self._parts)
        if self._parts and not self._parts[-1].closed:
            last = self._parts[-1]
            if self.start.message_key is None and last.kind == kind:
                last.base = sum(map(len, last.text))
                return index - 1
            self.close_part(writer, index - 1)
        part = _Part(kind, {**self._place(), "content_index": index})
        part.head = self._head(f"response.{kind}.delta", part.place)
        self._parts.append(part)
        writer.emit("response.content_part.added", {**part.place, "part": part.shown()})
        return index

    def is_open(self, index: int) -> bool:
        """Whether a part can take more."""
        return not self._parts[index].closed

    def write(self, writer: Writer, index: int, text: str, logprobs: Any) -> None:
        """More text of a part."""
        part = self._parts[index]
        part.text.append(text)
        if part.kind == "refusal":
            writer.emit_delta("response.refusal.delta", part.head, text, b"")
        elif not logprobs:
            writer.emit_delta("response.output_text.delta", part.head, text, b',"logprobs":[]')
        else:
            part.logprobs += logprobs
            writer.emit_delta("response.output_text.delta", part.head, text, b',"logprobs":' + _dumps(logprobs))

    def cite(self, writer: Writer, index: int, citation: ev.Citation) -> None:
        """A citation of a part."""
        part = self._parts[index]
        shown = annotation(_moved(citation, part.base))
        if shown is not None and part.kind != "refusal":
            number = len(part.annotations)
            part.annotations.append(shown)
            payload = {**part.place, "annotation_index": number, "annotation": shown}
            writer.emit("response.output_text.annotation.added", payload)

    def close_part(self, writer: Writer, index: int) -> None:
        """A part is complete."""
        part = self._parts[index]
        if part.closed:
            return
        part.closed = True
        text = "".join(part.text)
        if part.kind == "refusal":
            writer.emit("response.refusal.done", {**part.place, "refusal": text})
        else:
            writer.emit("response.output_text.done", {**part.place, "text": text, "logprobs": part.logprobs})
        writer.emit("response.content_part.done", {**part.place, "part": part.shown()})

    def finish(self, writer: Writer, status: str) -> Object:
        for index in range(len(self._parts)):
            self.close_part(writer, index)
        return self._shown(status, [part.shown() for part in self._parts])


def _moved(citation: ev.Citation, offset: int) -> ev.Citation:
    if not offset or citation.start is None or citation.end is None:
        return citation
    return replace(citation, start=citation.start + offset, end=citation.end + offset)


class ReasoningItem(OpenItem):
    """``reasoning``, its text as summary parts."""

    def __init__(self, choice: int, start: ev.BlockStart) -> None:
        super().__init__(choice, start)
        self.signature: str | None = None
        self._summary: list[str] = []
        self._text: list[str] | None = None
        self._delta_head = b""
        self._part: Object = {}

    def begin(self, writer: Writer) -> None:
        self.id = writer.new_item_id(self.start.native_id, "rs_")
        self._added(writer, {"id": self.id, "type": "reasoning", "status": "in_progress", "summary": []})

    def write(self, writer: Writer, text: str) -> None:
        """More text of the current part; begins one when none is open."""
        if self._text is None:
            self._text = []
            self._part = {**self._place(), "summary_index": len(self._summary)}
            self._delta_head = self._head("response.reasoning_summary_text.delta", self._part)
            part = {"type": "summary_text", "text": ""}
            writer.emit("response.reasoning_summary_part.added", {**self._part, "part": part})
        self._text.append(text)
        writer.emit_delta("response.reasoning_summary_text.delta", self._delta_head, text, b"")

    def close_part(self, writer: Writer) -> None:
        """The current part is complete."""
        if self._text is None:
            return
        text = "".join(self._text)
        self._text = None
        self._summary.append(text)
        writer.emit("response.reasoning_summary_text.done", {**self._part, "text": text})
        part = {"type": "summary_text", "text": text}
        writer.emit("response.reasoning_summary_part.done", {**self._part, "part": part})

    def finish(self, writer: Writer, status: str) -> Object:
        self.close_part(writer)
        summary = [{"type": "summary_text", "text": text} for text in self._summary]
        item: Object = {"id": self.id, "type": "reasoning", "status": status, "summary": summary}
        redacted = self.end.redacted_data if self.end is not None else None
        if redacted:
            item["encrypted_content"] = REDACTED_PREFIX + redacted
        elif self.signature:
            item["encrypted_content"] = self.signature
        return item


class CallItem(OpenItem):
    """``function_call`` or ``custom_tool_call``."""

    def __init__(self, choice: int, start: ev.BlockStart, context: ReplyContext) -> None:
        super().__init__(choice, start)
        self._call_id = start.call_id or context.new_id("call_")
        self._custom = start.tool_type == "custom"
        self._given: list[str] = []
        self._delta = "response.custom_tool_call_input" if self._custom else "response.function_call_arguments"
        self._delta_head = b""

    def _shown(self, status: str, text: str) -> Object:
        item: Object = {
            "id": self.id,
            "type": "custom_tool_call" if self._custom else "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self.start.name,
            "input" if self._custom else "arguments": text,
        }
        if self.start.namespace:
            item["namespace"] = self.start.namespace
        return item

    def begin(self, writer: Writer) -> None:
        prefix = "ctc_" if self._custom else "fc_"
        self.id = writer.new_item_id(self.start.native_id, prefix, self._call_id)
        self._delta_head = self._head(f"{self._delta}.delta", self._place())
        self._added(writer, self._shown("in_progress", ""))

    def write(self, writer: Writer, text: str) -> None:
        """More of the arguments or input."""
        if not self.closed:
            self._given.append(text)
            writer.emit_delta(f"{self._delta}.delta", self._delta_head, text, b"")

    def finish(self, writer: Writer, status: str) -> Object:
        given = "".join(self._given)
        whole = self.end.arguments if self.end is not None else None
        if not given:
            text = whole or ("" if self._custom or status == "incomplete" else "{}")
            if text:
                writer.emit_delta(f"{self._delta}.delta", self._delta_head, text, b"")
        else:
            text = given
            if whole and len(whole) > len(given) and whole.startswith(given):
                writer.emit_delta(f"{self._delta}.delta", self._delta_head, whole[len(given) :], b"")
                text = whole
        if self._custom:
            writer.emit(f"{self._delta}.done", {**self._place(), "input": text})
        else:
            writer.emit(f"{self._delta}.done", {**self._place(), "name": self.start.name, "arguments": text})
        return self._shown(status, text)


class SearchItem(OpenItem):
    """``web_search_call``."""

    def begin(self, writer: Writer) -> None:
        self.id = writer.new_item_id(self.start.native_id, "ws_")
        self._added(writer, search_item(self.id, None, "in_progress"))
        writer.emit("response.web_search_call.in_progress", self._place())
        writer.emit("response.web_search_call.searching", self._place())

    def finish(self, writer: Writer, status: str) -> Object:
        writer.emit("response.web_search_call.completed", self._place())
        shown = status if status in ("completed", "failed") else "completed"
        if self.end is not None and self.end.error_code:
            shown = "failed"
        end = self.end
        if end is None or (end.input is None and end.json is None):
            end = ev.BlockEnd(self.start.key, input=self.start.input, results=end.results if end else None)
        return search_item(self.id, end, shown)


class ImageItem(OpenItem):
    """``image_generation_call``."""

    def begin(self, writer: Writer) -> None:
        self.id = writer.new_item_id(self.start.native_id, "ig_")
        self._added(writer, {"id": self.id, "type": "image_generation_call", "status": "in_progress", "result": None})
        writer.emit("response.image_generation_call.in_progress", self._place())
        writer.emit("response.image_generation_call.generating", self._place())

    def write(self, writer: Writer, event: ev.DataDelta) -> None:
        """A partial image."""
        payload = {**self._place(), "partial_image_index": event.index, "partial_image_b64": event.data}
        writer.emit("response.image_generation_call.partial_image", payload)

    def finish(self, writer: Writer, status: str) -> Object:
        writer.emit("response.image_generation_call.completed", self._place())
        end = self.end or ev.BlockEnd(self.start.key)
        shown = status if status in ("completed", "failed") else "completed"
        item: Object = {"id": self.id, "type": "image_generation_call", "status": shown, "result": end.data or end.url}
        if end.revised_prompt:
            item["revised_prompt"] = end.revised_prompt
        if end.options:
            item.update(end.options)
        elif end.media_type:
            item["output_format"] = end.media_type.rpartition("/")[2]
        return item


class OpaqueItem(OpenItem):
    """An item of this format that has no canonical meaning; it is shown as it came."""

    def __init__(self, choice: int, start: ev.BlockStart, raw: Object) -> None:
        super().__init__(choice, start)
        self._raw = raw

    def begin(self, writer: Writer) -> None:
        known = self._raw.get("id")
        self.id = known if isinstance(known, str) else ""
        self._added(writer, self._raw)

    def finish(self, writer: Writer, status: str) -> Object:
        return self._raw
