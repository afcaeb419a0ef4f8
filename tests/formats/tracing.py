"""Relays that are traced: whatever they are fed, all that came and all that was shown can be made once again."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.exchange.capture import Capture, Held
from cpa.exchange.relay import Relay
from cpa.exchange.trace import Trace
from cpa.formats.sse import SseParser
from cpa.usage.history_made import made_of


def fed(relay: Relay, pieces: list[bytes], *, traced: bool = True) -> bytes:
    """What a relay makes of some pieces, as the exchange feeds them."""
    relay.trace = trace = Trace(b"") if traced else None
    received, sent = Capture(Held()), Capture(Held())
    for piece in pieces:
        received.add(piece)
        sent.add(relay.feed(piece))
        if relay.over:
            break
    else:
        sent.add(relay.close())
    made = trace.made(received, sent) if trace is not None else None
    if made is not None:
        assert made_of(*made) == (received.clipped(), sent.clipped())
    shown = sent.clipped()
    assert isinstance(shown, bytes)
    return shown


def shown(data: bytes) -> list[Any]:
    """What a client reads: names and payloads, and text whatever its escapes."""
    parser = SseParser()
    frames = parser.feed(data) + parser.close()
    return [(f.event, f.data if f.data == b"[DONE]" else orjson.loads(f.data)) for f in frames if f.data]
