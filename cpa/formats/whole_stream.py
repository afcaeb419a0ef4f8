"""Read a stream to its end, and one of which only the whole answer is wanted."""

from __future__ import annotations

from cpa.conversation.events import Event, Failure, UsageReport
from cpa.errors import ended_within_event
from cpa.formats.codec import StreamDecoder
from cpa.formats.sse import SseParser, is_cut, is_whole


def rest_of(parser: SseParser, decoder: StreamDecoder) -> list[Event]:
    """The upstream closed: the rest of the events, a failure when it did so within an event. Raises EventTooLarge."""
    events: list[Event] = []
    frames = parser.close()
    for frame in frames:
        if is_whole(frame.data):
            events += decoder.feed(frame)
    events += decoder.close()
    if any(map(is_cut, frames)) and not any(isinstance(event, Failure) for event in events):
        return [*(event for event in events if isinstance(event, UsageReport)), Failure(ended_within_event())]
    return events


class StreamReader:
    """Reads a stream frame by frame.

    A codec that knows what of its streams a whole answer does not need has a method ``stream_reader(context)`` that
    gives a reader of its own.
    """

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self._parser = SseParser()

    def feed(self, chunk: bytes) -> list[Event]:
        """More of the events; the last one is ``End`` or ``Failure`` once the answer is over. Raises EventTooLarge."""
        events: list[Event] = []
        for frame in self._parser.feed(chunk):
            events += self._decoder.feed(frame)
        return events

    def close(self) -> list[Event]:
        """The upstream closed: the rest of the events. Raises EventTooLarge."""
        return rest_of(self._parser, self._decoder)
