"""Read Chat Completions answers, streamed and whole, of any OpenAI-compatible provider.

A whole answer is read as a stream of one chunk: what holds for one holds for the other.
"""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation import events as ev
from cpa.conversation.media import source_from_url
from cpa.conversation.numbers import natural
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, bad_event, no_answer
from cpa.formats.change import OBFUSCATION
from cpa.formats.codec import ReplyContext
from cpa.formats.openai.errors import hidden_error
from cpa.formats.openai.finish import decode_finish
from cpa.formats.openai.tools import arguments_text
from cpa.formats.openai.usage import decode_usage
from cpa.formats.sse import SseFrame, is_half

Object = dict[str, Any]
CHUNK = "chat.completion.chunk"
"""The type of the chunks of a stream."""


_ORDINARY = frozenset(
    {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "system_fingerprint",
        "service_tier",
        "obfuscation",
        "provider",
    }
)
"""Members of a chunk that say nothing new after the first one."""


class _Call:
    """A tool call that is being put together."""

    __slots__ = ("buffer", "call_id", "key", "name", "wrapped")

    def __init__(self, key: int, call_id: str | None, name: str | None) -> None:
        self.key = key
        self.call_id = call_id
        self.name = name
        self.wrapped = False
        """The upstream sees a free-form tool as a function with one ``input`` string."""
        self.buffer: list[str] = []


class _Choice:
    """What is open in one choice."""

    __slots__ = ("audio", "calls", "content", "finish", "last", "reasoning", "refusal", "source")

    def __init__(self) -> None:
        self.content: int | None = None
        self.reasoning: int | None = None
        self.refusal: int | None = None
        self.audio: int | None = None
        self.calls: dict[Any, _Call] = {}
        self.last: _Call | None = None
        self.finish: str | None = None
        self.source: str | None = None
        """Which member carries the reasoning; a second one that repeats it is not read."""


class ChatStreamDecoder:
    """See :class:`cpa.formats.codec.RunDecoder`."""

    varying = OBFUSCATION

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._started = False
        self._closed = False
        self._keys = 0
        self._choices: dict[int, _Choice] = {}
        self._open: list[int] = []
        self._usage: Usage | None = None
        self._said = False
        """Anything at all was answered."""
        self._doubt: ErrorInfo | None = None
        self._citations: list[ev.Citation] = []

    # -- frames --------------------------------------------------------------------------------------------

    def feed(self, frame: SseFrame) -> list[ev.Event]:
        """Events of one frame."""
        data = frame.data
        if self._closed or not data:
            return []
        if data == b"[DONE]" or data.strip() == b"[DONE]":
            return self._finish_all(done=True)
        try:
            chunk: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._doubt = bad_event()
            if not is_half(frame):
                return []
            self._closed = True
            return [ev.Failure(self._doubt)]
        self._doubt = None
        if isinstance(chunk, list) and len(chunk) == 1:
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            return []
        if "error" in chunk or "type" in chunk or frame.event is not None or "choices" not in chunk:
            error = hidden_error(chunk, frame.event)
            if error is not None:
                self._closed = True
                return [ev.Failure(error)]
        return self.chunk(chunk)

    def chunk(self, chunk: Object) -> list[ev.Event]:
        """Events of one parsed chunk."""
        choices = chunk.get("choices")
        if self._started and (text := self._only_text(chunk, choices)) is not None:
            return [text]
        events: list[ev.Event] = []
        if not self._started and (choices or chunk.get("id")):
            self._start(chunk, events)
        if isinstance(choices, list):
            for position, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._read_choice(choice, position, events)
        if "citations" in chunk or "search_results" in chunk:
            self._read_sources(chunk)
        usage = chunk.get("usage")
        if usage is None and isinstance(choices, list) and choices and isinstance(choices[0], dict):
            usage = choices[0].get("usage")
        if usage is not None:
            decoded = decode_usage(usage, chunk.get("service_tier"))
            if decoded is not None:
                self._usage = decoded
                events.append(ev.UsageReport(decoded))
        return events

    def _only_text(self, chunk: Object, choices: Any) -> ev.TextDelta | None:
        """The delta of a chunk that does nothing but go on with a text, as most chunks do."""
        if type(choices) is not list or len(choices) != 1 or not _ORDINARY.issuperset(chunk):
            return None
        if chunk.get("usage") is not None or not isinstance(raw := choices[0], dict) or raw.get("finish_reason"):
            return None
        index, delta = raw.get("index"), raw.get("delta")
        if type(index) is not int or type(delta) is not dict or len(delta) != 1:
            return None
        state = self._choices.get(index)
        if state is None or state.content is None:
            return None
        text = delta.get("content")
        if type(text) is not str or not text or raw.get("logprobs") or raw.get("usage"):
            return None
        return ev.TextDelta(state.content, text, None)

    def lead(self, event: ev.TextDelta | ev.ArgumentsDelta) -> bytes | None:
        """See :class:`cpa.formats.codec.RunDecoder`."""
        if isinstance(event, ev.ArgumentsDelta):
            return b'"arguments":'
        for choice in self._choices.values():
            if choice.content == event.key:
                return None if event.logprobs else b'"content":'
            if choice.reasoning == event.key and choice.source is not None:
                return b'"%b":' % choice.source.encode()
        return None

    def skipped(self, key: int, texts: list[bytes]) -> None:
        """See :class:`cpa.formats.codec.RunDecoder`: nothing is kept of a text."""

    def close(self) -> list[ev.Event]:
        """The upstream closed."""
        return [] if self._closed else self._finish_all(done=False)

    def _start(self, chunk: Object, events: list[ev.Event]) -> None:
        self._started = True
        events.append(
            ev.Start(
                id=_text(chunk.get("id")),
                model=_text(chunk.get("model")),
                created=natural(chunk.get("created")),
                service_tier=_text(chunk.get("service_tier")),
                system_fingerprint=_text(chunk.get("system_fingerprint")),
            )
        )

    # -- choices -------------------------------------------------------------------------------------------

    def _read_choice(self, raw: Object, position: int, events: list[ev.Event]) -> None:
        index = raw.get("index")
        index = index if isinstance(index, int) else position
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        delta = raw.get("delta")
        if not isinstance(delta, dict):
            delta = raw.get("message")
        if isinstance(delta, dict):
            self._read_delta(choice, index, delta, raw.get("logprobs"), events)
        elif isinstance(raw.get("text"), str):
            self._text(choice, index, raw["text"], None, events)
        finish = raw.get("finish_reason")
        if isinstance(finish, str) and finish and not _outranked(choice.finish, finish):
            choice.finish = finish

    def _read_delta(self, choice: _Choice, index: int, delta: Object, logprobs: Any, events: list[ev.Event]) -> None:
        for name, value in delta.items():
            if value is None or value == "":
                continue
            if name == "content":
                continue
            if name in ("reasoning_content", "reasoning", "reasoning_text"):
                if choice.source in (None, name):
                    choice.source = name
                    self._reasoning(choice, index, _reasoning_text(value), events)
            elif name == "reasoning_details" and choice.source in (None, name) and isinstance(value, list):
                text = "".join(_reasoning_text(detail) for detail in value if isinstance(detail, dict))
                if text:
                    choice.source = name
                    self._reasoning(choice, index, text, events)
        content = delta.get("content")
        if content:
            if isinstance(content, str):
                tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
                self._text(choice, index, content, tokens, events)
            elif isinstance(content, list):
                self._content_parts(choice, index, content, events)
        if len(delta) > 1 or "content" not in delta:
            self._read_rest(choice, index, delta, events)

    def _read_rest(self, choice: _Choice, index: int, delta: Object, events: list[ev.Event]) -> None:
        if refusal := delta.get("refusal"):
            if choice.refusal is None:
                choice.refusal = self._block(events, "refusal", index)
            events.append(ev.TextDelta(choice.refusal, str(refusal)))
        if images := delta.get("images"):
            for image in images if isinstance(images, list) else ():
                self._image(index, image, events)
        if isinstance(audio := delta.get("audio"), dict):
            self._audio(choice, index, audio, events)
        if calls := delta.get("tool_calls"):
            for at, call in enumerate(calls if isinstance(calls, list) else ()):
                if isinstance(call, dict):
                    self._tool_call(choice, index, call, at, events)
        if isinstance(legacy := delta.get("function_call"), dict):
            self._tool_call(choice, index, {"index": "legacy", "function": legacy}, 0, events)
        if annotations := delta.get("annotations"):
            self._annotations(choice, index, annotations, events)

    def _block(self, events: list[ev.Event], kind: ev.BlockKind, index: int, **fields: Any) -> int:
        self._keys += 1
        self._said = True
        self._open.append(self._keys)
        events.append(ev.BlockStart(self._keys, kind, index, **fields))
        return self._keys

    def _text(self, choice: _Choice, index: int, text: str, logprobs: Any, events: list[ev.Event]) -> None:
        if choice.content is None:
            self._end_reasoning(choice, events)
            choice.content = self._block(events, "text", index)
        events.append(ev.TextDelta(choice.content, text, logprobs))

    def _reasoning(self, choice: _Choice, index: int, text: str, events: list[ev.Event]) -> None:
        if not text:
            return
        if choice.reasoning is None:
            choice.reasoning = self._block(events, "reasoning", index)
        events.append(ev.TextDelta(choice.reasoning, text))

    def _end_reasoning(self, choice: _Choice, events: list[ev.Event]) -> None:
        if choice.reasoning is not None:
            self._end(choice.reasoning, events)
            choice.reasoning = None

    def _end(self, key: int, events: list[ev.Event]) -> None:
        self._open.remove(key)
        events.append(ev.BlockEnd(key))

    def _content_parts(self, choice: _Choice, index: int, parts: list[Any], events: list[ev.Event]) -> None:
        """Content as a list: text, Mistral's ``thinking`` parts."""
        for part in parts:
            if not isinstance(part, dict):
                continue
            if part.get("type") in ("thinking", "reasoning"):
                inner = part.get("thinking", part.get("reasoning", part.get("text")))
                text = "".join(_reasoning_text(piece) for piece in inner) if isinstance(inner, list) else inner
                self._reasoning(choice, index, text if isinstance(text, str) else "", events)
            elif isinstance(part.get("text"), str) and part["text"]:
                self._text(choice, index, part["text"], None, events)
            elif part.get("type") == "tool_calls" and isinstance(part.get("tool_calls"), list):
                for at, call in enumerate(part["tool_calls"]):
                    if isinstance(call, dict):
                        self._tool_call(choice, index, call, at, events)

    def _image(self, index: int, image: Any, events: list[ev.Event]) -> None:
        value = image.get("image_url") if isinstance(image, dict) else None
        url = value.get("url") if isinstance(value, dict) else value
        if not isinstance(url, str) or not url:
            return
        source = source_from_url(url)
        key = self._block(events, "image", index)
        self._open.remove(key)
        media_type = source.media_type or ("image/png" if source.data else None)
        events.append(ev.BlockEnd(key, media_type=media_type, data=source.data, url=source.url))

    def _audio(self, choice: _Choice, index: int, audio: Object, events: list[ev.Event]) -> None:
        if choice.audio is None:
            choice.audio = self._block(events, "audio", index, native_id=_text(audio.get("id")))
        if isinstance(audio.get("transcript"), str) and audio["transcript"]:
            events.append(ev.TextDelta(choice.audio, audio["transcript"]))
        if isinstance(audio.get("data"), str) and audio["data"]:
            events.append(ev.DataDelta(choice.audio, audio["data"]))

    # -- tool calls ----------------------------------------------------------------------------------------

    def _tool_call(self, choice: _Choice, index: int, raw: Object, at: int, events: list[ev.Event]) -> None:
        custom = raw.get("custom") if isinstance(raw.get("custom"), dict) else None
        function = custom or (raw.get("function") if isinstance(raw.get("function"), dict) else {})
        assert isinstance(function, dict)
        call_id, name = _text(raw.get("id")), _text(function.get("name"))
        slot = raw.get("index") if isinstance(raw.get("index"), int | str) else None
        call = self._find(choice, slot, call_id, name)
        if call is None:
            call = self._open_call(choice, index, slot, at, call_id, name, custom is not None, events)
        else:
            self._learn(call, call_id, name, events)
        choice.last = call
        arguments = function.get("input") if custom else function.get("arguments")
        if arguments is None or arguments == "":
            return
        text = str(arguments) if custom else arguments_text(arguments)
        if call.wrapped:
            call.buffer.append(text)
        else:
            events.append(ev.ArgumentsDelta(call.key, text))

    def _find(self, choice: _Choice, index: int | str | None, call_id: str | None, name: str | None) -> _Call | None:
        """The call a fragment belongs to. Same index and another id is another call; without index the id decides."""
        if index is None:
            if call_id is not None:
                return choice.calls.get(("id", call_id))
            return choice.last if not name or choice.last is None or choice.last.name in (None, name) else None
        call = choice.calls.get(index)
        if call is not None and call_id and call.call_id and call.call_id != call_id:
            return choice.calls.get(("id", call_id))
        return call

    def _open_call(
        self,
        choice: _Choice,
        index: int,
        slot: int | str | None,
        at: int,
        call_id: str | None,
        name: str | None,
        custom: bool,
        events: list[ev.Event],
    ) -> _Call:
        self._end_reasoning(choice, events)
        identity = self._context.tool(name) if name else None
        key = self._block(
            events,
            "tool_call",
            index,
            call_id=call_id,
            name=identity.name if identity else None,
            namespace=identity.namespace if identity else None,
            tool_type="custom" if custom or (identity and identity.wrapped) else "function",
        )
        call = _Call(key, call_id, name)
        call.wrapped = bool(identity and identity.wrapped and not custom)
        if slot is not None and slot not in choice.calls:
            choice.calls[slot] = call
        if call_id is not None:
            choice.calls[("id", call_id)] = call
        if slot is None and call_id is None:
            choice.calls[("at", len(choice.calls), at)] = call
        return call

    def _learn(self, call: _Call, call_id: str | None, name: str | None, events: list[ev.Event]) -> None:
        new_id = call_id if call.call_id is None else None
        new_name = name if call.name is None else None
        if new_id is None and new_name is None:
            return
        call.call_id = call.call_id or new_id
        call.name = call.name or new_name
        shown = self._context.tool(new_name).name if new_name else None
        events.append(ev.ToolCallInfo(call.key, new_id, shown))

    def _annotations(self, choice: _Choice, index: int, raw: Any, events: list[ev.Event]) -> None:
        for annotation in raw if isinstance(raw, list) else ():
            inner = annotation.get("url_citation") if isinstance(annotation, dict) else None
            if not isinstance(inner, dict):
                continue
            if choice.content is None:
                choice.content = self._block(events, "text", index)
            events.append(
                ev.CitationDelta(
                    choice.content,
                    ev.Citation(
                        url=_text(inner.get("url")),
                        title=_text(inner.get("title")),
                        start=inner.get("start_index") if isinstance(inner.get("start_index"), int) else None,
                        end=inner.get("end_index") if isinstance(inner.get("end_index"), int) else None,
                        raw=annotation,
                        format="openai",
                    ),
                )
            )

    def _read_sources(self, chunk: Object) -> None:
        """Perplexity's list of sources, cumulative in every chunk."""
        results = chunk.get("search_results")
        if isinstance(results, list) and results:
            self._citations = [
                ev.Citation(url=_text(r.get("url")), title=_text(r.get("title")))
                for r in results
                if isinstance(r, dict)
            ]
        elif isinstance(chunk.get("citations"), list):
            self._citations = [ev.Citation(url=url) for url in chunk["citations"] if isinstance(url, str)]

    # -- the end -------------------------------------------------------------------------------------------

    def _finish_all(self, *, done: bool) -> list[ev.Event]:
        self._closed = True
        finished = any(choice.finish for choice in self._choices.values())
        if not done and not finished:
            return [ev.Failure(self._doubt or self._cut_off())]
        if not self._said and not finished:
            return [ev.Failure(_empty())]
        events: list[ev.Event] = []
        if not self._started:
            self._start({}, events)
        for choice in self._choices.values():
            if choice.content is not None:
                events += [ev.CitationDelta(choice.content, citation) for citation in self._citations]
            for call in {id(call): call for call in choice.calls.values()}.values():
                self._end_call(call, events)
        events += [ev.BlockEnd(key) for key in self._open]
        for index, choice in sorted(self._choices.items()):
            native = choice.finish or ("tool_calls" if choice.calls else "stop")
            reason = decode_finish(native)
            if reason == "stop" and choice.refusal is not None and choice.content is None and not choice.calls:
                reason = "refusal"
            events.append(ev.Finish(reason, index, native=native))
        events.append(ev.End())
        return events

    def _end_call(self, call: _Call, events: list[ev.Event]) -> None:
        if call.key not in self._open:
            return
        self._open.remove(call.key)
        if not call.wrapped:
            events.append(ev.BlockEnd(call.key))
            return
        text = "".join(call.buffer)
        unwrapped = unwrap_input(text)
        events.append(ev.ArgumentsDelta(call.key, unwrapped))
        events.append(ev.BlockEnd(call.key))

    def _cut_off(self) -> ErrorInfo:
        if not self._said:
            return _empty()
        message = "the upstream closed the stream before it was complete"
        return ErrorInfo(502, message, type="server_error", code="stream_cut_off")


def _empty() -> ErrorInfo:
    return ErrorInfo(502, "the upstream's stream is empty", type="server_error", code="empty_stream")


def unwrap_input(arguments: str) -> str:
    """The free-form input in ``{"input": "..."}``; the text itself when it is not of that shape."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    if isinstance(parsed, dict) and isinstance(parsed.get("input"), str):
        return str(parsed["input"])
    return arguments


def _outranked(known: str | None, new: str) -> bool:
    """``tool_calls`` and ``length`` are not overwritten by a later ``stop``."""
    ranks = {"tool_calls": 2, "function_call": 2, "length": 1}
    return known is not None and ranks.get(known, 0) > ranks.get(new, 0)


def _reasoning_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        text = value.get("text", value.get("summary", ""))
        return text if isinstance(text, str) else ""
    if isinstance(value, list):
        return "".join(_reasoning_text(piece) for piece in value)
    return ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def decode_reply(body: Object, context: ReplyContext) -> list[ev.Event]:
    """Events of a whole answer."""
    error = hidden_error(body)
    if error is not None:
        return [ev.Failure(error)]
    decoder = ChatStreamDecoder(context)
    events = decoder.chunk(body)
    if not body.get("choices"):
        return [*events, ev.Failure(no_answer())]
    if body.get("object") == CHUNK:
        return events + decoder.close()
    return events + decoder.feed(SseFrame(b"[DONE]"))
