"""Write canonical events as a Chat Completions stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.reply import Block
from cpa.conversation.usage import Usage
from cpa.formats.codec import ReplyContext
from cpa.formats.openai.errors import encode_error
from cpa.formats.openai.finish import encode_finish
from cpa.formats.openai.shown import Object, annotation, client_name, head, image
from cpa.formats.openai.usage import encode_usage
from cpa.formats.runs import HOLE, Around, around, filled
from cpa.formats.sse import Framing

_dumps = orjson.dumps
_ROLE = b'{"role":"assistant","content":""}'
_MOST_CHOICES = 128


class _Open:
    """A block that is being written."""

    __slots__ = (
        "any_arguments",
        "around",
        "block",
        "breaks",
        "citations",
        "head",
        "index",
        "pending",
        "tail",
        "written",
    )

    def __init__(self, block: Block) -> None:
        self.block = block
        self.head = b""
        """Payload up to the JSON text of a delta."""
        self.tail = b""
        self.around: Around | None = None
        self.index = 0
        """Of a tool call, from 0."""
        self.written = False
        self.any_arguments = False
        self.pending: list[str] = []
        """Arguments that wait for the call's name and id."""
        self.breaks = False
        self.citations: list[ev.Citation] = []


class ChatStreamEncoder:
    """See :class:`cpa.formats.codec.StreamEncoder`."""

    around: Around | None = None
    """See :class:`cpa.formats.codec.RunEncoder`."""

    def __init__(self, context: ReplyContext, framing: Framing) -> None:
        self._context = context
        self._framing = framing
        self._frame = framing.frame
        self._start = ev.Start()
        self._head = b""
        self._open: dict[int, _Open] = {}
        self._roles: set[int] = set()
        self._calls: dict[int, int] = {}
        """Tool calls written so far, by choice."""
        self._images: dict[int, int] = {}
        self._finishes: dict[int, ev.Finish] = {}
        self._usage: Usage | None = None
        self._closed = False
        self._reasoned: set[int] = set()

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
        """See :class:`cpa.formats.codec.RunEncoder`. The completions route reads every chunk to change it."""
        if self._context.alt == "completions":
            return None
        opened = self._open.get(key)
        if self._closed or opened is None or not opened.head or opened.breaks or not opened.written:
            return None
        if opened.around is None:
            opened.around = around(self._frame(None, opened.head + HOLE + opened.tail))
        self.around = opened.around
        return filled(opened.around, texts)

    # -- frames --------------------------------------------------------------------------------------------

    def _constant(self) -> bytes:
        if not self._head:
            members = _dumps(head(self._context, self._start, "chat.completion.chunk"))
            self._head = members[:-1] + b',"choices":['
        return self._head

    def _delta_head(self, choice: int) -> bytes:
        return self._constant() + b'{"index":%d,"delta":' % choice

    def _delta(self, choice: int, delta: bytes, out: list[bytes], finish: bytes = b"null") -> None:
        out.append(self._frame(None, self._delta_head(choice) + delta + b',"finish_reason":%b}]}' % finish))

    def _role(self, choice: int, out: list[bytes]) -> None:
        """The first delta of a choice. Lower choices begin before: the official client puts them in a list."""
        if choice in self._roles:
            return
        for index in (*range(min(choice, _MOST_CHOICES)), choice):
            if index not in self._roles:
                self._roles.add(index)
                self._delta(index, _ROLE, out)

    # -- events --------------------------------------------------------------------------------------------

    def _on_start(self, event: ev.Start, out: list[bytes]) -> None:
        self._start = event

    def _on_block(self, event: ev.BlockStart, out: list[bytes]) -> None:
        block = Block(
            kind=event.kind,
            choice=event.choice,
            call_id=event.call_id,
            name=event.name,
            namespace=event.namespace,
            tool_type=event.tool_type,
            native_id=event.native_id,
        )
        opened = self._open[event.key] = _Open(block)
        if event.kind in ("server_tool", "opaque"):
            return
        self._role(event.choice, out)
        member = {"text": b"content", "reasoning": b"reasoning_content", "refusal": b"refusal", "audio": b"content"}
        name = member.get(event.kind)
        if name is not None:
            opened.head = self._delta_head(event.choice) + b'{"' + name + b'":'
            opened.tail = b'},"finish_reason":null}]}'
            if event.kind == "reasoning":
                opened.breaks = event.choice in self._reasoned
        elif event.kind == "tool_call" and event.name and event.call_id:
            self._open_call(opened, out)

    def _on_text(self, event: ev.TextDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is None or not opened.head or not event.text:
            return
        text = event.text
        if opened.breaks:
            opened.breaks = False
            text = "\n\n" + text
        if not opened.written:
            opened.written = True
            if opened.block.kind == "reasoning":
                self._reasoned.add(opened.block.choice)
        if event.logprobs:
            self._with_logprobs(opened, text, event.logprobs, out)
            return
        out.append(self._frame(None, opened.head + _dumps(text) + opened.tail))

    def _with_logprobs(self, opened: _Open, text: str, logprobs: Any, out: list[bytes]) -> None:
        tail = b'},"logprobs":%b,"finish_reason":null}]}' % _dumps({"content": logprobs, "refusal": None})
        out.append(self._frame(None, opened.head + _dumps(text) + tail))

    def _on_part_break(self, event: ev.PartBreak, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is not None and opened.written:
            opened.breaks = True

    def _on_arguments(self, event: ev.ArgumentsDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is None or not event.text:
            return
        if not opened.written and not (opened.block.name and opened.block.call_id):
            opened.pending.append(event.text)
            return
        self._open_call(opened, out)
        opened.any_arguments = True
        out.append(self._frame(None, opened.head + _dumps(event.text) + opened.tail))

    def _open_call(self, opened: _Open, out: list[bytes]) -> None:
        """The first delta of a call: index, id, type and name, once."""
        if opened.written:
            return
        opened.written = True
        block = opened.block
        index = self._calls.get(block.choice, 0)
        self._calls[block.choice] = index + 1
        opened.index = index
        call_id = block.call_id or self._context.new_id("call_")
        name = client_name(block.name or "", block.namespace)
        first: Object = {
            "index": index,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        self._delta(block.choice, _dumps({"tool_calls": [first]}), out)
        opened.head = self._delta_head(block.choice) + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index
        opened.tail = b'}}]},"finish_reason":null}]}'
        for text in opened.pending:
            opened.any_arguments = True
            out.append(self._frame(None, opened.head + _dumps(text) + opened.tail))
        opened.pending = []

    def _on_call_info(self, event: ev.ToolCallInfo, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is None:
            return
        block = opened.block
        block.call_id = block.call_id or event.call_id
        block.name = block.name or event.name
        if block.name and block.call_id:
            self._open_call(opened, out)

    def _on_citation(self, event: ev.CitationDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is not None:
            opened.citations.append(event.citation)

    def _on_data(self, event: ev.DataDelta, out: list[bytes]) -> None:
        opened = self._open.get(event.key)
        if opened is not None and opened.block.kind == "audio" and self._context.upstream_format == "openai":
            delta = {"audio": {"id": opened.block.native_id or "audio", "data": event.data}}
            self._delta(opened.block.choice, _dumps(delta), out)

    def _on_end_block(self, event: ev.BlockEnd, out: list[bytes]) -> None:
        opened = self._open.pop(event.key, None)
        if opened is None:
            return
        block = opened.block
        match block.kind:
            case "tool_call" if block.name:
                self._end_call(opened, event, out)
            case "image":
                block.data, block.url, block.media_type = event.data, event.url, event.media_type
                index = self._images.get(block.choice, 0)
                shown = image(block, index)
                if shown is not None:
                    self._images[block.choice] = index + 1
                    self._delta(block.choice, _dumps({"images": [shown]}), out)
            case "text" | "refusal" | "reasoning":
                self._end_text(opened, event, out)

    def _end_text(self, opened: _Open, event: ev.BlockEnd, out: list[bytes]) -> None:
        block = opened.block
        text = event.text or ("\n\n".join(event.summary) if event.summary else "")
        if text and not opened.written:
            self._on_open_text(opened, text, out)
        citations = event.citations or opened.citations
        if citations and block.kind == "text":
            shown = [annotation(citation, at) for at, citation in enumerate(citations)]
            self._delta(block.choice, _dumps({"annotations": shown}), out)

    def _on_open_text(self, opened: _Open, text: str, out: list[bytes]) -> None:
        opened.written = True
        if opened.breaks:
            text = "\n\n" + text
        if opened.block.kind == "reasoning":
            self._reasoned.add(opened.block.choice)
        out.append(self._frame(None, opened.head + _dumps(text) + opened.tail))

    def _end_call(self, opened: _Open, event: ev.BlockEnd, out: list[bytes]) -> None:
        self._open_call(opened, out)
        if opened.any_arguments:
            return
        text = event.arguments or ("" if opened.block.tool_type == "custom" else "{}")
        if text:
            out.append(self._frame(None, opened.head + _dumps(text) + opened.tail))

    def _on_usage(self, event: ev.UsageReport, out: list[bytes]) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)

    def _on_finish(self, event: ev.Finish, out: list[bytes]) -> None:
        self._finishes.setdefault(event.choice, event)

    def _on_failure(self, event: ev.Failure, out: list[bytes]) -> None:
        self._closed = True
        out.append(self._frame(None, _dumps(encode_error(event.error))) + self._framing.abort())

    def _on_end(self, event: ev.End, out: list[bytes]) -> None:
        for key in list(self._open):
            self._on_end_block(ev.BlockEnd(key), out)
        choices = sorted(self._roles | set(self._finishes)) or [0]
        inline = self._usage is not None and not self._context.include_usage
        for choice in choices:
            self._role(choice, out)
            self._write_finish(choice, inline and choice == choices[-1], out)
        if self._usage is not None and self._context.include_usage:
            usage = _dumps(encode_usage(self._usage))
            out.append(self._frame(None, self._constant() + b'],"usage":%b}' % usage))
        out.append(self._framing.end())
        self._closed = True

    def _write_finish(self, choice: int, with_usage: bool, out: list[bytes]) -> None:
        finish = self._finishes.get(choice)
        reason = encode_finish(finish, called=self._calls.get(choice, 0) > 0)
        native = b""
        if finish is not None and finish.native and self._context.upstream_format in ("codex", "gemini", "gemini-cli"):
            native = b',"native_finish_reason":%b' % _dumps(finish.native.lower())
        usage = b',"usage":%b' % _dumps(encode_usage(self._usage)) if with_usage and self._usage else b""
        payload = b'{},"finish_reason":%b%b}]%b}' % (_dumps(reason), native, usage)
        out.append(self._frame(None, self._delta_head(choice) + payload))


_HANDLERS: dict[type, Callable[[ChatStreamEncoder, Any, list[bytes]], None]] = {
    ev.Start: ChatStreamEncoder._on_start,
    ev.BlockStart: ChatStreamEncoder._on_block,
    ev.TextDelta: ChatStreamEncoder._on_text,
    ev.ArgumentsDelta: ChatStreamEncoder._on_arguments,
    ev.PartBreak: ChatStreamEncoder._on_part_break,
    ev.ToolCallInfo: ChatStreamEncoder._on_call_info,
    ev.CitationDelta: ChatStreamEncoder._on_citation,
    ev.DataDelta: ChatStreamEncoder._on_data,
    ev.BlockEnd: ChatStreamEncoder._on_end_block,
    ev.UsageReport: ChatStreamEncoder._on_usage,
    ev.Finish: ChatStreamEncoder._on_finish,
    ev.Failure: ChatStreamEncoder._on_failure,
    ev.End: ChatStreamEncoder._on_end,
}
