"""Read a stream of which only the whole answer is wanted."""

from __future__ import annotations

from cpa.conversation.events import Event
from cpa.formats.codec import StreamDecoder
from cpa.formats.sse import SseParser, is_whole


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
        events: list[Event] = []
        for frame in self._parser.close():
            if is_whole(frame.data):
                events += self._decoder.feed(frame)
        return events + self._decoder.close()
