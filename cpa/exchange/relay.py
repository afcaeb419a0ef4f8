"""Relay one upstream stream to one client, natively or translated. Sans-I/O: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, cast

from cpa.conversation import events as ev
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo, ended_within_event
from cpa.exchange.trace import Trace
from cpa.formats.change import Change
from cpa.formats.codec import NativeRelay, RunDecoder, RunEncoder, StreamDecoder, StreamEncoder
from cpa.formats.runs import Run, learn_run
from cpa.formats.sse import EventTooLarge, SseFrame, SseParser, end_of_frame, end_of_frames, is_cut, is_whole
from cpa.formats.whole_stream import rest_of

LONGEST_REST = 256 * 1024
"""A frame longer than this is left to the parser, which takes giant ones without copying them over and over."""


class Relay(Protocol):
    """What the exchange asks of a relay."""

    trace: Trace | None
    """Notes how what is written is made of what is read; None where nobody asks."""

    @property
    def usage(self) -> Usage | None:
        """Token counts so far."""

    @property
    def error(self) -> ErrorInfo | None:
        """Set once the stream has failed; before ``meaningful`` nothing of it was written."""

    @property
    def meaningful(self) -> bool:
        """Content of the answer was read: the attempt cannot be repeated any more."""

    @property
    def complete(self) -> bool:
        """The answer ended as its protocol says."""

    @property
    def over(self) -> bool:
        """Nothing more is to be read: the answer is complete or has failed."""

    def feed(self, chunk: bytes) -> bytes:
        """Client bytes for some upstream bytes."""

    def close(self) -> bytes:
        """Client bytes now that the upstream has closed; sets ``complete`` or ``error``."""

    def fail(self, error: ErrorInfo) -> bytes:
        """Client bytes that end the stream with an in-band error."""


class PassingRelay:
    """Client and upstream are of one family: frames pass as they came."""

    trace: Trace | None = None

    def __init__(self, native: NativeRelay) -> None:
        self._native = native
        self._parser = SseParser()
        self._rest = b""
        """The beginning of a frame whose end has not come yet."""
        self._failed: ErrorInfo | None = None

    @property
    def usage(self) -> Usage | None:
        return self._native.usage

    @property
    def error(self) -> ErrorInfo | None:
        return self._failed or self._native.error

    @property
    def meaningful(self) -> bool:
        return self._native.meaningful

    @property
    def complete(self) -> bool:
        return self._native.complete and self.error is None

    @property
    def over(self) -> bool:
        native = self._native
        return native.complete or native.error is not None or self._failed is not None

    def feed(self, chunk: bytes) -> bytes:
        if b"\r" in chunk or len(self._rest) > LONGEST_REST:
            chunk, self._rest = self._rest + chunk, b""
            return self._parse(chunk)
        data = self._rest + chunk if self._rest else chunk
        if not self._parser.idle:
            end = end_of_frame(data, 0)
            self._rest = b""
            if end in (0, len(data)):
                return self._parse(data)
            out, rest = self._parse(data[:end]), data[end:]
            if self.error is not None:
                return out
            return out + (self.feed(rest) if self._parser.idle else self._parse(rest))
        end = end_of_frames(data)
        if not end:
            self._rest = data
            return b""
        self._rest = data[end:]
        return self._pass_chunk(data[:end] if self._rest else data)

    def _pass_chunk(self, chunk: bytes) -> bytes:
        """Pass complete frames in as few pieces as possible; twice as many at a time are looked at one by one."""
        native, trace = self._native, self.trace
        note = None if trace is None else trace.note
        out: list[bytes] = []
        looked_at, at = 1, 0
        while at < len(chunk) and native.error is None:
            if native.meaningful:
                passed, used = native.pass_chunk(chunk[at:] if at else chunk, note)
                if used:
                    out.append(passed)
                    if trace is not None:
                        trace.relayed(chunk[at : at + used], passed)
                    at += used
                    continue
            end = _end_of(looked_at, chunk, at)
            looked_at = looked_at * 2 if native.meaningful else 1
            out.append(self._parse(chunk[at:end]))
            at = end
        return out[0] if len(out) == 1 else b"".join(out)

    def _parse(self, chunk: bytes) -> bytes:
        try:
            frames = self._parser.feed(chunk)
        except EventTooLarge as fault:
            return self._refuse(_too_large(fault))
        out = self._pass(frames)
        if self.trace is not None:
            self.trace.relayed(chunk, out)
        return out

    def _pass(self, frames: Iterable[SseFrame]) -> bytes:
        native = self._native
        if native.error is not None:
            return b""
        feed = native.feed
        out = b"".join([feed(frame) for frame in frames])
        if native.error is not None and native.meaningful:
            out += native.fail(native.error)
        return out

    def close(self) -> bytes:
        out = self._parse(self._rest) if self._rest else b""
        self._rest = b""
        last = self._close()
        if self.trace is not None:
            self.trace.relayed(b"", last)
        return out + last

    def _close(self) -> bytes:
        frames = self._parser.close()
        out = self._pass(frame for frame in frames if is_whole(frame.data))
        if self.error is None and any(map(is_cut, frames)):
            return out + self._refuse(ended_within_event())
        if self.error is None:
            out += self._native.close()
            if self._native.error is not None and self._native.meaningful:
                out += self._native.fail(self._native.error)
        return out

    def fail(self, error: ErrorInfo) -> bytes:
        self._failed = error
        return self._native.fail(error)

    def _refuse(self, error: ErrorInfo) -> bytes:
        if self.meaningful:
            return self.fail(error)
        self._failed = error
        return b""


_CONTENT = frozenset(
    {
        ev.BlockStart,
        ev.TextDelta,
        ev.ArgumentsDelta,
        ev.SignatureDelta,
        ev.CitationDelta,
        ev.PartBreak,
        ev.DataDelta,
        ev.ToolCallInfo,
        ev.BlockEnd,
    }
)
"""Events that carry content of the answer; by far the most frequent ones."""


TRIES = 16
"""Deltas in a row of which nothing is learned, or what is of no use, before some are not looked at."""
SHORTEST_RUN = 4
"""Deltas that must pass so that it was of use to learn what they look like."""
PAUSE = 64
"""Frames that are not looked at then; four times as many each time after that."""
FIRST_VIEW = 1024
"""Bytes in which a run is looked for first: twice as many each time that it fills them, so that looking for short runs
in a long chunk costs no more than they are long."""


class TranslatingRelay:
    """Frames are decoded to events and encoded for the client.

    Most frames of a stream are deltas of one text. Once one of them was read, runs of others like it pass by taking
    their texts out and putting them into frames for the client, as long as nothing else comes between.
    """

    trace: Trace | None = None

    def __init__(
        self, decoder: StreamDecoder, encoder: StreamEncoder, observe: Callable[[ev.Event], None] | None = None
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._observe = observe
        self._parser = SseParser()
        self._runs = _both(decoder, encoder) if observe is None else None
        self._run: Run | None = None
        self._change: Change | None = None
        """What is done to the frames of the run, once that was asked for."""
        self._key = 0
        """The block whose deltas are in the run."""
        self._view = FIRST_VIEW
        """Bytes in which a run is looked for."""
        self._passed = 0
        """Deltas that have passed since it was learned what they look like."""
        self._tries = TRIES
        self._pause = 0
        """Frames that are not looked at."""
        self._next_pause = PAUSE
        self._usage: Usage | None = None
        self._unreported: Callable[[], Usage | None] | None = getattr(decoder, "unreported_usage", None)
        self.error: ErrorInfo | None = None
        self.meaningful = False
        self.complete = False

    @property
    def usage(self) -> Usage | None:
        late = self._unreported() if self._unreported is not None else None
        if late is None or self._usage is None:
            return late or self._usage
        return self._usage.merge(late)

    @property
    def over(self) -> bool:
        return self.complete or self.error is not None

    def feed(self, chunk: bytes) -> bytes:
        if self._runs is None or b"\r" in chunk:
            return self._parse(chunk)
        out: list[bytes] = []
        looked_at, at = 1, 0
        while at < len(chunk) and self.error is None:
            if self._run is not None and self._parser.idle:
                seen = chunk[at : at + self._view]
                passed, used = self._pass(seen, self._run)
                if used:
                    out.append(passed)
                    looked_at, at = 1, at + used
                    if used <= len(seen) // 2:
                        self._view = FIRST_VIEW
                    elif len(seen) == self._view:
                        self._view *= 2
                    continue
            end = _end_of(looked_at, chunk, at)
            looked_at *= 2
            out.append(self._parse(chunk[at:end]))
            at = end
        return out[0] if len(out) == 1 else b"".join(out)

    def _pass(self, chunk: bytes, run: Run) -> tuple[bytes, int]:
        """The deltas of a run at the beginning of a chunk that begins with a frame: as written, and their length."""
        assert self._runs is not None
        decoder, encoder = self._runs
        texts, used = run.read(chunk)
        out = encoder.repeat(self._key, texts) if used else None
        if out is None:
            return b"", 0
        decoder.skipped(self._key, texts)
        self._passed += len(texts)
        if self.trace is not None:
            if self._change is None:
                self._change = run.change(encoder.around)
            self.trace.note(self._change, texts)
            self.trace.relayed(chunk[:used], out)
        return out, used

    def _parse(self, chunk: bytes) -> bytes:
        try:
            frames = self._parser.feed(chunk)
        except EventTooLarge as fault:
            return self.translate([ev.Failure(_too_large(fault))])
        decode = self._decoder.feed
        if len(frames) == 1:
            events = decode(frames[0])
            latest = events
        else:
            events, latest = [], []
            for frame in frames:
                latest = decode(frame)
                events += latest
        out = self.translate(events)
        if self.trace is not None:
            self.trace.relayed(chunk, out)
        if self._runs is not None and frames:
            self._learn(frames[-1], latest)
        return out

    def _learn(self, frame: SseFrame, events: list[ev.Event]) -> None:
        """Look whether frames like the latest one can pass in runs; ``events`` is what it was."""
        if self._pause:
            self._pause -= 1
            return
        self._run = self._change = None
        event = events[0] if len(events) == 1 else None
        if self._runs is None or not isinstance(event, ev.TextDelta | ev.ArgumentsDelta) or self.error is not None:
            return
        decoder, encoder = self._runs
        lead = decoder.lead(event)
        if lead is not None and encoder.repeat(event.key, []) is not None:
            self._key = event.key
            self._run = learn_run(frame.raw, lead, event.text, decoder.varying)
        if self._passed >= SHORTEST_RUN:
            self._tries, self._next_pause = TRIES, PAUSE
        else:
            self._tries -= 1
        self._passed = 0
        if not self._tries:
            self._run, self._tries, self._pause = None, TRIES, self._next_pause
            self._next_pause *= 4

    def translate(self, events: list[ev.Event]) -> bytes:
        """Encode events, noting what the exchange must know. A failure before any content is not written."""
        for event in events:
            kind = type(event)
            if kind in _CONTENT:
                self.meaningful = True
            elif kind is ev.UsageReport:
                usage = event.usage  # type: ignore[union-attr]
                self._usage = usage if self._usage is None else self._usage.merge(usage)
            elif kind is ev.End:
                self.complete = True
            elif kind is ev.Failure:
                self.error = event.error  # type: ignore[union-attr]
        if self._observe is not None:
            for event in events:
                self._observe(event)
        if self.error is not None and not self.meaningful:
            return b""
        return self._encoder.encode(events) if events else b""

    def close(self) -> bytes:
        out = self.translate(rest_of(self._parser, self._decoder))
        if self.trace is not None:
            self.trace.relayed(b"", out)
        return out

    def fail(self, error: ErrorInfo) -> bytes:
        self.error = error
        return self._encoder.encode([ev.Failure(error)])


def _too_large(fault: EventTooLarge) -> ErrorInfo:
    return ErrorInfo(502, str(fault), type="server_error", code="event_too_large")


def _end_of(frames: int, chunk: bytes, at: int) -> int:
    """Where so many frames end that begin at ``at``; the end of the chunk when they are fewer."""
    for _ in range(frames):
        at = end_of_frame(chunk, at)
        if not at:
            return len(chunk)
    return at


def _both(decoder: StreamDecoder, encoder: StreamEncoder) -> tuple[RunDecoder, RunEncoder] | None:
    """The two when both know of runs."""
    knows = hasattr(decoder, "lead") and hasattr(encoder, "repeat")
    return (cast(RunDecoder, decoder), cast(RunEncoder, encoder)) if knows else None
