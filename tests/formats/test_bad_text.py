"""Bytes that are no text, anywhere in a frame of a stream that passes natively: no exception, at most an error."""

from __future__ import annotations

import pytest
from answers import CODECS, context

from cpa.exchange.relay import PassingRelay

FRAMES = {
    "gemini": b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"index":0}],'
    b'"modelVersion":"up","responseId":"r"}\n\n',
    "openai": b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up",'
    b'"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n',
    "claude": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hi"}}\n\n',
    "openai-response": b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    b'"item_id":"m","output_index":0,"content_index":0,"delta":"hi","sequence_number":1}\n\n',
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("model", [None, "mine"])
def test_a_byte_that_is_no_text_ends_nothing_but_its_frame(name: str, model: str | None) -> None:
    frame, codec = FRAMES[name], CODECS[name]
    for place in range(len(frame)):
        bad = frame[:place] + b"\xb6" + frame[place + 1 :]
        for frames in ([bad], [frame, bad], [frame, frame, bad, frame]):
            told = context(model=model)
            relay = PassingRelay(codec.native_relay(told, codec.framing(told)))
            for each in frames:
                relay.feed(each)
            relay.close()
            assert not relay.complete
