"""Read Responses answers, streamed and whole.

A whole answer is read as its terminal event: what was not streamed before comes from there. Events of several items
may interleave, members may be missing, and text or arguments may come only at the end of an item or of the answer;
what was not given yet is given then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.numbers import natural
from cpa.errors import ErrorInfo, bad_event, no_answer
from cpa.formats.change import NUMBERS, OBFUSCATION
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.errors import cut_off, reply_failure, stream_error
from cpa.formats.openai_response.fields import Object, object_of, objects, text
from cpa.formats.openai_response.finish import decode_finish
from cpa.formats.openai_response.items_decode import FORMAT, KINDS, Item
from cpa.formats.openai_response.usage import read_usage
from cpa.formats.runs import joined
from cpa.formats.sse import SseFrame, is_half

_loads = orjson.loads


class ResponseStreamDecoder:
    """See :class:`cpa.formats.codec.RunDecoder`."""

    varying = NUMBERS + OBFUSCATION

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._started = False
        self._closed = False
        self._keys = 0
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}
        self._items: list[Item] = []
        self._bad = False

    def new_key(self) -> int:
        """The key of another block."""
        self._keys += 1
        return self._keys - 1

    # -- frames --------------------------------------------------------------------------------------------

    def feed(self, frame: SseFrame) -> list[ev.Event]:
        """Events of one frame."""
        data = frame.data
        if self._closed or not data:
            return []
        try:
            event: Any = _loads(data)
        except orjson.JSONDecodeError:
            if data.strip() != b"[DONE]":
                self._bad = True
            if not is_half(frame):
                return []
            self._closed = True
            return [ev.Failure(bad_event())]
        if not isinstance(event, dict):
            return []
        kind = event.get("type") or frame.event
        handle = HANDLERS.get(kind) if isinstance(kind, str) else None
        out: list[ev.Event] = []
        if handle is not None:
            handle(self, event, out)
        elif event.get("error") and (kind is None or kind == "stray"):
            self._fail(stream_error(event), out)
        return out

    def close(self) -> list[ev.Event]:
        """The upstream closed."""
        if self._closed:
            return []
        self._closed = True
        if self._bad:
            error = bad_event()
        elif not self._started and not self._items:
            error = ErrorInfo(502, "the upstream's stream is empty", type="server_error", code="empty_stream")
        else:
            error = cut_off()
        return [ev.Failure(error)]

    def whole(self, response: Object) -> list[ev.Event]:
        """Events of a whole answer."""
        out: list[ev.Event] = []
        error = reply_failure(response)
        if error is not None:
            self._fail(error, out, response)
        elif not isinstance(response.get("output"), list) or response.get("status") in UNFINISHED:
            self._fail(no_answer(), out, response)
        else:
            self._finish({"response": response}, out, incomplete=response.get("status") == "incomplete")
        return out

    def _fail(self, error: ErrorInfo, out: list[ev.Event], response: Any = None) -> None:
        self._closed = True
        self._report(object_of(response), out)
        out.append(ev.Failure(error))

    def _report(self, response: Object, out: list[ev.Event]) -> None:
        usage = read_usage(response, self._context.request)
        if usage is not None:
            if isinstance(response.get("tool_usage"), dict):
                usage.raw = {**object_of(usage.raw), "tool_usage": response["tool_usage"]}
            out.append(ev.UsageReport(usage))

    # -- start ---------------------------------------------------------------------------------------------

    def _on_created(self, event: Object, out: list[ev.Event]) -> None:
        if not self._started:
            self._start(object_of(event.get("response")), out)

    def _start(self, response: Object, out: list[ev.Event]) -> None:
        self._started = True
        out.append(
            ev.Start(
                id=text(response, "id"),
                model=text(response, "model"),
                created=natural(response.get("created_at")),
                service_tier=text(response, "service_tier"),
            )
        )

    # -- items ---------------------------------------------------------------------------------------------

    def _find(self, event: Object, kind: str) -> Item:
        """The item an event is about; one that was never announced is made up."""
        item_id = event.get("item_id")
        item = self._by_id.get(item_id) if isinstance(item_id, str) else None
        if item is None:
            index = event.get("output_index")
            item = self._by_index.get(index) if isinstance(index, int) else None
            if item is None or item.kind != kind:
                item = self._add({"type": kind, "id": item_id}, event)
        return item

    def _add(self, raw: Object, event: Object) -> Item:
        kind = raw.get("type")
        item = KINDS.get(kind if isinstance(kind, str) else "", KINDS[""])(self.new_key, raw, self._context)
        self._items.append(item)
        if isinstance(raw.get("id"), str) and raw["id"]:
            self._by_id[raw["id"]] = item
        if isinstance(event.get("output_index"), int):
            self._by_index[event["output_index"]] = item
        return item

    def _known(self, raw: Object, index: Any) -> Item | None:
        item_id, kind = raw.get("id"), raw.get("type")
        item = self._by_id.get(item_id) if isinstance(item_id, str) else None
        if item is None and isinstance(index, int):
            item = self._by_index.get(index)
        if item is None and isinstance(raw.get("call_id"), str):
            item = next((known for known in self._items if known.raw.get("call_id") == raw["call_id"]), None)
        return item if item is not None and item.raw.get("type") == kind else None

    def _on_item_added(self, event: Object, out: list[ev.Event]) -> None:
        raw = event.get("item")
        if not isinstance(raw, dict) or self._known(raw, event.get("output_index")) is not None:
            return
        self._begin(out)
        self._add(raw, event).opened(out)

    def _on_item_done(self, event: Object, out: list[ev.Event]) -> None:
        raw = event.get("item")
        if not isinstance(raw, dict):
            return
        self._begin(out)
        item = self._known(raw, event.get("output_index")) or self._add(raw, event)
        item.done(raw, out)

    def _begin(self, out: list[ev.Event]) -> None:
        if not self._started:
            self._start({}, out)

    def lead(self, event: ev.TextDelta | ev.ArgumentsDelta) -> bytes | None:
        """See :class:`cpa.formats.codec.RunDecoder`."""
        return None if isinstance(event, ev.TextDelta) and event.logprobs else b'"delta":'

    def skipped(self, key: int, texts: list[bytes]) -> None:
        """See :class:`cpa.formats.codec.RunDecoder`: the end of a text repeats all of it."""
        text = joined(texts)
        for item in self._items:
            item.skipped(key, text)

    # -- content -------------------------------------------------------------------------------------------

    def _on_text(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "message").text_delta(event, "text", out)

    def _on_text_done(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "message").text_done(event, "text", out)

    def _on_refusal(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "message").text_delta(event, "refusal", out)

    def _on_refusal_done(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "message").text_done(event, "refusal", out)

    def _on_annotation(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "message").annotation(event, out)

    def _on_summary(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "reasoning").text_delta(event, "summary", out)

    def _on_summary_done(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "reasoning").text_done(event, "summary", out)

    def _on_reasoning(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "reasoning").text_delta(event, "content", out)

    def _on_reasoning_done(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "reasoning").text_done(event, "content", out)

    def _on_arguments(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "function_call").arguments_delta(event.get("delta"), out)

    def _on_arguments_done(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "function_call").arguments_done(event.get("arguments"), out)

    def _on_input(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "custom_tool_call").arguments_delta(event.get("delta"), out)

    def _on_input_done(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "custom_tool_call").arguments_done(event.get("input"), out)

    def _on_partial_image(self, event: Object, out: list[ev.Event]) -> None:
        self._find(event, "image_generation_call").partial(event, out)

    # -- end -----------------------------------------------------------------------------------------------

    def _on_completed(self, event: Object, out: list[ev.Event]) -> None:
        response = object_of(event.get("response"))
        if response.get("status") == "failed":
            self._fail(stream_error(event), out, response)
            return
        self._finish(event, out, incomplete=response.get("status") == "incomplete")

    def _on_incomplete(self, event: Object, out: list[ev.Event]) -> None:
        self._finish(event, out, incomplete=True)

    def _on_failed(self, event: Object, out: list[ev.Event]) -> None:
        self._fail(stream_error(event), out, event.get("response"))

    def _finish(self, event: Object, out: list[ev.Event], *, incomplete: bool) -> None:
        response = object_of(event.get("response"))
        if not self._started:
            self._start(response, out)
        for index, raw in enumerate(objects(response.get("output"))):
            item = self._known(raw, index) or self._add(raw, {})
            item.done(raw, out)
        for item in self._items:
            item.done(item.raw, out)
        self._report(response, out)
        called = any(item.is_call for item in self._items)
        refused = any(item.refused for item in self._items)
        out.append(decode_finish(response, incomplete=incomplete, called=called, refused=refused))
        out.append(ev.End())
        self._closed = True


def decode_reply(body: Object, context: ReplyContext) -> list[ev.Event]:
    """A whole answer as the events a stream of it would have had."""
    response = body.get("response")
    if isinstance(response, dict) and "output" not in body:
        body = response
    return ResponseStreamDecoder(context).whole(body)


UNFINISHED = ("in_progress", "queued", "cancelled")
"""What a response is while it is no answer yet, or when it never will be."""
_Handler = Callable[[ResponseStreamDecoder, Object, list[ev.Event]], None]

HANDLERS: dict[str, _Handler] = {
    "response.created": ResponseStreamDecoder._on_created,
    "response.in_progress": ResponseStreamDecoder._on_created,
    "response.output_item.added": ResponseStreamDecoder._on_item_added,
    "response.output_item.done": ResponseStreamDecoder._on_item_done,
    "response.output_text.delta": ResponseStreamDecoder._on_text,
    "response.output_text.done": ResponseStreamDecoder._on_text_done,
    "response.output_text.annotation.added": ResponseStreamDecoder._on_annotation,
    "response.refusal.delta": ResponseStreamDecoder._on_refusal,
    "response.refusal.done": ResponseStreamDecoder._on_refusal_done,
    "response.reasoning_summary_text.delta": ResponseStreamDecoder._on_summary,
    "response.reasoning_summary_text.done": ResponseStreamDecoder._on_summary_done,
    "response.reasoning_text.delta": ResponseStreamDecoder._on_reasoning,
    "response.reasoning_text.done": ResponseStreamDecoder._on_reasoning_done,
    "response.function_call_arguments.delta": ResponseStreamDecoder._on_arguments,
    "response.function_call_arguments.done": ResponseStreamDecoder._on_arguments_done,
    "response.custom_tool_call_input.delta": ResponseStreamDecoder._on_input,
    "response.custom_tool_call_input.done": ResponseStreamDecoder._on_input_done,
    "response.image_generation_call.partial_image": ResponseStreamDecoder._on_partial_image,
    "response.completed": ResponseStreamDecoder._on_completed,
    "response.done": ResponseStreamDecoder._on_completed,
    "response.incomplete": ResponseStreamDecoder._on_incomplete,
    "response.failed": ResponseStreamDecoder._on_failed,
    "response.error": ResponseStreamDecoder._on_failed,
    "response.cancelled": ResponseStreamDecoder._on_failed,
    "error": ResponseStreamDecoder._on_failed,
}
"""Of other events nothing is made."""

__all__ = ["FORMAT", "HANDLERS", "ResponseStreamDecoder", "decode_reply"]
