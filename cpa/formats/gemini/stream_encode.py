"""Write canonical events as a Gemini stream: frames of parts, the last of them with finish reasons and usage.

Text goes out as it comes. What Gemini sends whole (calls, images) goes out when it is whole, in the order in which
it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.reply import Block
from cpa.conversation.usage import Usage
from cpa.formats.codec import ReplyContext
from cpa.formats.gemini.answer_parts import (
    audio_type,
    call_arguments,
    call_part,
    finish_block,
    media_part,
    opaque_part,
    thought_signature,
)
from cpa.formats.gemini.errors import encode_error
from cpa.formats.gemini.fields import Object
from cpa.formats.gemini.finish import CUTTING, encode_finish
from cpa.formats.gemini.history import own_signature
from cpa.formats.gemini.reply_encode import shown_model
from cpa.formats.gemini.usage import encode_usage
from cpa.formats.runs import HOLE, Around, around, filled
from cpa.formats.sse import Framing

_dumps = orjson.dumps
_HEAD = b'{"candidates":[{"content":{"role":"model","parts":['
_TEXT_HEAD = _HEAD + b'{"text":'
_WHOLE = frozenset({"tool_call", "image", "audio", "opaque"})


class _Open:
    """A block that is being written."""

    __slots__ = ("around", "block", "breaks", "data", "ended", "fragments", "tail", "written")

    def __init__(self, block: Block, tail: bytes) -> None:
        self.block = block
        self.tail = tail
        """What follows the JSON text of a text part, to the end of the frame's payload."""
        self.around: Around | None = None
        self.written = False
        self.breaks = False
        """A separator is due before the next text."""
        self.fragments: list[str] = []
        self.data: list[str] = []
        self.ended = False


class GeminiStreamEncoder:
    """Turns events into frames; see :class:`cpa.formats.codec.StreamEncoder`.

    ``wrap``: put every payload into the envelope ``{"response": ...}`` of Gemini CLI's backend.
    """

    around: Around | None = None
    """See :class:`cpa.formats.codec.RunEncoder`."""

    def __init__(self, context: ReplyContext, framing: Framing, *, wrap: bool = False) -> None:
        self._context = context
        self._frame = framing.frame
        self._framing = framing
        self._wrap = wrap
        self._start = ev.Start()
        self._meta = b""
        """The constant members at the end of every payload, envelope included."""
        self._text_head = b'{"response":' + _TEXT_HEAD if wrap else _TEXT_HEAD
        self._blocks: dict[int, _Open] = {}
        self._queue: list[_Open] = []
        self._doubtful: list[_Open] = []
        """A call whose arguments are no JSON: cut off, unless the finish says otherwise; and the calls after it."""
        self._choices: set[int] = set()
        self._called: set[int] = set()
        self._finishes: dict[int, ev.Finish] = {}
        self._usage: Usage | None = None
        self._closed = False

    def encode(self, events: Iterable[ev.Event]) -> bytes:
        """Bytes for these events."""
        out: list[bytes] = []
        for event in events:
            if self._closed:
                break
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                handle(self, event, out)
        return b"".join(out)

    def repeat(self, key: int, texts: list[bytes]) -> bytes | None:
        """See :class:`cpa.formats.codec.RunEncoder`."""
        state = self._blocks.get(key)
        if self._closed or state is None or state.block.kind in _WHOLE or state.breaks or not state.written:
            return None
        if state.around is None:
            state.around = around(self._frame(None, self._text_head + HOLE + state.tail))
        self.around = state.around
        return filled(state.around, texts)

    # -- frames --------------------------------------------------------------------------------------------

    def _constant(self) -> bytes:
        """The members that are equal in all frames; settled by the first frame written."""
        if not self._meta:
            members: Object = {
                "modelVersion": shown_model(self._context, self._start.model),
                "responseId": self._start.id or self._context.new_id(""),
            }
            self._meta = b"," + _dumps(members)[1:]
            if self._wrap:
                trace = self._start.trace_id
                self._meta += b',"traceId":' + _dumps(trace) + b"}" if trace else b"}"
        return self._meta

    def _tail(self, choice: int, *, thought: bool) -> bytes:
        flag = b',"thought":true' if thought else b""
        return b'%b}]},"index":%d}]%b' % (flag, choice, self._constant())

    def _part(self, part: Object, choice: int, out: list[bytes]) -> None:
        head = b'{"response":' + _HEAD if self._wrap else _HEAD
        out.append(self._frame(None, head + _dumps(part) + b']},"index":%d}]' % choice + self._constant()))

    # -- events --------------------------------------------------------------------------------------------

    def _on_start(self, event: ev.Start, out: list[bytes]) -> None:
        self._start = event

    def _on_text(self, event: ev.TextDelta, out: list[bytes]) -> None:
        state = self._blocks.get(event.key)
        if state is None or not event.text:
            return
        text = event.text
        if state.breaks:
            state.breaks = False
            if state.written:
                text = "\n\n" + text
        state.written = True
        out.append(self._frame(None, self._text_head + _dumps(text) + state.tail))

    def _on_block_start(self, event: ev.BlockStart, out: list[bytes]) -> None:
        kind = event.kind
        self._choices.add(event.choice)
        if kind == "server_tool":
            return
        block = Block(
            kind,
            event.choice,
            call_id=event.call_id,
            name=event.name,
            tool_type=event.tool_type,
            json=event.json,
            format=event.format,
        )
        state = _Open(block, self._tail(event.choice, thought=kind == "reasoning"))
        self._blocks[event.key] = state
        if kind in _WHOLE:
            self._queue.append(state)

    def _on_arguments(self, event: ev.ArgumentsDelta, out: list[bytes]) -> None:
        state = self._blocks.get(event.key)
        if state is not None:
            state.fragments.append(event.text)

    def _on_signature(self, event: ev.SignatureDelta, out: list[bytes]) -> None:
        state = self._blocks.get(event.key)
        if state is not None:
            state.block.signature = event.signature

    def _on_break(self, event: ev.PartBreak, out: list[bytes]) -> None:
        state = self._blocks.get(event.key)
        if state is not None:
            state.breaks = True

    def _on_data(self, event: ev.DataDelta, out: list[bytes]) -> None:
        state = self._blocks.get(event.key)
        if state is not None and state.block.kind == "audio":
            state.data.append(event.data)

    def _on_call_info(self, event: ev.ToolCallInfo, out: list[bytes]) -> None:
        state = self._blocks.get(event.key)
        if state is not None:
            state.block.call_id = state.block.call_id or event.call_id
            state.block.name = state.block.name or event.name

    def _on_block_end(self, event: ev.BlockEnd, out: list[bytes]) -> None:
        state = self._blocks.pop(event.key, None)
        if state is None:
            return
        if not state.written:
            self._late_text(state, event, out)
        state.ended = True
        if state.block.kind in _WHOLE:
            self._settle(state, event)
            self._flush(out)
            return
        signature = event.signature or state.block.signature
        if state.block.kind == "reasoning":
            signature = thought_signature(signature)
            part: Object = {"text": "", "thought": True}
        else:
            signature = own_signature(signature)
            part = {"text": ""}
        if signature is not None:
            self._part({**part, "thoughtSignature": signature}, state.block.choice, out)

    def _late_text(self, state: _Open, event: ev.BlockEnd, out: list[bytes]) -> None:
        """Text that came only with the end of its block."""
        text = event.text
        if state.block.kind == "reasoning":
            text = "\n\n".join(event.summary or ()) or text or "\n\n".join(event.content or ())
        if text:
            state.written = True
            out.append(self._frame(None, self._text_head + _dumps(text) + state.tail))

    def _settle(self, state: _Open, event: ev.BlockEnd) -> None:
        block = state.block
        block.arguments = "".join(state.fragments)
        if state.data:
            block.data = "".join(state.data)
        finish_block(block, event)

    def _flush(self, out: list[bytes]) -> None:
        """Write the whole parts whose turn it is."""
        while self._queue and self._queue[0].ended:
            state = self._queue.pop(0)
            block = state.block
            if block.kind == "tool_call":
                arguments = call_arguments(block)
                if arguments is None or self._doubtful:
                    self._doubtful.append(state)
                else:
                    self._write_call(block, arguments, out)
                continue
            part = self._media(block)
            if part is not None:
                self._part(part, block.choice, out)

    def _media(self, block: Block) -> Object | None:
        if block.kind == "opaque":
            return opaque_part(block)
        default = "image/png" if block.kind == "image" else audio_type(block.options)
        return media_part(block.media_type, block.data, block.url, default)

    def _write_call(self, block: Block, arguments: Any, out: list[bytes]) -> None:
        if block.name:
            self._called.add(block.choice)
            self._part(call_part(block, arguments), block.choice, out)

    def _on_usage(self, event: ev.UsageReport, out: list[bytes]) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)

    def _on_finish(self, event: ev.Finish, out: list[bytes]) -> None:
        self._choices.add(event.choice)
        self._finishes.setdefault(event.choice, event)

    def _on_failure(self, event: ev.Failure, out: list[bytes]) -> None:
        self._closed = True
        out.append(self._frame(None, _dumps(encode_error(event.error))))
        out.append(self._framing.abort())

    def _on_end(self, event: ev.End, out: list[bytes]) -> None:
        for state in self._queue:
            if not state.ended:
                state.ended = True
                self._settle(state, ev.BlockEnd(-1))
        self._flush(out)
        for state in self._doubtful:
            finish, arguments = self._finishes.get(state.block.choice), call_arguments(state.block)
            if arguments is not None or finish is None or finish.reason not in CUTTING:
                self._write_call(state.block, arguments, out)
        self._closed = True
        out.append(self._frame(None, self._final()))
        out.append(self._framing.end())

    def _final(self) -> bytes:
        candidates = [
            {
                "content": {"role": "model", "parts": [{"text": ""}]},
                "finishReason": encode_finish(self._finishes.get(choice), called=choice in self._called),
                "index": choice,
            }
            for choice in sorted(self._choices) or [0]
        ]
        body: Object = {"candidates": candidates}
        if self._usage is not None:
            body["usageMetadata"] = encode_usage(self._usage)
        head = b'{"response":' if self._wrap else b""
        return head + _dumps(body)[:-1] + self._constant()


_HANDLERS: dict[type, Callable[[GeminiStreamEncoder, Any, list[bytes]], None]] = {
    ev.Start: GeminiStreamEncoder._on_start,
    ev.TextDelta: GeminiStreamEncoder._on_text,
    ev.BlockStart: GeminiStreamEncoder._on_block_start,
    ev.ArgumentsDelta: GeminiStreamEncoder._on_arguments,
    ev.SignatureDelta: GeminiStreamEncoder._on_signature,
    ev.PartBreak: GeminiStreamEncoder._on_break,
    ev.DataDelta: GeminiStreamEncoder._on_data,
    ev.ToolCallInfo: GeminiStreamEncoder._on_call_info,
    ev.BlockEnd: GeminiStreamEncoder._on_block_end,
    ev.UsageReport: GeminiStreamEncoder._on_usage,
    ev.Finish: GeminiStreamEncoder._on_finish,
    ev.Failure: GeminiStreamEncoder._on_failure,
    ev.End: GeminiStreamEncoder._on_end,
}
