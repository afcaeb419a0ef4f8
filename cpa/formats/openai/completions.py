"""The legacy ``/v1/completions`` route as a thin adapter over Chat Completions.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from typing import Any

import orjson

from cpa.errors import InvalidRequest
from cpa.formats.sse import Framing

Object = dict[str, Any]

_COPIED = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "n",
    "seed",
    "user",
    "top_logprobs",
    "logit_bias",
    "echo",
]
EMPTY_PROMPT = "Complete this:"


def to_chat_request(body: Object) -> Object:
    """The chat body for a completions body. Raises InvalidRequest for token arrays."""
    chat: Object = {name: body[name] for name in _COPIED if name in body}
    chat["messages"] = [{"role": "user", "content": _prompt(body.get("prompt"))}]
    logprobs = body.get("logprobs")
    if isinstance(logprobs, bool):
        chat["logprobs"] = logprobs
    elif isinstance(logprobs, int):
        chat["logprobs"] = True
        chat.setdefault("top_logprobs", logprobs)
    return chat


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list):
        if any(not isinstance(piece, str) for piece in prompt):
            raise InvalidRequest("prompt must be a string or a list of strings", param="prompt")
        prompt = "\n".join(prompt)
    if prompt is None or prompt == "":
        return EMPTY_PROMPT
    if not isinstance(prompt, str):
        raise InvalidRequest("prompt must be a string or a list of strings", param="prompt")
    return prompt


def from_chat_reply(body: Object) -> Object:
    """The ``text_completion`` object for a chat answer."""
    choices = body.get("choices")
    answer: Object = {
        "id": body.get("id"),
        "object": "text_completion",
        "created": body.get("created"),
        "model": body.get("model"),
        "choices": [
            _choice(choice, "message")
            for choice in (choices if isinstance(choices, list) else ())
            if isinstance(choice, dict)
        ],
    }
    if body.get("usage") is not None:
        answer["usage"] = body["usage"]
    return answer


def _choice(choice: Object, member: str) -> Object:
    message = choice.get(member)
    content = message.get("content") if isinstance(message, dict) else None
    finish = choice.get("finish_reason")
    return {
        "index": choice.get("index", 0),
        "text": content if isinstance(content, str) else "",
        "logprobs": choice.get("logprobs"),
        "finish_reason": "stop" if finish == "tool_calls" else finish or None,
    }


class CompletionsFraming:
    """Turns chat chunks into completion chunks on their way out; chunks that say nothing are dropped."""

    content_type = "text/event-stream"

    def __init__(self, inner: Framing) -> None:
        self.inner = inner
        """Frames chat chunks."""

    def frame(self, event: str | None, data: bytes) -> bytes:
        """One chunk."""
        chunk: Any = orjson.loads(data)
        if not isinstance(chunk, dict) or "error" in chunk:
            return self.inner.frame(event, data)
        choices = [_choice(choice, "delta") for choice in chunk.get("choices") or [] if isinstance(choice, dict)]
        if not any(choice["text"] or choice["finish_reason"] for choice in choices) and not chunk.get("usage"):
            return b""
        shown = {**chunk, "object": "text_completion", "choices": choices}
        return self.inner.frame(event, orjson.dumps(shown))

    def end(self) -> bytes:
        """The closing mark."""
        return self.inner.end()

    def abort(self) -> bytes:
        """After an error."""
        return self.inner.abort()

    def keep_alive(self) -> bytes:
        """A comment."""
        return self.inner.keep_alive()
