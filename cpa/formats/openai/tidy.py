"""Put chunks and messages of OpenAI-compatible providers in the shape OpenAI's own SDK can add up.

The SDK concatenates every string member of the deltas of one call or choice and takes an index for a position in a
list: a repeated ``role`` becomes ``assistantassistant``, a gap in the indices an exception. What is in order already
is returned as it is, the same object.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from cpa.formats.codec import NewId
from cpa.formats.openai.tools import arguments_text

Object = dict[str, Any]


class _Call(Struct):
    """A call of one choice; ``index`` once the client has been shown it."""

    call_id: str | None = None
    name: str | None = None
    index: int | None = None
    has_arguments: bool = False
    custom: bool = False
    held: list[str] = field(default_factory=list)
    """Arguments that came before both the id and the name were known."""


class _Choice(Struct):
    calls: dict[Any, _Call] = field(default_factory=dict)
    last: _Call | None = None
    shown: int = 0
    role: bool = False
    finished: bool = False


class ChunkTidier:
    """The choices of one stream."""

    def __init__(self, new_id: NewId, *, functions: bool = False) -> None:
        """``functions``: the client declared legacy ``functions`` and expects a ``function_call``."""
        self._new_id = new_id
        self._functions = functions
        self._choices: dict[int, _Choice] = {}

    def tidy(self, chunk: Object) -> Object:
        """The chunk with its choices in order; the same object when they were."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return chunk
        tidied = [
            self._tidy_choice(choice, position) if isinstance(choice, dict) else choice
            for position, choice in enumerate(choices)
        ]
        return chunk if all(a is b for a, b in zip(tidied, choices, strict=True)) else {**chunk, "choices": tidied}

    def missing_finishes(self) -> list[Object]:
        """Choices that close those the upstream began and did not finish, although it said it was done."""
        return [
            {
                "index": index,
                "delta": self._rest(choice) or {},
                "finish_reason": "tool_calls" if choice.shown else "stop",
            }
            for index, choice in self._choices.items()
            if not choice.finished
        ]

    def _tidy_choice(self, raw: Object, position: int) -> Object:
        index = raw.get("index")
        choice = self._choices.setdefault(index if isinstance(index, int) else position, _Choice())
        changes: Object = {}
        delta = raw.get("delta")
        if isinstance(delta, dict):
            tidied = self._tidy_delta(choice, delta)
            if tidied is not delta:
                changes["delta"] = tidied
        finish = raw.get("finish_reason")
        if finish == "" or (finish and choice.finished):
            changes["finish_reason"] = None
        elif finish:
            choice.finished = True
            if finish == "function_call" and not self._functions:
                changes["finish_reason"] = "tool_calls"
            rest = self._rest(choice)
            if rest is not None:
                delta = changes.get("delta", delta)
                calls = delta.get("tool_calls") if isinstance(delta, dict) else None
                merged = [*(calls if isinstance(calls, list) else []), *rest["tool_calls"]]
                changes["delta"] = {**(delta if isinstance(delta, dict) else {}), "tool_calls": merged}
        return {**raw, **changes} if changes else raw

    def _tidy_delta(self, choice: _Choice, delta: Object) -> Object:
        tidied = with_reasoning(delta)
        if not self._functions:
            tidied = _with_tool_calls(tidied)
        if "role" in tidied:
            if choice.role:
                tidied = {key: value for key, value in tidied.items() if key != "role"}
            choice.role = True
        calls = tidied.get("tool_calls")
        if isinstance(calls, list) and calls:
            entries = [entry for call in calls if isinstance(call, dict) and (entry := self._tidy_call(choice, call))]
            if not entries:
                tidied = {key: value for key, value in tidied.items() if key != "tool_calls"}
            elif len(entries) != len(calls) or any(a is not b for a, b in zip(entries, calls, strict=True)):
                tidied = {**tidied, "tool_calls": entries}
        return tidied

    def _tidy_call(self, choice: _Choice, raw: Object) -> Object | None:
        member = "custom" if isinstance(raw.get("custom"), dict) else "function"
        function = raw.get(member) if isinstance(raw.get(member), dict) else {}
        assert isinstance(function, dict)
        call_id, name = _word(raw.get("id")), _word(function.get("name"))
        index = raw.get("index") if isinstance(raw.get("index"), int | str) else None
        call = choice.last = self._find(choice, index, call_id, name)
        call.custom = call.custom or member == "custom"
        given = function.get("input" if call.custom else "arguments")
        text = "" if given in (None, "") else arguments_text(given)
        call.has_arguments = call.has_arguments or bool(text)
        new = call.index is None
        call.call_id, call.name = call.call_id or call_id, call.name or name
        if new and not (call.call_id and call.name):
            call.held.append(text)
            return None
        if new:
            plain = raw.get("index") == choice.shown and call_id and name and isinstance(raw.get("type"), str)
            if plain and isinstance(given, str) and not call.held:
                call.index, choice.shown = choice.shown, choice.shown + 1
                return raw
            return self._show(choice, call, text)
        if raw.get("index") == call.index and not call_id and not name and (given is None or isinstance(given, str)):
            return raw
        return {"index": call.index, member: {"input" if call.custom else "arguments": text}} if text else None

    @staticmethod
    def _find(choice: _Choice, index: int | str | None, call_id: str | None, name: str | None) -> _Call:
        """The call a fragment belongs to: another id on the same index is another call, without index the id tells."""
        call: _Call | None
        if index is None:
            call = choice.calls.get(("id", call_id)) if call_id else choice.last
            if call is not None and not call_id and name and call.name not in (None, name):
                call = None
        else:
            call = choice.calls.get(index)
            if call is not None and call_id and call.call_id not in (None, call_id):
                call = choice.calls.get(("id", call_id))
        if call is None:
            call = _Call()
            choice.calls.setdefault(index if index is not None else ("at", len(choice.calls)), call)
        if call_id:
            choice.calls[("id", call_id)] = call
        return call

    @staticmethod
    def _show(choice: _Choice, call: _Call, text: str) -> Object:
        """The first delta of a call, with all that was held back."""
        call.index, choice.shown = choice.shown, choice.shown + 1
        arguments = "".join([*call.held, text])
        call.held = []
        kind, member = ("custom", "input") if call.custom else ("function", "arguments")
        return {"index": call.index, "id": call.call_id, "type": kind, kind: {"name": call.name, member: arguments}}

    def _rest(self, choice: _Choice) -> Object | None:
        """What calls lack when the choice ends: an id nobody gave, arguments where there are none."""
        entries = []
        for call in {id(call): call for call in choice.calls.values()}.values():
            if call.index is None and call.name:
                call.call_id = call.call_id or self._new_id("call_")
                call.has_arguments = call.has_arguments or call.custom
                entries.append(self._show(choice, call, "" if call.has_arguments else "{}"))
            elif call.index is not None and not call.has_arguments and not call.custom:
                entries.append({"index": call.index, "function": {"arguments": "{}"}})
        choice.calls = {}
        return {"tool_calls": entries} if entries else None


_PLAIN = frozenset(("role", "content", "refusal", "annotations", "audio"))
"""Members of a message that need no tidying."""


def tidy_message(message: Object, new_id: NewId, *, functions: bool = False) -> Object:
    """A whole message with readable content and whole calls; the same object when it was in order."""
    if _PLAIN.issuperset(message) and not isinstance(message.get("content"), list):
        return message
    tidied = with_reasoning(message)
    if not functions:
        tidied = _with_tool_calls(tidied)
    calls = tidied.get("tool_calls")
    if isinstance(calls, list) and calls:
        entries = [_tidy_whole_call(call, new_id) if isinstance(call, dict) else call for call in calls]
        if any(a is not b for a, b in zip(entries, calls, strict=True)):
            tidied = {**tidied, "tool_calls": entries}
    return tidied


def _tidy_whole_call(raw: Object, new_id: NewId) -> Object:
    changes: Object = {} if _word(raw.get("id")) else {"id": new_id("call_")}
    function = raw.get("function")
    if isinstance(function, dict):
        given = function.get("arguments")
        if not isinstance(given, str) or not given:
            changes["function"] = {**function, "arguments": arguments_text(given) if given else "{}"}
        if not isinstance(raw.get("type"), str):
            changes["type"] = "function"
    return {**raw, **changes} if changes else raw


def _with_tool_calls(delta: Object) -> Object:
    """A legacy call as a tool call, for a client that declared tools."""
    legacy = delta.get("function_call")
    if not isinstance(legacy, dict):
        return delta
    rest = {key: value for key, value in delta.items() if key != "function_call"}
    return {**rest, "tool_calls": [{"index": 0, "type": "function", "function": legacy}]}


def with_reasoning(delta: Object) -> Object:
    """Reasoning under the name most clients know and content as text, whatever the provider calls and nests them."""
    changes: Object = {}
    content = delta.get("content")
    thoughts: list[str] = []
    if isinstance(content, list):
        texts = []
        for part in content:
            if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
                thoughts.append(_text(part.get("thinking", part.get("reasoning", part.get("text")))))
            elif isinstance(part, dict) and part.get("type") in ("text", None):
                texts.append(_text(part.get("text")))
            else:
                return delta
        changes["content"] = "".join(texts)
    known = delta.get("reasoning_content")
    if known is not None and not isinstance(known, str):
        changes["reasoning_content"] = _text(known)
    elif not known:
        text = "".join(thoughts) or _text(delta.get("reasoning")) or _text(delta.get("reasoning_details"))
        if text:
            changes["reasoning_content"] = text
    return {**delta, **changes} if changes else delta


def _text(value: Any) -> str:
    """Text that may stand in lists and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(inner) for inner in value)
    if isinstance(value, dict):
        return _text(value.get("text", value.get("summary")))
    return ""


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
