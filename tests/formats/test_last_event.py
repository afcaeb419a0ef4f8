"""A stream that breaks off within an event has lost a part of the answer, though what came before looks complete."""

from __future__ import annotations

import itertools

import pytest
from answers import ANSWERS, CODECS, FORMATS, context, written

from cpa.conversation import events as ev
from cpa.exchange.relay import PassingRelay, Relay, TranslatingRelay
from cpa.formats.sse import SseParser
from cpa.formats.whole_stream import StreamReader

FINISHED = {
    "gemini": b'data: {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "index": 0, '
    b'"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 7}}\n\n',
    "openai": b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{'
    b'"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}\n\n',
}
"""Nothing must follow for these to be complete, but more may."""
LOST = {
    "gemini": b'data: {"candidates": [{"content": {"parts": [{"functionCall": {"na',
    "openai": b'data: {"id": "c", "choices": [{"index": 1, "delta": {"tool_ca',
}


def relay(client: str, upstream: str) -> Relay:
    shared = context(client_format=client, upstream_format=upstream)
    framing = CODECS[client].framing(shared)
    if client == upstream:
        return PassingRelay(CODECS[client].native_relay(shared, framing))
    return TranslatingRelay(CODECS[upstream].stream_decoder(shared), CODECS[client].stream_encoder(shared, framing))


pairs = pytest.mark.parametrize(("client", "upstream"), list(itertools.product(FORMATS, FINISHED)))


@pairs
@pytest.mark.parametrize("apart", [True, False])
def test_a_stream_that_ends_within_an_event_is_an_error(client: str, upstream: str, apart: bool) -> None:
    relaying = relay(client, upstream)
    pieces = (FINISHED[upstream], LOST[upstream]) if apart else (FINISHED[upstream] + LOST[upstream],)
    for piece in pieces:
        relaying.feed(piece)
    told = relaying.close()
    assert relaying.error is not None
    assert relaying.error.code == "stream_cut_off"
    assert b"ended within an event" in told


@pairs
@pytest.mark.parametrize("rest", [b"", b": bye", b"event: ping", b"data: bye", b"\n\r\n"])
def test_other_rests_lose_nothing(client: str, upstream: str, rest: bytes) -> None:
    relaying = relay(client, upstream)
    relaying.feed(FINISHED[upstream] + rest)
    relaying.close()
    assert (relaying.complete, relaying.error) == (True, None)


@pytest.mark.parametrize("upstream", FINISHED)
def test_a_whole_answer_of_such_a_stream_is_an_error(upstream: str) -> None:
    reader = StreamReader(CODECS[upstream].stream_decoder(context(upstream_format=upstream)))
    events = [*reader.feed(FINISHED[upstream] + LOST[upstream]), *reader.close()]
    assert isinstance(events[-1], ev.Failure)
    assert not any(isinstance(event, ev.End) for event in events)


@pytest.mark.parametrize("upstream", FORMATS)
def test_a_last_event_that_is_whole_needs_no_empty_line(upstream: str) -> None:
    stream = written(upstream, ANSWERS["text"]).rstrip(b"\n")
    for client in FORMATS:
        relaying = relay(client, upstream)
        relaying.feed(stream)
        if not relaying.complete:
            relaying.close()
        assert (relaying.complete, relaying.error) == (True, None), client
    assert len(SseParser().feed(stream + b"\n\n")) > 1
