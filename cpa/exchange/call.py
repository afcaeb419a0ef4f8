"""What a surface hands to the exchange and what it gets back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from cpa.conversation.request import Reasoning
from cpa.formats.codec import JsonObject, Operation
from cpa.plugins.values import ClientIdentity

if TYPE_CHECKING:
    from cpa.exchange.recorder import Recorder
    from cpa.exchange.trace import Trace


class Call(Struct, kw_only=True):
    """One request of a client, read and authenticated by its surface."""

    format: str
    """The client format, e.g. ``claude``."""
    operation: Operation = "generate"
    model: str
    """As the client wrote it (body or URL)."""
    stream: bool = False
    body: JsonObject
    raw: bytes = b""
    """The body's bytes as received (decoded of any Content-Encoding); empty when ``body`` was made by cpa."""
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The client's headers, case-insensitive."""
    query: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    """Where the client's connection comes from."""
    client: ClientIdentity | None = None
    """None when no client key is configured."""
    request_id: str = ""
    peer: str = ""
    """The client's address."""
    alt: str = ""
    """``json`` for a Gemini JSON-array stream, ``completions`` for the legacy completions route."""
    account_id: str = ""
    """The only account that may serve it; empty for any."""
    reasoning: Reasoning | None = None
    """What ``body`` says of it, once somebody has read that."""
    recorder: Recorder | None = None
    """Notes the exchange for its history; None when none is wanted."""


class Answer(Struct, kw_only=True):
    """What to tell the client. Exactly one of ``body`` and ``stream`` is set.

    A stream is handed over once its first meaningful bytes are there, so ``status`` and ``headers`` are certain;
    later errors are in-band, already in the client's format. The surface must exhaust or ``aclose`` it: that is what
    cancels the upstream and closes the record.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """Upstream headers to pass on (only with ``passthrough-headers``), and what cpa adds."""
    content_type: str = "application/json"
    body: bytes | None = None
    stream: AsyncIterator[bytes] | None = None
    keep_alive: bytes = b""
    """Bytes a stream may carry at any time between two of its own, without meaning to the client."""
    account_id: str = ""
    """The account that served it."""
    trace: Trace | None = None
    """How its stream is made of what the last upstream sends; None when nobody asked."""
