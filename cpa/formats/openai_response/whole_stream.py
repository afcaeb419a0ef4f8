"""Read a streamed answer of which only the whole is wanted.

Most of a stream is deltas, and the end of an item repeats what they gave piece by piece. Where items come one after the
other, as they nearly always do, only the first delta of each is read (whatever spoils another one does no harm). Any
other stream is read frame by frame.
"""

from __future__ import annotations

import re

from cpa.conversation import events as ev
from cpa.formats.codec import ReplyContext
from cpa.formats.openai_response.stream_decode import HANDLERS, ResponseStreamDecoder
from cpa.formats.sse import SseFrame, end_of_frames
from cpa.formats.whole_stream import StreamReader

LONGEST_REST = 256 * 1024
"""A frame longer than this is left to the parser, which takes giant ones without copying them over and over."""
_RUN = re.compile(
    rb'event: ([a-z_.]+)\ndata: \{"type":"\1"[^\n]*\}\n\n'
    rb'(?:event: \1\ndata: \{"type":"\1"[^\n]*\}\n\n)*+'
)  # fmt: skip
"""Frames of one kind."""
_STARTS = frozenset((b"response.created", b"response.in_progress"))
_ADDED, _DONE = b"response.output_item.added", b"response.output_item.done"
_ENDS = frozenset((b"response.completed", b"response.done", b"response.incomplete"))
_MEMBERS = {
    b"response.output_text": "text",
    b"response.refusal": "text",
    b"response.reasoning_summary_text": "summary",
    b"response.function_call_arguments": "arguments",
    b"response.custom_tool_call_input": "arguments",
}
"""Kinds of content, and the member of ``BlockEnd`` that has all of it."""
_CONTENT = {kind + step: kind for kind in _MEMBERS for step in (b".delta", b".done")}
_ALWAYS = ((b'"logprobs":', b'"logprobs":[]'), (b'"content_index":', b'"content_index":0'))
"""Members of deltas, and what they must say so that the end of an item repeats everything."""
_MEANINGFUL = frozenset(kind.encode() for kind in HANDLERS)


class _Unusual(Exception):
    """The stream must be read frame by frame."""


class ResponseStreamReader(StreamReader):
    """See :class:`cpa.formats.whole_stream.StreamReader`. As long as it leaves frames unread it holds all events."""

    def __init__(self, context: ReplyContext) -> None:
        super().__init__(ResponseStreamDecoder(context))
        self._context = context
        self._came: list[bytes] | None = []
        """The stream so far; None once every frame is read."""
        self._rest = b""
        """The beginning of a frame whose end has not come yet."""
        self._read: list[tuple[SseFrame, bytes]] = []
        """Frames to be read; with the end of an item the kind of content that it must repeat."""
        self._begun = False
        """Whether an item has begun that has not ended."""
        self._content = b""
        """The kind of its content."""

    def feed(self, chunk: bytes) -> list[ev.Event]:
        """See :class:`StreamReader`."""
        if self._came is None:
            return super().feed(chunk)
        self._came.append(chunk)
        data = self._rest + chunk if self._rest else chunk
        end = end_of_frames(data)
        self._rest = data[end:]
        try:
            if len(self._rest) > LONGEST_REST:
                raise _Unusual
            return self._decoded() if self._look(data[:end]) else []
        except _Unusual:
            return self._all()

    def close(self) -> list[ev.Event]:
        """See :class:`StreamReader`."""
        return self._all() + super().close()

    def _all(self) -> list[ev.Event]:
        """Read every frame from the beginning on."""
        came, self._came = self._came, None
        if not came:
            return []
        self._decoder = ResponseStreamDecoder(self._context)
        return super().feed(b"".join(came))

    def _look(self, frames: bytes) -> bool:
        """Note what must be read of complete frames; whether the answer ends among them."""
        if b"\r" in frames or any(frames.count(member) != frames.count(plain) for member, plain in _ALWAYS):
            raise _Unusual
        at = 0
        while at < len(frames):
            run = _RUN.match(frames, at)
            if run is None:
                raise _Unusual
            name, at = run[1], run.end()
            if name in _CONTENT:
                self._note_content(name, run[0])
            elif name in _MEANINGFUL:
                self._note(name, run[0])
            if name in _ENDS:
                return True
        return False

    def _note_content(self, name: bytes, run: bytes) -> None:
        """Frames with content of an item. The block of a call begins with its item, others with their first content."""
        kind = _CONTENT[name]
        if not self._begun or self._content not in (b"", kind):
            raise _Unusual
        if not self._content and _MEMBERS[kind] != "arguments":
            self._must_read(name, run[: run.find(b"\n\n")])
        self._content = kind

    def _note(self, name: bytes, run: bytes) -> None:
        """Frames of one of the kinds that make the answer."""
        content = b""
        if name == _DONE:
            self._begun, self._content, content = False, b"", self._content
        elif self._begun:
            raise _Unusual
        elif name == _ADDED:
            if run.count(b"\n\n") > 1:
                raise _Unusual
            self._begun = True
        elif name in _STARTS:
            if self._read:
                return
        elif name not in _ENDS:
            raise _Unusual
        for frame in run.split(b"\n\n")[:-1]:
            self._must_read(name, frame, content)

    def _must_read(self, name: bytes, frame: bytes, content: bytes = b"") -> None:
        data = frame[len(name) + len(b"event: \ndata: ") :]
        self._read.append((SseFrame(data, name.decode()), content))

    def _decoded(self) -> list[ev.Event]:
        """Events of what must be read, where that is enough."""
        events: list[ev.Event] = []
        for frame, content in self._read:
            given = self._decoder.feed(frame)
            if content and not _repeats(given, _MEMBERS[content]):
                raise _Unusual
            events += given
        self._came = None
        return events


def _repeats(events: list[ev.Event], member: str) -> bool:
    """Whether the end of an item has all content of its one block, which had begun before."""
    ends = [event for event in events if isinstance(event, ev.BlockStart | ev.BlockEnd)]
    return len(ends) == 1 and bool(getattr(ends[0], member, None))
