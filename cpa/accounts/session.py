"""Which session a request belongs to, so that its account and the provider's prompt cache can be kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

_CLAUDE_SESSION = re.compile(r"_session_([0-9a-fA-F-]+)$")
_HEADERS = (
    ("X-Session-ID", "header"),
    ("Session_id", "codex"),
    ("Session-Id", "codex"),
    ("X-Amp-Thread-Id", "amp"),
    ("X-Client-Request-Id", "clientreq"),
)
_HASHED_BYTES = 100
LONGEST = 128
"""Characters of an id; of a longer one, as clients may write them, its hash is taken."""


def session_ids(headers: Mapping[str, str], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the session, the best first; a second one names the session as its first turn saw it. Maybe empty."""
    return tuple([found if len(found) <= LONGEST else _hashed(found) for found in _session_ids(headers, body)])


def _session_ids(headers: Mapping[str, str], body: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = body.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if isinstance(user_id, str) and (claude := _claude_session(user_id)):
        return (f"claude:{claude}",)
    for header, label in _HEADERS:
        if value := headers.get(header, "").strip():
            return (f"{label}:{value}",)
    if isinstance(user_id, str) and user_id:
        return (f"user:{user_id}",)
    if isinstance(conversation := body.get("conversation_id"), str) and conversation:
        return (f"conv:{conversation}",)
    return _message_hashes(*_first_texts(body))


def _claude_session(user_id: str) -> str | None:
    if found := _CLAUDE_SESSION.search(user_id):
        return found[1]
    if user_id.startswith("{"):
        try:
            session = orjson.loads(user_id).get("session_id")
        except (orjson.JSONDecodeError, AttributeError):
            return None
        return session if isinstance(session, str) and session else None
    return None


def _hashed(session: str) -> str:
    return blake2b(session.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _message_hashes(system: str, user: str, assistant: str) -> tuple[str, ...]:
    if not system and not user:
        return ()
    first_turn = f"msg:{_fnv1a(_hash_input(system, user, '')):016x}"
    if not assistant:
        return (first_turn,)
    return (f"msg:{_fnv1a(_hash_input(system, user, assistant)):016x}", first_turn)


def _hash_input(system: str, user: str, assistant: str) -> bytes:
    pieces = ((b"sys:", system), (b"usr:", user), (b"ast:", assistant))
    return b"".join(label + text.encode()[:_HASHED_BYTES] + b"\n" for label, text in pieces if text)


def _fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _first_texts(body: Mapping[str, Any]) -> tuple[str, str, str]:
    """First system, user and assistant text of a body of any format."""
    found = {"system": "", "user": "", "assistant": ""}
    found["system"] = (
        _text(body.get("system"), first_only=True)
        or _text(body.get("instructions"))
        or _text(_parts(body.get("systemInstruction") or body.get("system_instruction")))
    )
    for key in ("messages", "input", "contents"):
        items = body.get(key)
        if isinstance(items, str):
            found["user"] = found["user"] or items
        for item in items if isinstance(items, list) else ():
            if not isinstance(item, dict):
                continue
            role = {"developer": "system", "model": "assistant"}.get(str(item.get("role")), item.get("role"))
            if role in found and not found[role]:
                found[role] = _text(item.get("content") if "content" in item else _parts(item))
            if all(found.values()):
                break
    return found["system"], found["user"], found["assistant"]


def _parts(value: Any) -> Any:
    return value.get("parts") if isinstance(value, dict) else None


def _text(value: Any, *, first_only: bool = False) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    texts = [
        part["text"]
        for part in value
        if isinstance(part, dict)
        and isinstance(part.get("text"), str)
        and part.get("type", "text") in ("text", "input_text", "output_text")
    ]
    return (texts[0] if texts else "") if first_only else " ".join(texts)
