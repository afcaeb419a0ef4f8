"""The vendors' own clients as referees: they read bytes that a codec wrote, over no network."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import types as genai_types

_SAID = [{"role": "user", "content": "x"}]


class _Wire(httpx2.BaseTransport):
    """Answers every request with the bytes at hand."""

    def __init__(self) -> None:
        self.body = b""
        self.content_type = "text/event-stream"

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": self.content_type}, content=self.body)


class Referees:
    """One client of each vendor, for streams and for whole answers."""

    def __init__(self) -> None:
        self._wire = _Wire()
        http = httpx2.Client(transport=self._wire)
        self._openai: Any = openai.OpenAI(api_key="k", base_url="http://wire/v1", http_client=http, max_retries=0)
        self._anthropic: Any = anthropic.Anthropic(api_key="k", base_url="http://wire", http_client=http, max_retries=0)
        options = genai_types.HttpOptions(base_url="http://wire", httpx_client=http)
        self._genai: Any = genai.Client(api_key="k", http_options=options)

    def stream(self, name: str, body: bytes) -> Any:
        """What the client made of a stream: the message, response or list of chunks it put together."""
        self._wire.body, self._wire.content_type = body, "text/event-stream"
        return getattr(self, f"_{name.replace('-', '_')}_stream")()

    def whole(self, name: str, body: bytes) -> Any:
        """What the client made of a whole answer."""
        self._wire.body, self._wire.content_type = body, "application/json"
        match name:
            case "openai":
                return self._openai.chat.completions.create(model="m", messages=_SAID)
            case "openai-response":
                return self._openai.responses.create(model="m", input="x")
            case "claude":
                return self._anthropic.messages.create(model="m", messages=_SAID, max_tokens=9)
        return self._genai.models.generate_content(model="m", contents="x")

    def _openai_stream(self) -> Any:
        with self._openai.chat.completions.stream(model="m", messages=_SAID) as stream:
            stream.until_done()
            return stream.current_completion_snapshot

    def _openai_response_stream(self) -> Any:
        with self._openai.responses.stream(model="m", input="x") as stream:
            for event in stream:
                last = event
        return last.response

    def _claude_stream(self) -> Any:
        with self._anthropic.messages.stream(model="m", messages=_SAID, max_tokens=9) as stream:
            return stream.get_final_message()

    def _gemini_stream(self) -> Any:
        return list(self._genai.models.generate_content_stream(model="m", contents="x"))
