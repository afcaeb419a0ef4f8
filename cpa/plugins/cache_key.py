"""A name under which an upstream finds what it has cached of a prompt."""

from __future__ import annotations

import uuid

from cpa.plugins.provider import UpstreamRequest

_NAMESPACE = uuid.UUID("8d4a1a86-3a5e-5d53-9b1b-1f0d1c7f3c52")


def cache_key(request: UpstreamRequest) -> str | None:
    """The client's own ``prompt_cache_key``, else one that is stable for its session or key; None without either."""
    own = request.body.get("prompt_cache_key")
    if isinstance(own, str) and own:
        return own
    if request.client_format == "claude" and request.conversation is not None and request.conversation.user:
        return str(uuid.uuid5(_NAMESPACE, f"{request.model}\x00{request.conversation.user}"))
    if request.client_format == "openai" and request.client_key_id:
        return str(uuid.uuid5(_NAMESPACE, request.client_key_id))
    return None
