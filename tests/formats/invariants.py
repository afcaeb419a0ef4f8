"""What every stream of a format keeps to, checked on its bytes alone by a reader that shares no code with cpa."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

Object = dict[str, Any]

CHAT_FINISHES = {"stop", "length", "tool_calls", "content_filter"}
CLAUDE_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
}
CLAUDE_STOPS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
}


def frames(data: bytes) -> list[tuple[str | None, bytes]]:
    """(event name, data) of each event; every one ends with one blank line and has one line of data."""
    assert data.decode("utf-8")
    assert data.endswith(b"\n\n")
    read: list[tuple[str | None, bytes]] = []
    for block in data[:-2].split(b"\n\n"):
        *names, line = block.split(b"\n")
        assert line.startswith(b"data: ")
        assert len(names) <= 1
        assert all(name.startswith(b"event: ") for name in names)
        read.append((names[0][7:].decode() if names else None, line[6:]))
    return read


def _named(data: bytes) -> list[Object]:
    events = []
    for name, payload in frames(data):
        event = orjson.loads(payload)
        assert name == event["type"]
        events.append(event)
    return events


def check_openai(data: bytes) -> list[Object]:
    """Chat Completions. Returns the chunks."""
    read = frames(data)
    assert all(name is None for name, _ in read)
    assert read[-1][1] == b"[DONE]"
    chunks: list[Object] = [orjson.loads(payload) for _, payload in read[:-1]]
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    seen: dict[int, list[Object]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            seen.setdefault(choice["index"], []).append(choice)
    assert sorted(seen) == list(range(len(seen)))
    for deltas in seen.values():
        _check_choice(deltas)
    reporting = [chunk for chunk in chunks if chunk.get("usage")]
    assert reporting in ([], [chunks[-1]])
    assert all(chunk["choices"] for chunk in chunks[:-1])
    if not chunks[-1]["choices"]:
        assert reporting
    return chunks


def _check_choice(deltas: list[Object]) -> None:
    assert deltas[0]["delta"]["role"] == "assistant"
    assert not any("role" in delta["delta"] for delta in deltas[1:])
    assert not any(value is None for delta in deltas for value in delta["delta"].values())
    assert [delta["finish_reason"] for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1]["delta"] == {}
    called: dict[int, str] = {}
    ids: list[str] = []
    for delta in deltas:
        for call in delta["delta"].get("tool_calls", ()):
            if call["index"] not in called:
                assert call["index"] == len(called)
                assert call["id"]
                assert call["type"] == "function"
                assert call["function"]["name"]
                ids.append(call["id"])
            else:
                assert not {"id", "type"} & set(call)
                assert "name" not in call["function"]
            called[call["index"]] = called.get(call["index"], "") + call["function"]["arguments"]
    assert len(set(ids)) == len(ids)
    finish = deltas[-1]["finish_reason"]
    assert finish in CHAT_FINISHES
    assert bool(called) or finish != "tool_calls"
    assert not called or finish != "stop"
    if finish == "tool_calls":
        for arguments in called.values():
            orjson.loads(arguments)


def check_claude(data: bytes) -> list[Object]:
    """Messages. Returns the events."""
    events = [event for event in _named(data) if event["type"] != "ping"]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert [kinds.count(kind) for kind in ("message_start", "message_delta", "message_stop")] == [1, 1, 1]
    message = events[0]["message"]
    assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
    assert re.fullmatch("msg_[A-Za-z0-9_-]+", message["id"])
    opened: Object | None = None
    blocks: list[Object] = []
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert opened is None
            assert event["index"] == len(blocks)
            opened = {**event["content_block"], "deltas": []}
            blocks.append(opened)
            continue
        assert opened is not None
        assert event["index"] == len(blocks) - 1
        if event["type"] == "content_block_stop":
            _check_block(opened)
            opened = None
        else:
            assert event["type"] == "content_block_delta"
            assert event["delta"]["type"] in CLAUDE_DELTAS[opened["type"]]
            opened["deltas"].append(event["delta"])
    assert opened is None
    ending = events[-2]
    reason = ending["delta"]["stop_reason"]
    assert reason in CLAUDE_STOPS
    assert isinstance(ending["usage"]["output_tokens"], int)
    assert (ending["delta"]["stop_sequence"] is None) or reason == "stop_sequence"
    _check_claude_calls(blocks, reason)
    return events


def _check_block(block: Object) -> None:
    kinds = [delta["type"] for delta in block["deltas"]]
    if block["type"] == "text":
        assert "".join(delta.get("text", "") for delta in block["deltas"])
    if block["type"] == "thinking":
        assert block["signature"] == ""
        assert kinds.count("signature_delta") <= 1
        assert "signature_delta" not in kinds[:-1]
        assert kinds


def _check_claude_calls(blocks: list[Object], reason: str) -> None:
    uses = [block for block in blocks if block["type"] == "tool_use"]
    ids = [block["id"] for block in uses]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", call_id) for call_id in ids)
    whole = reason not in ("max_tokens", "model_context_window_exceeded")
    for block in uses:
        joined = "".join(delta["partial_json"] for delta in block["deltas"])
        assert block["name"]
        assert block["input"] == {}
        if whole and joined:
            assert isinstance(orjson.loads(joined), dict)
    if reason == "tool_use":
        assert uses
    elif uses:
        assert reason in ("max_tokens", "model_context_window_exceeded", "refusal")
    searches: set[str] = set()
    for block in blocks:
        if block["type"] == "server_tool_use":
            searches.add(block["id"])
        elif block["type"] == "web_search_tool_result":
            assert block["tool_use_id"] in searches


def check_openai_response(data: bytes) -> list[Object]:
    """Responses. Returns the events."""
    events = _named(data)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    terminal = events[-1]
    status = terminal["type"].removeprefix("response.")
    assert status in ("completed", "incomplete")
    shown = [event["response"] for event in (*events[:2], terminal)]
    assert len({(response["id"], response["created_at"], response["model"]) for response in shown}) == 1
    assert [response["status"] for response in shown] == ["in_progress", "in_progress", status]
    assert shown[0]["id"].startswith("resp_")
    response = shown[-1]
    assert response["error"] is None
    assert (response["incomplete_details"] is not None) == (status == "incomplete")
    if response.get("usage"):
        usage = response["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert {"cached_tokens"} <= set(usage["input_tokens_details"])
        assert {"reasoning_tokens"} <= set(usage["output_tokens_details"])
    assert response["output"] == _check_items(events[2:-1])
    return events


def _check_items(events: list[Object]) -> list[Object]:
    """The finished items in order."""
    added: list[Object] = []
    done: dict[int, Object] = {}
    parts: dict[tuple[int, str, int], str] = {}
    closed: set[tuple[int, str, int]] = set()
    for event in events:
        index, kind = event["output_index"], event["type"]
        if kind == "response.output_item.added":
            assert index == len(added)
            added.append(event["item"])
            continue
        assert index < len(added)
        assert index not in done
        if kind == "response.output_item.done":
            done[index] = event["item"]
            assert not [slot for slot in parts if slot[0] == index and slot not in closed]
            for name in ("id", "type", "call_id", "name"):
                assert event["item"].get(name) == added[index].get(name)
            continue
        assert event["item_id"] == added[index]["id"]
        _check_part(event, parts, closed)
    assert sorted(done) == list(range(len(added)))
    ids = [item["id"] for item in done.values()]
    assert len(set(ids)) == len(ids)
    for (index, kind, at), joined in parts.items():
        assert _final_text(done[index], kind, at) == joined
    return [done[index] for index in sorted(done)]


_PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.output_text": ("content", "content_index"),
    "response.refusal": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
    "response.reasoning_summary_text": ("summary", "summary_index"),
    "response.reasoning_text": ("reasoning", "content_index"),
    "response.function_call_arguments": ("arguments", ""),
    "response.custom_tool_call_input": ("input", ""),
}


def _check_part(event: Object, parts: dict[Any, str], closed: set[Any]) -> None:
    stem, _, step = event["type"].rpartition(".")
    if stem == "response.output_text.annotation":
        stem = "response.output_text"
    if stem not in _PARTS:
        return
    kind, counter = _PARTS[stem]
    slot = (event["output_index"], kind, event[counter] if counter else 0)
    assert slot not in closed
    if event["type"].endswith("_part.added"):
        assert slot not in parts
        assert slot[2] == sum(1 for other in parts if other[:2] == slot[:2])
        parts[slot] = ""
    elif event["type"].endswith("_part.done"):
        closed.add(slot)
    elif step == "delta":
        if kind in ("content", "summary"):
            assert slot in parts
        parts[slot] = parts.get(slot, "") + event["delta"]
    elif step == "done":
        final = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
        assert parts.setdefault(slot, "") == final
        if kind in ("arguments", "input", "reasoning"):
            closed.add(slot)


def _final_text(item: Object, kind: str, at: int) -> str:
    if kind in ("arguments", "input"):
        return str(item[kind])
    part = item["content" if kind == "reasoning" else kind][at]
    return str(part["refusal"] if part["type"] == "refusal" else part["text"])


def check_gemini(data: bytes) -> list[Object]:
    """generateContent. Returns the chunks."""
    read = frames(data)
    assert all(name is None for name, _ in read)
    chunks: list[Object] = [orjson.loads(payload) for _, payload in read]
    finished: set[int] = set()
    seen: set[int] = set()
    for chunk in chunks:
        for candidate in chunk["candidates"]:
            assert candidate["index"] not in finished
            assert candidate["content"]["role"] == "model"
            seen.add(candidate["index"])
            for part in candidate["content"]["parts"]:
                if "functionCall" in part:
                    assert part["functionCall"]["name"]
                    assert isinstance(part["functionCall"]["args"], dict)
            if "finishReason" in candidate:
                assert re.fullmatch("[A-Z_]+", candidate["finishReason"])
                finished.add(candidate["index"])
    assert finished == seen
    assert finished
    assert len({(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks}) == 1
    reports = [chunk["usageMetadata"] for chunk in chunks if "usageMetadata" in chunk]
    if reports:
        assert reports[-1] is chunks[-1].get("usageMetadata")
        parts = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
        assert reports[-1]["totalTokenCount"] == sum(reports[-1].get(name, 0) for name in parts)
    assert b"cpaUsageMetadata" not in data
    return chunks


CHECKS: dict[str, Callable[[bytes], list[Object]]] = {
    "openai": check_openai,
    "openai-response": check_openai_response,
    "claude": check_claude,
    "gemini": check_gemini,
}


def errors_in(name: str, data: bytes) -> list[Object]:
    """The errors a stream tells, after checking that nothing follows the first."""
    events = [orjson.loads(payload) for _, payload in frames(data) if payload != b"[DONE]"]
    told = [event for event in events if event.get("error") or event.get("type") in ("error", "response.failed")]
    assert told in ([], [events[-1]])
    if told:
        assert b"[DONE]" not in data
    return told
