"""Server-sent events: reading from an upstream, writing to a client. Sans-I/O.

Reading follows the WHATWG rules (LF, CRLF and CR line ends, several ``data:`` lines, comments, optional space after
the colon, BOM) and tolerates what upstreams do: frames glued without a blank line are not repaired, a bare JSON
line outside of any field is given as ``stray`` so that an error body sent with status 200 is seen.
"""

from __future__ import annotations

import re
from typing import Protocol

import orjson

MAX_EVENT_BYTES = 64 * 1024 * 1024


LONGEST_END = 4
_END = re.compile(rb"\n\n|\r\r|\n\r|\r\n\r|\r\n\n")
"""An empty line, whatever ends the lines; a carriage return may be half of a line's end."""


NEAR = 1024
"""Bytes within which most frames end. Beyond them single line ends are looked for, which is many times as fast."""


def end_of_frame(data: bytes, at: int) -> int:
    """Where the frame that begins at ``at`` ends, behind its empty line (line feeds only); 0 where it does not."""
    end = data.find(b"\n\n", at, at + NEAR) + 2
    if end > 1:
        return end
    at += NEAR - 1
    while at := data.find(b"\n", at) + 1:
        if data[at : at + 1] == b"\n":
            return at + 1
    return 0


def end_of_frames(data: bytes) -> int:
    """Where the last complete frame ends; 0 when there is none."""
    at = data.rfind(b"\n")
    while at > 0:
        if data[at - 1 : at] == b"\n":
            return at + 1
        at = data.rfind(b"\n", 0, at)
    return 0


class SseFrame:
    """One event: its name hint, its data and its bytes as they came (line ends included)."""

    __slots__ = ("data", "event", "raw")

    def __init__(self, data: bytes, event: str | None = None, raw: bytes = b"") -> None:
        self.data = data
        """Joined ``data:`` lines; empty for a comment."""
        self.event = event
        self.raw = raw

    def __repr__(self) -> str:
        return f"SseFrame({self.data!r}, event={self.event!r})"


class EventTooLarge(ValueError):
    """One event exceeded MAX_EVENT_BYTES."""


class SseParser:
    """Incremental reader: ``feed`` network bytes, get the frames completed by them."""

    __slots__ = ("_buffer", "_limit", "_more", "_size", "_started", "_tail")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._buffer = b""
        """The beginning of a frame whose end has not come yet."""
        self._more: list[bytes] = []
        """What followed it; put together once there is an end, so that a giant frame is not copied again and again."""
        self._size = 0
        """Bytes of both."""
        self._tail = b""
        """The last bytes of both, in which an end may have begun."""
        self._limit = limit
        self._started = False

    @property
    def idle(self) -> bool:
        """No part of a frame is waiting for its rest."""
        return self._started and not self._buffer

    def feed(self, chunk: bytes) -> list[SseFrame]:
        """Frames completed by ``chunk``. Raises EventTooLarge."""
        if self._buffer:
            if self._started and not self._completes(chunk):
                return self._hold(chunk)
            buffer = b"".join((self._buffer, *self._more, chunk))
            self._more.clear()
        else:
            buffer = chunk
        if not self._started:
            if buffer[:3] != b"\xef\xbb\xbf"[: len(buffer[:3])]:
                self._started = True
            elif len(buffer) < 3:
                self._buffer = buffer
                return []
            else:
                self._started = True
                buffer = buffer[3:]
        frames: list[SseFrame] = []
        if b"\r" in buffer:
            self._buffer = self._split_any(buffer, frames)
        else:
            complete, self._buffer = _blocks(buffer)
            for block in complete:
                if block[:6] == b"data: " and b"\n" not in block:
                    frames.append(SseFrame(block[6:], None, block + b"\n\n"))
                elif (frame := _parse(block, block + b"\n\n")) is not None:
                    frames.append(frame)
        if self._buffer:
            self._size, self._tail = len(self._buffer), self._buffer[-LONGEST_END:]
            self._check_size()
        return frames

    def _completes(self, chunk: bytes) -> bool:
        """Whether a frame that is waited for may end in this chunk."""
        tail = self._tail
        if b"\r" not in chunk and b"\r" not in tail:
            return b"\n\n" in chunk or (tail[-1:] == b"\n" and chunk[:1] == b"\n")
        return _END.search(tail + chunk) is not None

    def _hold(self, chunk: bytes) -> list[SseFrame]:
        self._more.append(chunk)
        self._size += len(chunk)
        self._tail = (self._tail + chunk)[-LONGEST_END:]
        self._check_size()
        return []

    def _check_size(self) -> None:
        if self._size > self._limit:
            raise EventTooLarge(f"upstream event exceeds {self._limit} bytes")

    def _split_any(self, buffer: bytes, frames: list[SseFrame]) -> bytes:
        """Split where CR occurs. A CR at the very end may be half of a CRLF: it waits."""
        held = b""
        if buffer.endswith(b"\r"):
            buffer, held = buffer[:-1], b"\r"
        position = 0
        while (found := _blank_line(buffer, position)) is not None:
            end, after = found
            raw = buffer[position:after]
            frame = _parse(_normalise(buffer[position:end]), raw)
            if frame is not None:
                frames.append(frame)
            position = after
        return buffer[position:] + held

    def close(self) -> list[SseFrame]:
        """The rest at end of stream, if it makes a frame (upstreams omit the last blank line)."""
        rest, self._buffer = _normalise(b"".join((self._buffer, *self._more))), b""
        self._more.clear()
        frame = _parse(rest.strip(b"\n"), rest.rstrip(b"\n") + b"\n\n") if rest.strip() else None
        return [frame] if frame is not None else []


def _blocks(data: bytes) -> tuple[list[bytes], bytes]:
    """Complete frames without their empty lines, and the beginning of the next one."""
    if len(data) <= NEAR:
        *complete, rest = data.split(b"\n\n")
        return complete, rest
    complete, at = [], 0
    while end := end_of_frame(data, at):
        complete.append(data[at : end - 2])
        at = end
    return complete, data[at:]


def _normalise(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


def _blank_line(buffer: bytes, start: int) -> tuple[int, int] | None:
    """Ends of the first frame from ``start``: (end of its text, begin of the next frame)."""
    best: tuple[int, int] | None = None
    for mark in (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\n\r", b"\r\n\n", b"\r\n\r"):
        at = buffer.find(mark, start, best[0] + len(mark) if best else len(buffer))
        if at >= 0 and (best is None or at < best[0] or (at == best[0] and at + len(mark) > best[1])):
            best = (at, at + len(mark))
    return best


def _parse(block: bytes, raw: bytes) -> SseFrame | None:
    """The frame in ``block`` (LF line ends), or None for an empty one."""
    if block[:7] == b"event: ":
        end = block.find(b"\ndata: ")
        if end > 0 and block.count(b"\n") == 1:
            return SseFrame(block[end + 7 :], block[7:end].decode("utf-8", "replace"), raw)
    event: str | None = None
    data: list[bytes] = []
    stray = b""
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            event = line[6:].strip().decode("utf-8", "replace")
        elif line[:1] in (b"{", b"["):
            stray = line
    if data:
        return SseFrame(b"\n".join(data), event, raw)
    if stray:
        return SseFrame(stray, "stray", raw)
    if block.strip():
        return SseFrame(b"", event, raw)
    return None


def is_half(frame: SseFrame) -> bool:
    """Whether data that is not JSON began as an object: a part of the answer is lost, which no other junk means."""
    return frame.event != "stray" and frame.data.lstrip()[:1] == b"{"


def is_whole(data: bytes) -> bool:
    """Whether the last frame of a stream that ended without its blank line is all there; half a JSON is not."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return data == b"[DONE]"
    return True


def is_cut(frame: SseFrame) -> bool:
    """Whether the last frame of a stream is the beginning of one that holds a part of the answer."""
    return is_half(frame) and not is_whole(frame.data)


class Framing(Protocol):
    """How a client format puts JSON payloads on the wire."""

    content_type: str

    def frame(self, event: str | None, data: bytes) -> bytes:
        """One payload."""

    def end(self) -> bytes:
        """What closes a complete stream (``data: [DONE]``, ``]`` or nothing)."""

    def abort(self) -> bytes:
        """What closes a stream that ended with an in-band error."""

    def keep_alive(self) -> bytes:
        """Bytes that keep the connection busy and mean nothing to the client."""


class SseFraming:
    """Server-sent events with or without ``event:`` lines and with a closing mark."""

    content_type = "text/event-stream"

    def __init__(self, *, named: bool, done: bytes = b"", keep_alive: bytes = b": keep-alive\n\n") -> None:
        self._named = named
        self._done = done
        self._keep_alive = keep_alive

    def frame(self, event: str | None, data: bytes) -> bytes:
        if self._named and event:
            return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
        return b"data: %b\n\n" % data

    def end(self) -> bytes:
        return self._done

    def abort(self) -> bytes:
        return b""

    def keep_alive(self) -> bytes:
        return self._keep_alive


class JsonArrayFraming:
    """One JSON array over the whole stream (Gemini without ``alt=sse``)."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._opened = False

    def frame(self, event: str | None, data: bytes) -> bytes:
        head = b",\n" if self._opened else b"["
        self._opened = True
        return head + data

    def end(self) -> bytes:
        return b"]" if self._opened else b"[]"

    def abort(self) -> bytes:
        return self.end()

    def keep_alive(self) -> bytes:
        return b"\n"
