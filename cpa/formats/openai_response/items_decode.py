"""The items of a Responses answer while they are being read: one small state machine per kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.media import image_media_type
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.fields import Object, json_text, object_of, objects, text

FORMAT = "openai-response"

NewKey = Callable[[], int]


class Item:
    """An item of the answer. This base does nothing with content that is not of its kind."""

    kind = ""
    is_call = False
    refused = False

    def __init__(self, new_key: NewKey, raw: Object, context: ReplyContext) -> None:
        self.new_key = new_key
        self.raw = raw
        self.context = context
        self.finished = False

    def opened(self, out: list[ev.Event]) -> None:
        """The item was announced."""

    def done(self, raw: Object, out: list[ev.Event]) -> None:
        """The item is complete; ``raw`` is all of it. Only the first call counts."""
        if not self.finished:
            self.finished = True
            self.raw = {**self.raw, **raw}
            self._finish(self.raw, out)

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        """Give what was not given yet and close the blocks."""

    def text_delta(self, event: Object, kind: str, out: list[ev.Event]) -> None:
        """More text of one part."""

    def text_done(self, event: Object, kind: str, out: list[ev.Event]) -> None:
        """All text of one part."""

    def annotation(self, event: Object, out: list[ev.Event]) -> None:
        """A citation."""

    def arguments_delta(self, delta: Any, out: list[ev.Event]) -> None:
        """More of a call's arguments or input."""

    def arguments_done(self, arguments: Any, out: list[ev.Event]) -> None:
        """All of a call's arguments or input."""

    def partial(self, event: Object, out: list[ev.Event]) -> None:
        """A partial image."""

    def skipped(self, key: int, text: str) -> None:
        """Deltas of a block, which may be one of this item, that were given without its help."""


class _TextBlock:
    """An open block of text and what of it was given."""

    __slots__ = ("key", "pieces")

    def __init__(self, key: int) -> None:
        self.key = key
        self.pieces: list[str] = []

    def complete(self, whole: Any, out: list[ev.Event]) -> None:
        """Give the rest of ``whole`` after what was given."""
        given = "".join(self.pieces)
        if isinstance(whole, str) and len(whole) > len(given) and whole.startswith(given):
            self.pieces.append(whole[len(given) :])
            out.append(ev.TextDelta(self.key, whole[len(given) :]))


class Message(Item):
    """``message``: one block per part."""

    kind = "message"

    def __init__(self, new_key: NewKey, raw: Object, context: ReplyContext) -> None:
        super().__init__(new_key, raw, context)
        self._blocks: dict[int, _TextBlock] = {}

    def _block(self, index: Any, kind: str, out: list[ev.Event]) -> _TextBlock:
        if not isinstance(index, int):
            index = 0
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _TextBlock(self.new_key())
            self.refused = self.refused or kind == "refusal"
            out.append(
                ev.BlockStart(
                    block.key,
                    "refusal" if kind == "refusal" else "text",
                    native_id=text(self.raw, "id"),
                    message_key=text(self.raw, "id"),
                    phase=text(self.raw, "phase"),
                )
            )
        return block

    def text_delta(self, event: Object, kind: str, out: list[ev.Event]) -> None:
        delta = event.get("delta")
        if not isinstance(delta, str) or not delta or self.finished:
            return
        index = event.get("content_index")
        block = (self._blocks.get(index) if isinstance(index, int) else None) or self._block(index, kind, out)
        block.pieces.append(delta)
        logprobs = event.get("logprobs")
        out.append(ev.TextDelta(block.key, delta, logprobs if logprobs and isinstance(logprobs, list) else None))

    def skipped(self, key: int, text: str) -> None:
        for block in self._blocks.values():
            if block.key == key:
                block.pieces.append(text)

    def text_done(self, event: Object, kind: str, out: list[ev.Event]) -> None:
        whole = event.get("refusal" if kind == "refusal" else "text")
        if isinstance(whole, str) and whole and not self.finished:
            self._block(event.get("content_index"), kind, out).complete(whole, out)

    def annotation(self, event: Object, out: list[ev.Event]) -> None:
        raw = event.get("annotation")
        if isinstance(raw, dict) and not self.finished:
            block = self._block(event.get("content_index"), "text", out)
            out.append(ev.CitationDelta(block.key, decode_citation(raw)))

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        ends: dict[int, ev.BlockEnd] = {}
        for index, part in enumerate(objects(raw.get("content"))):
            kind = "refusal" if part.get("type") == "refusal" else "text"
            whole = part.get("refusal") if kind == "refusal" else part.get("text")
            if not isinstance(whole, str) or (not whole and index not in self._blocks):
                continue
            block = self._block(index, kind, out)
            block.complete(whole, out)
            citations = [decode_citation(annotation) for annotation in objects(part.get("annotations"))]
            ends[block.key] = ev.BlockEnd(block.key, text=whole or None, citations=citations or None)
        out += [ends.get(block.key) or ev.BlockEnd(block.key) for block in self._blocks.values()]


class ReasoningItem(Item):
    """``reasoning``: one block, its summary parts kept apart."""

    kind = "reasoning"

    def __init__(self, new_key: NewKey, raw: Object, context: ReplyContext) -> None:
        super().__init__(new_key, raw, context)
        self._key: int | None = None
        self._source = ""
        """``summary`` or ``content``, whichever came first; the other one is only kept whole."""
        self._parts: dict[int, list[str]] = {}
        self._last = -1

    def _open(self, kind: str, out: list[ev.Event]) -> int:
        if self._key is None:
            self._key = self.new_key()
            self._source = kind
            style: Any = "summary" if kind == "summary" else "full"
            out.append(ev.BlockStart(self._key, "reasoning", native_id=text(self.raw, "id"), style=style))
        return self._key

    def _write(self, kind: str, index: Any, delta: str, out: list[ev.Event]) -> None:
        key = self._open(kind, out)
        if kind != self._source:
            return
        index = index if isinstance(index, int) else 0
        if index != self._last:
            if self._parts:
                out.append(ev.PartBreak(key))
            self._last = index
        self._parts.setdefault(index, []).append(delta)
        out.append(ev.TextDelta(key, delta))

    def text_delta(self, event: Object, kind: str, out: list[ev.Event]) -> None:
        delta = event.get("delta")
        if isinstance(delta, str) and delta and not self.finished:
            self._write(kind, event.get("summary_index" if kind == "summary" else "content_index"), delta, out)

    def skipped(self, key: int, text: str) -> None:
        if key == self._key:
            self._parts[self._last].append(text)

    def text_done(self, event: Object, kind: str, out: list[ev.Event]) -> None:
        if not self.finished:
            index = event.get("summary_index" if kind == "summary" else "content_index")
            self._complete(kind, index if isinstance(index, int) else 0, event.get("text"), out)

    def _complete(self, kind: str, index: int, whole: Any, out: list[ev.Event]) -> None:
        if not isinstance(whole, str) or (self._source and kind != self._source):
            return
        given = "".join(self._parts.get(index, ()))
        if len(whole) > len(given) and whole.startswith(given):
            self._write(kind, index, whole[len(given) :], out)

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        summary = [part["text"] for part in objects(raw.get("summary")) if isinstance(part.get("text"), str)]
        content = [part["text"] for part in objects(raw.get("content")) if isinstance(part.get("text"), str)]
        kind = self._source or ("summary" if summary or not content else "content")
        proof = text(raw, "encrypted_content")
        if self._key is None and not summary and not content and not proof:
            return
        key = self._open(kind, out)
        for index, whole in enumerate(summary if kind == "summary" else content):
            self._complete(kind, index, whole, out)
        out.append(ev.BlockEnd(key, signature=proof, summary=summary or None, content=content or None))


class CallItem(Item):
    """``function_call`` and ``custom_tool_call``."""

    kind = "function_call"
    is_call = True
    member = "arguments"

    def __init__(self, new_key: NewKey, raw: Object, context: ReplyContext) -> None:
        super().__init__(new_key, raw, context)
        self._key: int | None = None
        self._given: list[str] = []
        self._wrapped = False
        self._named = False

    def opened(self, out: list[ev.Event]) -> None:
        if text(self.raw, "name"):
            self._open(out)

    def _open(self, out: list[ev.Event]) -> int:
        if self._key is not None:
            return self._key
        self._key = self.new_key()
        name = text(self.raw, "name")
        identity = self.context.tool(name or "")
        self._named = name is not None
        self._wrapped = identity.wrapped
        custom = self.kind == "custom_tool_call" or identity.kind == "custom"
        out.append(
            ev.BlockStart(
                self._key,
                "tool_call",
                native_id=text(self.raw, "id"),
                call_id=text(self.raw, "call_id"),
                name=identity.name or None,
                namespace=identity.namespace or text(self.raw, "namespace"),
                tool_type="custom" if custom else "function",
            )
        )
        return self._key

    def arguments_delta(self, delta: Any, out: list[ev.Event]) -> None:
        if not isinstance(delta, str) or not delta or self.finished:
            return
        key = self._open(out)
        self._given.append(delta)
        if not self._wrapped:
            out.append(ev.ArgumentsDelta(key, delta))

    def skipped(self, key: int, text: str) -> None:
        if key == self._key:
            self._given.append(text)

    def arguments_done(self, arguments: Any, out: list[ev.Event]) -> None:
        if not isinstance(arguments, str) or self.finished:
            return
        given = "".join(self._given)
        if len(arguments) > len(given) and arguments.startswith(given):
            self.arguments_delta(arguments[len(given) :], out)

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        known = self._key is not None
        key = self._open(out)
        if known and not self._named and text(raw, "name"):
            identity = self.context.tool(raw["name"])
            self._wrapped = False
            out.append(ev.ToolCallInfo(key, text(raw, "call_id"), identity.name))
        whole = raw.get(self.member)
        whole = json_text(whole) if whole is not None and not isinstance(whole, str) else whole
        given = "".join(self._given)
        if not isinstance(whole, str) or not whole:
            whole = given
        if self._wrapped:
            whole = _unwrap(whole)
            out.append(ev.ArgumentsDelta(key, whole))
        elif len(whole) > len(given) and whole.startswith(given):
            out.append(ev.ArgumentsDelta(key, whole[len(given) :]))
        out.append(ev.BlockEnd(key, arguments=whole or None, status=text(raw, "status")))


def _unwrap(arguments: str) -> str:
    """The text in ``{"input": "..."}``; arguments of another shape are taken as they are."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    value = parsed.get("input") if isinstance(parsed, dict) else None
    return value if isinstance(value, str) else arguments


class CustomCallItem(CallItem):
    """``custom_tool_call``."""

    kind = "custom_tool_call"
    member = "input"


class SearchItem(Item):
    """``web_search_call``."""

    kind = "web_search_call"

    def __init__(self, new_key: NewKey, raw: Object, context: ReplyContext) -> None:
        super().__init__(new_key, raw, context)
        self._key: int | None = None

    def opened(self, out: list[ev.Event]) -> None:
        if self._key is None:
            self._key = self.new_key()
            out.append(
                ev.BlockStart(
                    self._key, "server_tool", native_id=text(self.raw, "id"), name="web_search", format=FORMAT
                )
            )

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        self.opened(out)
        assert self._key is not None
        action = object_of(raw.get("action"))
        queries = action.get("queries")
        query = text(action, "query") or next(
            (found for found in queries if isinstance(found, str)) if isinstance(queries, list) else iter(()), None
        )
        wanted = {"query": query, "url": text(action, "url"), "pattern": text(action, "pattern")}
        results = [
            {"url": source["url"], "title": text(source, "title") or ""}
            for source in objects(action.get("sources"))
            if isinstance(source.get("url"), str)
        ]
        out.append(
            ev.BlockEnd(
                self._key,
                status=text(raw, "status"),
                input={key: value for key, value in wanted.items() if value is not None},
                results=results or None,
                json=raw,
            )
        )


class ImageItem(Item):
    """``image_generation_call``."""

    kind = "image_generation_call"

    def __init__(self, new_key: NewKey, raw: Object, context: ReplyContext) -> None:
        super().__init__(new_key, raw, context)
        self._key: int | None = None

    def _open(self, out: list[ev.Event]) -> int:
        if self._key is None:
            self._key = self.new_key()
            out.append(ev.BlockStart(self._key, "image", native_id=text(self.raw, "id")))
        return self._key

    def opened(self, out: list[ev.Event]) -> None:
        self._open(out)

    def partial(self, event: Object, out: list[ev.Event]) -> None:
        data = text(event, "partial_image_b64")
        if data and not self.finished:
            for name in _IMAGE_OPTIONS:
                if isinstance(event.get(name), str):
                    self.raw.setdefault(name, event[name])
            index = event.get("partial_image_index")
            out.append(ev.DataDelta(self._open(out), data, index if isinstance(index, int) else 0))

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        options = {name: raw[name] for name in _IMAGE_OPTIONS if isinstance(raw.get(name), str)}
        out.append(
            ev.BlockEnd(
                self._open(out),
                data=text(raw, "result"),
                media_type=image_media_type(text(raw, "output_format")),
                revised_prompt=text(raw, "revised_prompt"),
                options=options or None,
                status=text(raw, "status"),
            )
        )


_IMAGE_OPTIONS = ("size", "quality", "background", "output_format")


class OpaqueItem(Item):
    """Any other item; only a Responses client can make something of it."""

    def _finish(self, raw: Object, out: list[ev.Event]) -> None:
        key = self.new_key()
        out.append(ev.BlockStart(key, "opaque", native_id=text(raw, "id"), json=raw, format=FORMAT))
        out.append(ev.BlockEnd(key, json=raw))


KINDS: dict[str, type[Item]] = {
    "message": Message,
    "reasoning": ReasoningItem,
    "function_call": CallItem,
    "custom_tool_call": CustomCallItem,
    "web_search_call": SearchItem,
    "image_generation_call": ImageItem,
    "": OpaqueItem,
}


def decode_citation(raw: Object) -> ev.Citation:
    """A ``url_citation`` or file citation; offsets count code points."""
    start, end = raw.get("start_index"), raw.get("end_index")
    return ev.Citation(
        url=text(raw, "url"),
        title=text(raw, "title"),
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        raw=raw,
        format=FORMAT,
    )
