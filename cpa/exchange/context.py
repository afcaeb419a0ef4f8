"""What the answer's codecs are told about the request and the moment."""

from __future__ import annotations

import secrets
import time

from cpa.catalog.model import Model
from cpa.exchange.call import Call
from cpa.exchange.resolve import Resolution
from cpa.exchange.shape import Shaped
from cpa.formats.codec import ReplyContext

_CODEX_CLIENTS = ("codex_cli_rs", "codex-tui", "codex desktop", "codex_exec")


def new_id(prefix: str) -> str:
    """``prefix`` and 24 random hexadecimal digits (96 bits)."""
    return prefix + secrets.token_hex(12)


def reply_context(call: Call, resolution: Resolution, model: Model, shaped: Shaped) -> ReplyContext:
    """The context for one attempt's answer."""
    renamed = model.force_mapping or resolution.routed or resolution.requested != (model.upstream or model.id)
    options = call.body.get("stream_options")
    return ReplyContext(
        model=call.model if renamed else None,
        requested_model=call.model,
        created=int(time.time()),
        new_id=new_id,
        names=shaped.names,
        stream=call.stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        request=call.body,
        client_format=call.format,
        upstream_format=shaped.upstream.name,
        codex_client=_is_codex(call),
        request_id=call.request_id,
        alt=call.alt,
    )


def _is_codex(call: Call) -> bool:
    if call.format != "openai-response":
        return False
    origin = f"{call.headers.get('User-Agent', '')} {call.headers.get('Originator', '')}".lower()
    return any(name in origin for name in _CODEX_CLIENTS)
