"""Write canonical events as a Responses stream.

Items of one choice stand one after the other: reasoning and messages are closed before another item begins, calls may
overlap. Text that goes on after its message was closed begins another message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from msgspec.structs import replace

from cpa.conversation import events as ev
from cpa.conversation.reply import Reply
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.errors import error_event, failed_event
from cpa.formats.openai_response.fields import Object
from cpa.formats.openai_response.finish import incomplete_reason
from cpa.formats.openai_response.history_decode import FORMAT
from cpa.formats.openai_response.items_encode import (
    CallItem,
    ImageItem,
    MessageItem,
    OpaqueItem,
    OpenItem,
    ReasoningItem,
    SearchItem,
)
from cpa.formats.openai_response.request_decode import ENCRYPTED
from cpa.formats.openai_response.shown import carrier, skeleton, with_usage
from cpa.formats.runs import joined
from cpa.formats.sse import Framing, SseFraming

_dumps = orjson.dumps
_TEXTUAL = frozenset({"text", "refusal", "audio"})


class _Block:
    """A block of the answer and the item it is written to, if it has one now."""

    __slots__ = ("citations", "held", "item", "part", "signature", "start", "written")

    def __init__(self, start: ev.BlockStart) -> None:
        self.start = start
        self.item: OpenItem | None = None
        self.part = 0
        """text, refusal: index of its part in the message."""
        self.written = False
        self.held: list[str] = []
        """tool_call: arguments that wait for the call's name and id."""
        self.citations = 0
        self.signature: str | None = None


class ResponseStreamEncoder:
    """See :class:`cpa.formats.codec.StreamEncoder`."""

    around = None  # every event has a number of its own

    def __init__(self, context: ReplyContext, framing: Framing) -> None:
        self._context = context
        self._framing = framing
        self._frame = framing.frame
        self._sequence = 0
        self._out: list[bytes] = []
        self._pieces: list[bytes] = []
        """JSON texts that together are the text of a delta: each is written as one of its own."""
        self._blocks: dict[int, _Block] = {}
        self._exclusive: dict[int, OpenItem] = {}
        """The open message or reasoning item, by choice."""
        self._open: list[OpenItem] = []
        self._items = 0
        self._ids: set[str] = set()
        self._done: dict[int, Object] = {}
        self._response: Object = {}
        self._finishes: dict[int, ev.Finish] = {}
        self._usage: Usage | None = None
        self._refused = False
        self._closed = False
        include = context.request.get("include")
        self._carries = isinstance(include, list) and ENCRYPTED in include

    def encode(self, events: Iterable[ev.Event]) -> bytes:
        """Bytes for these events."""
        for event in events:
            if self._closed:
                break
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                handle(self, event)
        out = b"".join(self._out)
        self._out.clear()
        return out

    # -- frames --------------------------------------------------------------------------------------------

    def emit(self, kind: str, payload: Object) -> None:
        """Write one event."""
        data = _dumps({"type": kind, "sequence_number": self._sequence, **payload})
        self._sequence += 1
        self._out.append(self._frame(kind, data))

    def emit_delta(self, kind: str, head: bytes, text: str, tail: bytes) -> None:
        """Write one of the frequent events: ``head`` up to the JSON text of the delta, ``tail`` after it."""
        for quoted in self._pieces or (_dumps(text),):
            data = b'%b%b%b,"sequence_number":%d}' % (head, quoted, tail, self._sequence)
            self._sequence += 1
            self._out.append(self._frame(kind, data))

    def repeat(self, key: int, texts: list[bytes]) -> bytes | None:
        """See :class:`cpa.formats.codec.RunEncoder`."""
        block = self._blocks.get(key)
        if self._closed or block is None:
            return None
        calls = block.start.kind == "tool_call"
        if not (isinstance(block.item, CallItem) if calls else block.written):
            return None
        self._pieces = [b'"%b"' % text for text in texts if text]
        if not self._pieces:
            return b""
        text = joined(texts)
        try:
            return self.encode([ev.ArgumentsDelta(key, text) if calls else ev.TextDelta(key, text)])
        finally:
            self._pieces = []

    def new_item_id(self, wanted: str | None, prefix: str, known: str | None = None) -> str:
        """An id for an item: the upstream's own when it is of the same format, else one of ours; never used twice."""
        item_id = wanted if wanted and wanted.startswith(prefix) else None
        if item_id is None:
            item_id = f"{prefix}{known}" if known else f"{prefix}{self._response['id'][5:]}_{self._items}"
        if item_id in self._ids:
            item_id = f"{item_id}_{self._items}"
        self._ids.add(item_id)
        return item_id

    # -- start ---------------------------------------------------------------------------------------------

    def _on_start(self, event: ev.Start) -> None:
        if self._response:
            return
        self._response = skeleton(event, self._context)
        self.emit("response.created", {"response": self._response})
        self.emit("response.in_progress", {"response": self._response})

    # -- items ---------------------------------------------------------------------------------------------

    def _begin_item(self, item: OpenItem, *, exclusive: bool) -> None:
        """Write ``output_item.added`` after closing what must not overlap with the item."""
        current = self._exclusive.pop(item.choice, None)
        if current is not None:
            self._close_item(current, "completed")
        item.index = self._items
        item.begin(self)
        self._items += 1
        self._open.append(item)
        if exclusive:
            self._exclusive[item.choice] = item

    def _close_item(self, item: OpenItem, status: str) -> None:
        if item.closed:
            return
        item.closed = True
        self._open.remove(item)
        if self._exclusive.get(item.choice) is item:
            del self._exclusive[item.choice]
        done = item.finish(self, status)
        self._done[item.index] = done
        self.emit("response.output_item.done", {"output_index": item.index, "item": done})

    # -- blocks --------------------------------------------------------------------------------------------

    def _on_block(self, event: ev.BlockStart) -> None:
        if not self._response:
            self._on_start(ev.Start())
        block = self._blocks[event.key] = _Block(event)
        if event.kind == "tool_call" and event.name and event.call_id:
            self._begin_call(block)
        elif event.kind == "image":
            block.item = ImageItem(event.choice, event)
            self._begin_item(block.item, exclusive=False)
        elif event.kind == "server_tool" and event.format != "claude" and event.name in ("web_search", "google_search"):
            block.item = SearchItem(event.choice, event)
            self._begin_item(block.item, exclusive=False)

    def _begin_call(self, block: _Block) -> CallItem:
        item = CallItem(block.start.choice, block.start, self._context)
        block.item = item
        self._begin_item(item, exclusive=False)
        return item

    def _part_of(self, block: _Block) -> MessageItem:
        """The message a text block is written to, its part opened."""
        start = block.start
        item = block.item
        if isinstance(item, MessageItem) and not item.closed and item.is_open(block.part):
            return item
        current = self._exclusive.get(start.choice)
        if not (isinstance(current, MessageItem) and current.takes(start)):
            current = MessageItem(start.choice, start)
            self._begin_item(current, exclusive=True)
        block.item = current
        block.part = current.open_part(self, "refusal" if start.kind == "refusal" else "output_text")
        self._refused = self._refused or start.kind == "refusal"
        return current

    def _reasoning_of(self, block: _Block) -> ReasoningItem:
        item = block.item
        if isinstance(item, ReasoningItem) and not item.closed:
            return item
        item = ReasoningItem(block.start.choice, block.start)
        block.item = item
        self._begin_item(item, exclusive=True)
        return item

    def _on_text(self, event: ev.TextDelta) -> None:
        block = self._blocks.get(event.key)
        if block is None or not event.text:
            return
        block.written = True
        kind = block.start.kind
        if kind == "reasoning":
            self._reasoning_of(block).write(self, event.text)
        elif kind in _TEXTUAL:
            self._part_of(block).write(self, block.part, event.text, event.logprobs)

    def _on_part_break(self, event: ev.PartBreak) -> None:
        block = self._blocks.get(event.key)
        if block is not None and isinstance(block.item, ReasoningItem) and not block.item.closed:
            block.item.close_part(self)

    def _on_arguments(self, event: ev.ArgumentsDelta) -> None:
        block = self._blocks.get(event.key)
        if block is None or block.start.kind != "tool_call" or not event.text:
            return
        if block.item is None:
            block.held.append(event.text)
            return
        item = block.item
        if isinstance(item, CallItem):
            item.write(self, event.text)

    def _on_call_info(self, event: ev.ToolCallInfo) -> None:
        block = self._blocks.get(event.key)
        if block is None or block.item is not None:
            return
        start = block.start
        block.start = replace(
            start,
            call_id=start.call_id or event.call_id,
            name=start.name or event.name,
            native_id=start.native_id or event.native_id,
        )
        if block.start.name and block.start.call_id:
            self._release_call(block)

    def _release_call(self, block: _Block) -> None:
        item = self._begin_call(block)
        if block.held:
            item.write(self, "".join(block.held))

    def _on_signature(self, event: ev.SignatureDelta) -> None:
        block = self._blocks.get(event.key)
        if block is not None:
            block.signature = event.signature

    def _on_citation(self, event: ev.CitationDelta) -> None:
        block = self._blocks.get(event.key)
        if block is not None and block.start.kind == "text":
            block.citations += 1
            self._part_of(block).cite(self, block.part, event.citation)

    def _on_data(self, event: ev.DataDelta) -> None:
        block = self._blocks.get(event.key)
        if block is not None and isinstance(block.item, ImageItem) and not block.item.closed:
            block.item.write(self, event)

    # -- block ends ----------------------------------------------------------------------------------------

    def _on_block_end(self, event: ev.BlockEnd) -> None:
        block = self._blocks.pop(event.key, None)
        if block is None:
            return
        kind = block.start.kind
        signature = event.signature or block.signature
        if kind in _TEXTUAL:
            self._end_text(block, event)
        elif kind == "reasoning":
            self._end_reasoning(block, event, signature)
            return
        elif kind == "tool_call":
            self._end_call(block, event)
        elif kind == "opaque":
            self._end_opaque(block, event)
        elif block.item is not None:
            block.item.end = event
            self._close_item(block.item, event.status or "completed")
        if signature and self._carries and block.item is not None:
            self._carry(block, signature)

    def _end_text(self, block: _Block, event: ev.BlockEnd) -> None:
        if event.text and not block.written:
            self._part_of(block).write(self, block.part, event.text, None)
        for citation in (event.citations or [])[block.citations :]:
            self._part_of(block).cite(self, block.part, citation)
        item = block.item
        if isinstance(item, MessageItem) and not item.closed and item.start.message_key is not None:
            item.close_part(self, block.part)

    def _end_reasoning(self, block: _Block, event: ev.BlockEnd, signature: str | None) -> None:
        texts = event.summary or event.content or ([event.text] if event.text else [])
        if not block.written:
            for text in texts:
                if text:
                    item = self._reasoning_of(block)
                    item.close_part(self)
                    item.write(self, text)
        if signature or event.redacted_data:
            self._reasoning_of(block)
        item_now = block.item
        if isinstance(item_now, ReasoningItem) and not item_now.closed:
            item_now.end = event
            item_now.signature = signature
            self._close_item(item_now, "completed")

    def _end_call(self, block: _Block, event: ev.BlockEnd) -> None:
        if block.item is None:
            if not block.start.name:
                return
            self._release_call(block)
        assert block.item is not None
        block.item.end = event
        status = "incomplete" if event.status == "incomplete" or self._cut_off(block.start.choice) else "completed"
        self._close_item(block.item, status)

    def _cut_off(self, choice: int) -> bool:
        finish = self._finishes.get(choice)
        return finish is not None and finish.reason in ("length", "context_exceeded")

    def _end_opaque(self, block: _Block, event: ev.BlockEnd) -> None:
        raw = event.json if event.json is not None else block.start.json
        if block.start.format == FORMAT and isinstance(raw, dict) and isinstance(raw.get("type"), str):
            block.item = OpaqueItem(block.start.choice, block.start, raw)
            self._begin_item(block.item, exclusive=False)
            self._close_item(block.item, "completed")

    def _carry(self, block: _Block, signature: str) -> None:
        packed = carrier(signature, block.start.kind)
        if packed is not None:
            item = ReasoningItem(block.start.choice, ev.BlockStart(-1, "reasoning"))
            item.signature = packed
            self._begin_item(item, exclusive=True)
            self._close_item(item, "completed")

    # -- end -----------------------------------------------------------------------------------------------

    def _on_usage(self, event: ev.UsageReport) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)

    def _on_finish(self, event: ev.Finish) -> None:
        self._finishes.setdefault(event.choice, event)

    def _on_failure(self, event: ev.Failure) -> None:
        self._closed = True
        self._out.append(self.failure(event.error))

    def failure(self, error: ErrorInfo) -> bytes:
        """The in-band error of this stream."""
        if self._context.codex_client:
            response = self._response or skeleton(ev.Start(), self._context)
            response = {**response, "output": self._output()}
            payload = failed_event(error, response, self._sequence)
        else:
            payload = error_event(error, self._sequence)
        return self._frame(payload["type"], _dumps(payload)) + self._framing.abort()

    def _output(self) -> list[Object]:
        return [self._done[index] for index in sorted(self._done)]

    def _on_end(self, event: ev.End) -> None:
        if not self._response:
            self._on_start(ev.Start())
        reason = next(
            (
                found
                for finish in self._finishes.values()
                if (found := incomplete_reason(finish, refused=self._refused)) is not None
            ),
            None,
        )
        for key, block in list(self._blocks.items()):
            if block.start.kind in _TEXTUAL or block.start.kind == "reasoning" or block.held:
                self._on_block_end(ev.BlockEnd(key))
        status = "incomplete" if reason is not None else "completed"
        for item in list(self._open):
            self._close_item(item, status)
        self._blocks.clear()
        response = with_usage(self._response, self._usage, self._context)
        response |= {"status": status, "output": self._output()}
        if reason is not None:
            response["incomplete_details"] = {"reason": reason}
        else:
            response["completed_at"] = max(self._context.created, response["created_at"])
        self._response = response
        self.emit(f"response.{status}", {"response": response})
        self._out.append(self._framing.end())
        self._closed = True

    @property
    def response(self) -> Object:
        """The response object as it is now."""
        return self._response


_Handler = Callable[[ResponseStreamEncoder, Any], None]

_HANDLERS: dict[type, _Handler] = {
    ev.Start: ResponseStreamEncoder._on_start,
    ev.BlockStart: ResponseStreamEncoder._on_block,
    ev.TextDelta: ResponseStreamEncoder._on_text,
    ev.ArgumentsDelta: ResponseStreamEncoder._on_arguments,
    ev.PartBreak: ResponseStreamEncoder._on_part_break,
    ev.SignatureDelta: ResponseStreamEncoder._on_signature,
    ev.CitationDelta: ResponseStreamEncoder._on_citation,
    ev.DataDelta: ResponseStreamEncoder._on_data,
    ev.ToolCallInfo: ResponseStreamEncoder._on_call_info,
    ev.BlockEnd: ResponseStreamEncoder._on_block_end,
    ev.UsageReport: ResponseStreamEncoder._on_usage,
    ev.Finish: ResponseStreamEncoder._on_finish,
    ev.Failure: ResponseStreamEncoder._on_failure,
    ev.End: ResponseStreamEncoder._on_end,
}


class _SilentEncoder(ResponseStreamEncoder):
    """Writes no events: only the response is asked for."""

    def emit(self, kind: str, payload: Object) -> None:
        """See :class:`ResponseStreamEncoder`."""

    def emit_delta(self, kind: str, head: bytes, text: str, tail: bytes) -> None:
        """See :class:`ResponseStreamEncoder`."""


def encode_reply(reply: Reply, context: ReplyContext) -> Object:
    """A whole answer: the response object the stream of the same answer would have ended with."""
    encoder = _SilentEncoder(context, SseFraming(named=True))
    encoder.encode(_replay(reply))
    return encoder.response


def _replay(reply: Reply) -> Iterable[ev.Event]:
    yield reply.start
    yield from reply.finishes.values()
    for key, block in enumerate(reply.blocks):
        yield ev.BlockStart(
            key,
            block.kind,
            choice=block.choice,
            native_id=block.native_id,
            message_key=block.message_key,
            phase=block.phase,
            style="summary" if block.style == "summary" else "full",
            call_id=block.call_id,
            name=block.name,
            tool_type="custom" if block.tool_type == "custom" else "function",
            namespace=block.namespace,
            input=block.input,
            json=block.json,
            format=block.format,
        )
        if block.kind in _TEXTUAL and block.text:
            yield ev.TextDelta(key, block.text, block.logprobs or None)
        yield ev.BlockEnd(
            key,
            text=block.text or None,
            arguments=block.arguments or None,
            citations=block.citations or None,
            signature=block.signature,
            redacted_data=block.redacted_data,
            summary=block.summary,
            content=block.content,
            status=block.status,
            input=block.input,
            results=block.results,
            error_code=block.error_code,
            media_type=block.media_type,
            data=block.data,
            url=block.url,
            revised_prompt=block.revised_prompt,
            options=block.options,
            json=block.json,
        )
    if reply.usage is not None:
        yield ev.UsageReport(reply.usage)
    yield ev.End()
