"""Match tool results to tool calls, once, for every encoder.

Upstreams refuse a call without a result, a result without a call and two results for one call. Clients send all
three (interrupted sessions, missing ids, edited histories).
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from cpa.conversation.parts import Part, ToolCall, ToolResult
from cpa.conversation.request import Turn


class _Slot(Struct):
    """A call that waits for its result. ``turn`` is where the call stands."""

    call: ToolCall
    turn: int
    result: ToolResult | None = None


def pair_tool_calls(
    turns: list[Turn], *, keep_orphan_results: bool = False, first_result_wins: bool = False
) -> list[Turn]:
    """The same dialogue in which every call has an id and exactly one result, in the user turn that follows it.

    - a call without id gets one derived from its place, name and arguments (stable over requests);
    - a result without id belongs to the first unanswered call of its name, else to the first unanswered call;
    - a second result for a call replaces the content of the first, at the first place (or, with
      ``first_result_wins``, is dropped);
    - a result no call asked for is dropped, unless ``keep_orphan_results`` (the call lives on the server);
    - a call that stays unanswered although the dialogue went on gets an empty result; calls of the last turn
      stay open.

    Results of one assistant turn end up together, in call order, at the head of the next user turn.
    The input is not changed.
    """
    identified = [_with_ids(turn, index) for index, turn in enumerate(turns)]
    calls = _Calls()
    orphans: dict[int, list[Part]] = {}
    for index, turn in enumerate(identified):
        for part in turn.parts:
            if isinstance(part, ToolCall):
                calls.add(_Slot(part, index))
            elif isinstance(part, ToolResult) and not _answer(calls, part, first_result_wins) and keep_orphan_results:
                orphans.setdefault(index, []).append(part)
    return _rebuild(identified, calls.all, orphans)


def _with_ids(turn: Turn, index: int) -> Turn:
    parts = [
        replace(part, call_id=_derived_id(index, position, part))
        if isinstance(part, ToolCall) and not part.call_id
        else part
        for position, part in enumerate(turn.parts)
    ]
    return replace(turn, parts=parts)


def _derived_id(turn: int, position: int, call: ToolCall) -> str:
    seed = f"call|{turn}|{position}|{call.name}|{call.arguments}"
    return "call_" + sha256(seed.encode()).hexdigest()[:24]


_Place = tuple[str, str | None]
_ANY: _Place = ("any", None)


class _Calls:
    """The calls of a dialogue so far: found at once, however many there are."""

    def __init__(self) -> None:
        self.all: list[_Slot] = []
        self._last: dict[str, _Slot] = {}
        """By id."""
        self._waiting: dict[_Place, deque[_Slot]] = {}
        """Those that may still be unanswered, by id, by name, and all."""

    def add(self, slot: _Slot) -> None:
        """The next call."""
        call = slot.call
        self.all.append(slot)
        self._last[call.call_id or ""] = slot
        for place in (("id", call.call_id), ("name", call.name), _ANY):
            self._waiting.setdefault(place, deque()).append(slot)

    def answered_by(self, result: ToolResult) -> _Slot | None:
        """The call a result belongs to; None when there is none."""
        if result.call_id:
            return self._first(("id", result.call_id)) or self._last.get(result.call_id)
        return self._first(("name", result.name)) or self._first(_ANY)

    def _first(self, place: _Place) -> _Slot | None:
        """The first unanswered one."""
        waiting = self._waiting.get(place)
        while waiting and waiting[0].result is not None:
            waiting.popleft()
        return waiting[0] if waiting else None


def _answer(calls: _Calls, result: ToolResult, first_wins: bool) -> bool:
    """Give ``result`` to the call it belongs to; False when there is none."""
    slot = calls.answered_by(result)
    if slot is None:
        return False
    if first_wins and slot.result is not None:
        return True
    slot.result = replace(result, call_id=slot.call.call_id, name=slot.call.name)
    return True


def _rebuild(turns: list[Turn], slots: list[_Slot], orphans: dict[int, list[Part]]) -> list[Turn]:
    by_turn: dict[int, list[_Slot]] = {}
    for slot in slots:
        by_turn.setdefault(slot.turn, []).append(slot)
    rebuilt: list[Turn] = []
    pending: list[_Slot] = []
    for index, turn in enumerate(turns):
        rest: list[Part] = [part for part in turn.parts if not isinstance(part, ToolResult)]
        rest = orphans.get(index, []) + rest
        if turn.role == "user":
            head: list[Part] = [_result_of(slot) for slot in pending]
            pending = []
            if head or rest:
                rebuilt.append(replace(turn, parts=head + rest))
            continue
        if pending and rest and index not in by_turn:
            rebuilt.append(Turn("user", [_result_of(slot) for slot in pending]))
            pending = []
        if rest:
            rebuilt.append(replace(turn, parts=rest))
        pending.extend(by_turn.get(index, []))
    if any(slot.result is not None for slot in pending):
        rebuilt.append(Turn("user", [_result_of(slot) for slot in pending]))
    return rebuilt


def _result_of(slot: _Slot) -> ToolResult:
    if slot.result is not None:
        return slot.result
    return ToolResult(call_id=slot.call.call_id, name=slot.call.name, kind=slot.call.kind)
