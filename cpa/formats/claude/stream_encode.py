"""Write canonical events as a Messages stream: one block open at a time, in the order in which blocks began."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.reply import Block
from cpa.conversation.usage import Usage
from cpa.formats.claude.answer_blocks import citation_block, server_blocks, shown_call_id, whole_arguments
from cpa.formats.claude.errors import error_frame
from cpa.formats.claude.fields import Object
from cpa.formats.claude.finish import encode_finish
from cpa.formats.claude.reply_encode import shown_id, shown_model
from cpa.formats.claude.usage import encode_usage
from cpa.formats.codec import ReplyContext
from cpa.formats.openai.shown import client_name
from cpa.formats.runs import HOLE, Around, around, filled
from cpa.formats.sse import Framing

_dumps = orjson.dumps
_TEXT = frozenset({"text", "refusal", "audio"})
_LATE = frozenset({"server_tool", "opaque"})
"""Blocks that are written when they are whole."""


class _Open:
    """A block of the answer: being written, or waiting for its turn."""

    __slots__ = (
        "around",
        "block",
        "breaks",
        "citations",
        "ended",
        "fragments",
        "head",
        "signature",
        "whole",
        "written",
    )

    def __init__(self, block: Block) -> None:
        self.block = block
        self.head = b""
        """Payload up to the JSON text of a delta; empty before ``content_block_start``."""
        self.around: Around | None = None
        self.fragments: list[str] = []
        """What came while another block was open, or before the call's name and id."""
        self.citations: list[ev.Citation] = []
        self.signature: str | None = None
        self.ended = False
        self.breaks = False
        self.written = False
        self.whole = False
        """A call whose arguments are no object as they come: they are written when all are there."""


def _identified(block: Block) -> bool:
    """Whether a call can be shown: its block cannot begin without name and id."""
    return bool(block.name and block.call_id)


class ClaudeStreamEncoder:
    """See :class:`cpa.formats.codec.StreamEncoder`."""

    around: Around | None = None
    """See :class:`cpa.formats.codec.RunEncoder`."""

    def __init__(self, context: ReplyContext, framing: Framing) -> None:
        self._context = context
        self._framing = framing
        self._frame = framing.frame
        self._start = ev.Start()
        self._begun = False
        self._index = -1
        self._queue: list[_Open] = []
        """Blocks not yet closed; the first one is being written."""
        self._open: dict[int, _Open] = {}
        self._usage: Usage | None = None
        self._finish: ev.Finish | None = None
        self._called = False
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
        opened = self._open.get(key)
        if self._closed or opened is None or opened is not self._queue[0] or opened.breaks or not opened.written:
            return None
        if not opened.head:
            return None
        if opened.around is None:
            opened.around = around(self._frame("content_block_delta", opened.head + HOLE + b"}}"))
        self.around = opened.around
        return filled(opened.around, texts)

    def _emit(self, kind: str, body: Object, out: list[bytes]) -> None:
        out.append(self._frame(kind, _dumps({"type": kind, **body})))

    def _begin(self, out: list[bytes]) -> None:
        """``message_start``, once; what is not known yet of the usage is estimated or 0 and corrected at the end."""
        if self._begun:
            return
        self._begun = True
        usage = encode_usage(self._usage)
        if self._usage is None or self._usage.input_total is None:
            usage["input_tokens"] = self._context.input_tokens_estimate or 0
        usage["output_tokens"] = 0
        message: Object = {
            "id": shown_id(self._context, self._start.id),
            "type": "message",
            "role": "assistant",
            "model": shown_model(self._context, self._start.model),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        self._emit("message_start", {"message": message}, out)

    # -- events --------------------------------------------------------------------------------------------

    def _on_start(self, event: ev.Start, out: list[bytes]) -> None:
        self._start = event

    def _on_block(self, event: ev.BlockStart, out: list[bytes]) -> None:
        if event.choice != 0 or event.kind == "image":
            return
        block = Block(
            kind=event.kind,
            call_id=event.call_id,
            name=event.name,
            namespace=event.namespace,
            tool_type=event.tool_type,
            native_id=event.native_id,
            input=event.input,
            json=event.json,
            format=event.format,
        )
        opened = _Open(block)
        self._open[event.key] = opened
        self._queue.append(opened)

    def _on_text(self, event: ev.TextDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is None or not event.text:
            return
        text = event.text
        if opened.breaks:
            opened.breaks = False
            text = "\n\n" + text
        opened.written = True
        if opened is not self._queue[0]:
            opened.fragments.append(text)
            return
        if not opened.head:
            self._write_start(opened, out)
        out.append(self._frame("content_block_delta", opened.head + _dumps(text) + b"}}"))

    def _on_part_break(self, event: ev.PartBreak, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is not None and opened.written:
            opened.breaks = True

    def _on_arguments(self, event: ev.ArgumentsDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is None or not event.text:
            return
        if not opened.written and not opened.fragments:
            opened.whole = opened.block.tool_type == "custom" or event.text.lstrip()[:1] not in ("{", "")
        if opened is not self._queue[0] or not (opened.head or _identified(opened.block)) or opened.whole:
            opened.fragments.append(event.text)
            return
        if not opened.head:
            self._write_start(opened, out)
        opened.written = True
        out.append(self._frame("content_block_delta", opened.head + _dumps(event.text) + b"}}"))

    def _on_call_info(self, event: ev.ToolCallInfo, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is None:
            return
        block = opened.block
        block.call_id = block.call_id or event.call_id
        block.name = block.name or event.name
        if _identified(block) and opened is self._queue[0] and not (opened.head or opened.whole) and opened.fragments:
            self._write_start(opened, out)
            self._flush(opened, out)

    def _on_signature(self, event: ev.SignatureDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is not None:
            opened.signature = event.signature

    def _on_citation(self, event: ev.CitationDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is not None:
            opened.citations.append(event.citation)

    def _on_end_block(self, event: ev.BlockEnd, out: list[bytes]) -> None:
        opened = self._open.pop(event.key, None)
        if opened is None:
            return
        opened.ended = True
        self._finalise(opened, event)
        while self._queue and self._queue[0].ended:
            self._close_block(self._queue.pop(0), out)
        if self._queue:
            self._catch_up(self._queue[0], out)

    def _finalise(self, opened: _Open, event: ev.BlockEnd) -> None:
        """Final values that no delta brought."""
        block = opened.block
        if not opened.written and not opened.fragments:
            text = event.arguments if block.kind == "tool_call" else event.text or "\n\n".join(event.summary or [])
            if text:
                opened.fragments.append(text)
        if block.kind == "reasoning":
            opened.signature = event.signature or opened.signature
            block.redacted_data = event.redacted_data
        if event.citations and not opened.citations:
            opened.citations = event.citations
        for name in ("input", "results", "error_code", "json"):
            value = getattr(event, name)
            if value is not None:
                setattr(block, name, value)

    # -- blocks --------------------------------------------------------------------------------------------

    def _catch_up(self, opened: _Open, out: list[bytes]) -> None:
        """A block whose turn has come while it is still growing."""
        if opened.block.kind in _LATE or not opened.fragments:
            return
        if opened.block.kind == "tool_call" and (opened.whole or not _identified(opened.block)):
            return
        self._write_start(opened, out)
        self._flush(opened, out)

    def _write_start(self, opened: _Open, out: list[bytes]) -> None:
        self._begin(out)
        block = opened.block
        self._index += 1
        if block.kind == "tool_call":
            self._called = True
            content: Object = {
                "type": "tool_use",
                "id": shown_call_id(block.call_id, self._context.new_id),
                "name": client_name(block.name or "", block.namespace),
                "input": {},
            }
            delta = b'{"type":"input_json_delta","partial_json":'
        elif block.kind == "reasoning":
            content = {"type": "thinking", "thinking": "", "signature": ""}
            delta = b'{"type":"thinking_delta","thinking":'
        else:
            content = {"type": "text", "text": ""}
            delta = b'{"type":"text_delta","text":'
        self._emit("content_block_start", {"index": self._index, "content_block": content}, out)
        opened.head = b'{"type":"content_block_delta","index":%d,"delta":%b' % (self._index, delta)

    def _flush(self, opened: _Open, out: list[bytes]) -> None:
        if opened.fragments:
            text = "".join(opened.fragments)
            opened.fragments = []
            opened.written = True
            out.append(self._frame("content_block_delta", opened.head + _dumps(text) + b"}}"))

    def _close_block(self, opened: _Open, out: list[bytes]) -> None:
        block = opened.block
        if block.kind in _LATE:
            self._whole_blocks(opened, out)
            return
        if block.kind == "reasoning" and block.redacted_data is not None:
            self._whole({"type": "redacted_thinking", "data": block.redacted_data}, out)
            return
        if block.kind == "tool_call":
            if not block.name:
                return
            if block.tool_type == "custom":
                opened.fragments = [_dumps({"input": "".join(opened.fragments)}).decode()]
            elif not opened.head and opened.fragments:
                opened.fragments = [whole_arguments("".join(opened.fragments))]
        elif not opened.head and not opened.fragments and not (block.kind == "reasoning" and opened.signature):
            return
        if not opened.head:
            self._write_start(opened, out)
        self._flush(opened, out)
        if block.kind == "tool_call" and not opened.written:
            out.append(self._frame("content_block_delta", opened.head + b'"{}"}}'))
        for citation in opened.citations:
            delta = {"type": "citations_delta", "citation": citation_block(citation)}
            self._emit("content_block_delta", {"index": self._index, "delta": delta}, out)
        if opened.signature:
            delta = {"type": "signature_delta", "signature": opened.signature}
            self._emit("content_block_delta", {"index": self._index, "delta": delta}, out)
        self._emit("content_block_stop", {"index": self._index}, out)

    def _whole_blocks(self, opened: _Open, out: list[bytes]) -> None:
        block = opened.block
        if block.kind == "server_tool":
            for content in server_blocks(block, self._context.new_id):
                self._server_block(content, out)
        elif block.format == "claude" and isinstance(block.json, dict):
            self._whole(block.json, out)

    def _server_block(self, content: Object, out: list[bytes]) -> None:
        if content.get("type") != "server_tool_use":
            self._whole(content, out)
            return
        self._begin(out)
        self._index += 1
        self._emit("content_block_start", {"index": self._index, "content_block": {**content, "input": {}}}, out)
        delta = {"type": "input_json_delta", "partial_json": _dumps(content.get("input") or {}).decode()}
        self._emit("content_block_delta", {"index": self._index, "delta": delta}, out)
        self._emit("content_block_stop", {"index": self._index}, out)

    def _whole(self, content: Object, out: list[bytes]) -> None:
        self._begin(out)
        self._index += 1
        self._emit("content_block_start", {"index": self._index, "content_block": content}, out)
        self._emit("content_block_stop", {"index": self._index}, out)

    # -- the end -------------------------------------------------------------------------------------------

    def _on_usage(self, event: ev.UsageReport, out: list[bytes]) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)

    def _on_finish(self, event: ev.Finish, out: list[bytes]) -> None:
        if event.choice == 0 and self._finish is None:
            self._finish = event

    def _on_ping(self, event: ev.Ping, out: list[bytes]) -> None:
        if self._begun:
            self._emit("ping", {}, out)

    def _on_failure(self, event: ev.Failure, out: list[bytes]) -> None:
        self._closed = True
        out.append(self._frame("error", error_frame(event.error)) + self._framing.abort())

    def _on_end(self, event: ev.End, out: list[bytes]) -> None:
        for key in list(self._open):
            self._on_end_block(ev.BlockEnd(key), out)
        self._begin(out)
        reason, sequence = encode_finish(self._finish, called=self._called)
        delta: Object = {"stop_reason": reason, "stop_sequence": sequence}
        if self._finish is not None and self._finish.details is not None and reason == "refusal":
            delta["stop_details"] = self._finish.details
        self._emit("message_delta", {"delta": delta, "usage": encode_usage(self._usage)}, out)
        self._emit("message_stop", {}, out)
        out.append(self._framing.end())
        self._closed = True


_HANDLERS: dict[type, Callable[[ClaudeStreamEncoder, Any, list[bytes]], None]] = {
    ev.Start: ClaudeStreamEncoder._on_start,
    ev.BlockStart: ClaudeStreamEncoder._on_block,
    ev.TextDelta: ClaudeStreamEncoder._on_text,
    ev.ArgumentsDelta: ClaudeStreamEncoder._on_arguments,
    ev.PartBreak: ClaudeStreamEncoder._on_part_break,
    ev.ToolCallInfo: ClaudeStreamEncoder._on_call_info,
    ev.SignatureDelta: ClaudeStreamEncoder._on_signature,
    ev.CitationDelta: ClaudeStreamEncoder._on_citation,
    ev.BlockEnd: ClaudeStreamEncoder._on_end_block,
    ev.UsageReport: ClaudeStreamEncoder._on_usage,
    ev.Finish: ClaudeStreamEncoder._on_finish,
    ev.Ping: ClaudeStreamEncoder._on_ping,
    ev.Failure: ClaudeStreamEncoder._on_failure,
    ev.End: ClaudeStreamEncoder._on_end,
}
