"""The canonical whole answer: the fold of its events.

A non-stream answer and a stream are one code path: ``fold(decoder events)`` gives the :class:`Reply` that an
encoder turns into one body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct, field

from cpa.conversation import events as ev
from cpa.conversation.parts import Json
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo


class Block(Struct):
    """One finished block of the answer. The fields are those of ``BlockStart`` and ``BlockEnd``, put together."""

    kind: ev.BlockKind
    choice: int = 0
    text: str = ""
    citations: list[ev.Citation] = field(default_factory=list)
    logprobs: list[Json] = field(default_factory=list)
    signature: str | None = None
    redacted_data: str | None = None
    summary: list[str] | None = None
    """reasoning: its summary parts; ``text`` is them joined by a blank line."""
    content: list[str] | None = None
    native_id: str | None = None
    message_key: str | None = None
    phase: str | None = None
    style: str = "full"
    call_id: str | None = None
    name: str | None = None
    tool_type: str = "function"
    namespace: str | None = None
    arguments: str = ""
    status: str | None = None
    input: Json | None = None
    results: list[Json] | None = None
    error_code: str | None = None
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    options: dict[str, Json] | None = None
    json: Json | None = None
    format: str | None = None


class Reply(Struct):
    """A whole answer."""

    start: ev.Start = field(default_factory=ev.Start)
    blocks: list[Block] = field(default_factory=list)
    """In the order in which they opened."""
    finishes: dict[int, ev.Finish] = field(default_factory=dict)
    """By choice."""
    usage: Usage | None = None
    error: ErrorInfo | None = None
    ended: bool = False
    """Whether ``End`` was seen; a reply that neither ended nor failed is incomplete."""

    def choices(self) -> list[int]:
        """Choice indexes in order; at least choice 0."""
        seen = {block.choice for block in self.blocks} | set(self.finishes)
        return sorted(seen) or [0]


class _Accumulator:
    """A block being put together."""

    __slots__ = ("arguments", "block", "data", "parts", "text")

    def __init__(self, start: ev.BlockStart) -> None:
        self.block = Block(
            kind=start.kind,
            choice=start.choice,
            native_id=start.native_id,
            message_key=start.message_key,
            phase=start.phase,
            style=start.style,
            call_id=start.call_id,
            name=start.name,
            tool_type=start.tool_type,
            namespace=start.namespace,
            input=start.input,
            json=start.json,
            format=start.format,
        )
        self.text: list[str] = []
        self.parts: list[str] = []
        self.arguments: list[str] = []
        self.data: list[str] = []

    def break_part(self) -> None:
        if self.text:
            self.parts.append("".join(self.text))
            self.text = []

    def finish(self) -> None:
        """Write what the deltas added up to into the block (an unclosed block keeps it too)."""
        block = self.block
        if self.parts:
            parts = [*self.parts, "".join(self.text)] if self.text else self.parts
            block.summary = parts
            block.text = "\n\n".join(parts)
        else:
            block.text = "".join(self.text)
            if block.kind == "reasoning" and block.style == "summary" and block.text:
                block.summary = [block.text]
        block.arguments = "".join(self.arguments)
        if self.data and block.kind == "audio":
            block.data = "".join(self.data)


_END_FIELDS = (
    "signature",
    "redacted_data",
    "content",
    "status",
    "input",
    "results",
    "error_code",
    "media_type",
    "data",
    "url",
    "revised_prompt",
    "options",
    "json",
)


def _close(accumulator: _Accumulator, end: ev.BlockEnd) -> None:
    accumulator.finish()
    block = accumulator.block
    if end.summary:
        block.summary = end.summary
        block.text = "\n\n".join(end.summary)
    if end.text:
        block.text = end.text
    if end.arguments:
        block.arguments = end.arguments
    if end.citations:
        block.citations = end.citations
    for name in _END_FIELDS:
        value = getattr(end, name)
        if value is not None:
            setattr(block, name, value)


def _add_text(accumulator: _Accumulator, event: ev.TextDelta) -> None:
    accumulator.text.append(event.text)
    if event.logprobs:
        accumulator.block.logprobs.extend(event.logprobs)


def _add_arguments(accumulator: _Accumulator, event: ev.ArgumentsDelta) -> None:
    accumulator.arguments.append(event.text)


def _add_signature(accumulator: _Accumulator, event: ev.SignatureDelta) -> None:
    accumulator.block.signature = event.signature


def _add_citation(accumulator: _Accumulator, event: ev.CitationDelta) -> None:
    accumulator.block.citations.append(event.citation)


def _add_part_break(accumulator: _Accumulator, event: ev.PartBreak) -> None:
    accumulator.break_part()


def _add_data(accumulator: _Accumulator, event: ev.DataDelta) -> None:
    accumulator.data.append(event.data)


def _add_call_info(accumulator: _Accumulator, event: ev.ToolCallInfo) -> None:
    block = accumulator.block
    block.call_id = block.call_id or event.call_id
    block.name = block.name or event.name
    block.native_id = block.native_id or event.native_id


_OF_A_BLOCK: dict[type[ev.Event], Callable[[_Accumulator, Any], None]] = {
    ev.TextDelta: _add_text,
    ev.ArgumentsDelta: _add_arguments,
    ev.BlockEnd: _close,
    ev.SignatureDelta: _add_signature,
    ev.CitationDelta: _add_citation,
    ev.PartBreak: _add_part_break,
    ev.DataDelta: _add_data,
    ev.ToolCallInfo: _add_call_info,
}
"""How events of an open block are added to it."""


def _note(reply: Reply, event: ev.Event) -> None:
    """Note an event that belongs to no block."""
    match event:
        case ev.Start():
            reply.start = event
        case ev.UsageReport(usage=usage):
            reply.usage = usage if reply.usage is None else reply.usage.merge(usage)
        case ev.Finish():
            reply.finishes.setdefault(event.choice, event)
        case ev.Failure(error=error):
            reply.error = error
        case ev.End():
            reply.ended = True


def fold(events: Iterable[ev.Event]) -> Reply:
    """Put a whole stream of events together. Never raises; see ``Reply.ended`` and ``Reply.error``."""
    reply = Reply()
    open_blocks: dict[int, _Accumulator] = {}
    for event in events:
        add = _OF_A_BLOCK.get(type(event))
        if add is not None:
            key: int = event.key  # type: ignore[union-attr]
            accumulator = open_blocks.get(key)
            if accumulator is not None:
                add(accumulator, event)
                if add is _close:
                    del open_blocks[key]
        elif isinstance(event, ev.BlockStart):
            accumulator = open_blocks[event.key] = _Accumulator(event)
            reply.blocks.append(accumulator.block)
        else:
            _note(reply, event)
    for accumulator in open_blocks.values():
        accumulator.finish()
    return reply
