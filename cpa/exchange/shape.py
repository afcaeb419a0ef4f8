"""Shape a client's request for one upstream: natively when both speak one family, else through the conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from cpa.accounts.account import Account
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.conversation.effort import ResolvedReasoning, parse_suffix, resolve
from cpa.conversation.names import NameMap
from cpa.conversation.request import Conversation, Reasoning
from cpa.exchange.call import Call
from cpa.exchange.resolve import Resolution
from cpa.exchange.verbatim import serialise
from cpa.formats.codec import Codec, EncodedRequest, JsonObject, Target
from cpa.formats.registry import FormatRegistry
from cpa.plugins.provider import Provider, UpstreamRequest


class Shaped(Struct):
    """A request ready to be sent, and what is needed to read its answer."""

    request: UpstreamRequest
    content: bytes
    """The body as it goes on the wire."""
    names: NameMap
    native: bool
    client: Codec
    upstream: Codec
    target: Target


class Shaper:
    """Shapes one exchange for any number of attempts; decodes the client's body at most once."""

    def __init__(
        self,
        formats: FormatRegistry,
        edit_upstream: Callable[..., Any] | None,
        call: Call,
        body: JsonObject,
        resolution: Resolution,
        config: Config,
    ) -> None:
        self._formats = formats
        self._edit_upstream = edit_upstream
        self._call = call
        self._body = body
        """The client's body after request hooks."""
        self._resolution = resolution
        self._config = config
        self._client = formats[call.format]
        self._conversation: Conversation | None = None
        self._reasoning: Reasoning | None = None
        self._suffix = resolution.suffix

    def shape(self, provider: Provider, account: Account, model: Model) -> Shaped:
        """The request for one account and model. Raises InvalidRequest when it cannot be expressed."""
        call = self._call
        self._suffix = parse_suffix(model.suffix) if model.suffix else self._resolution.suffix
        upstream = self._formats[provider.format_for(account, call.operation, call.format)]
        native = upstream.family == self._client.family
        folded = upstream.stream_only or (upstream.prefers_stream and not native)
        target = Target(
            model=model.upstream or model.id,
            format=upstream.name,
            stream=call.stream or (folded and call.operation in ("generate", "images")),
            operation=call.operation,
            limits=model.limits(),
            client_format=call.format,
            quirks=provider.quirks(account),
        )
        encoded = self._encode(self._body, upstream, target, native)
        request = self._request(account, target, encoded)
        if not native:
            request.conversation = self._conversation
        provider.shape(request)
        if self._edit_upstream is not None:
            body = request.body
            self._edit_upstream(request=request, original=lambda: self._original(upstream, target, native))
            request.edited = request.body is not body
        provider.prepare(request)
        return Shaped(
            request=request,
            content=serialise(request.body, call.body, call.raw if native else b""),
            names=encoded.names,
            native=native,
            client=self._client,
            upstream=upstream,
            target=target,
        )

    def _request(self, account: Account, target: Target, encoded: EncodedRequest) -> UpstreamRequest:
        call = self._call
        return UpstreamRequest(
            account=account,
            model=target.model,
            body=encoded.body,
            operation=target.operation,
            stream=target.stream,
            client_format=call.format,
            upstream_format=target.format,
            client_headers=call.headers,
            requested_model=self._resolution.requested,
            client_key_id=call.client.id if call.client is not None else "",
            request_id=call.request_id,
            path=call.path,
            headers=dict(encoded.headers),
            config=self._config,
        )

    def _encode(self, body: JsonObject, upstream: Codec, target: Target, native: bool) -> EncodedRequest:
        reasoning = self._resolve_reasoning(target)
        if native:
            return upstream.adapt_native(body, target, reasoning)
        conversation = self._decoded(body)
        if target.operation == "count":
            return EncodedRequest(upstream.encode_count_request(conversation, target))
        return upstream.encode_request(conversation, target, reasoning)

    def _decoded(self, body: JsonObject) -> Conversation:
        if body is not self._body:
            return self._client.decode_request(body, model=self._call.model, stream=self._call.stream)
        if self._conversation is None:
            self._conversation = self._client.decode_request(body, model=self._call.model, stream=self._call.stream)
        return self._conversation

    def _resolve_reasoning(self, target: Target) -> ResolvedReasoning:
        if self._reasoning is None:
            self._reasoning = self._client.read_reasoning(self._body)
            if self._body is self._call.body:
                self._call.reasoning = self._reasoning
        return resolve(
            self._reasoning,
            self._suffix,
            target.limits,
            client_format=self._call.format,
            upstream_format=target.format,
        )

    def _original(self, upstream: Codec, target: Target, native: bool) -> JsonObject:
        """The upstream body as it would be without the edits of request hooks."""
        return self._encode(self._call.body, upstream, target, native).body
