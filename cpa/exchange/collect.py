"""Read a whole upstream answer and write it for the client."""

from __future__ import annotations

from collections.abc import Callable

from cpa.conversation import events as ev
from cpa.conversation.reply import Reply, fold
from cpa.conversation.usage import Usage
from cpa.errors import ErrorInfo
from cpa.exchange.opening import read_opening
from cpa.exchange.shape import Shaped
from cpa.exchange.transport import bad_answer
from cpa.formats.codec import JsonObject, ReplyContext
from cpa.formats.sse import EventTooLarge
from cpa.formats.whole_stream import StreamReader
from cpa.upstream.client import UpstreamResponse

NoteUsage = Callable[[Usage | None], None]


class Failed(Exception):
    """The answer, although status 200, is an error; ``error`` as the codec read it."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(error.message)
        self.error = error


async def collect(
    response: UpstreamResponse, shaped: Shaped, context: ReplyContext, note_usage: NoteUsage
) -> JsonObject | bytes:
    """The client's body (bytes when it passes untouched). ``note_usage`` is told the usage, of a failed answer too.

    Raises Failed, and UpstreamError when the answer is cut off or is not JSON.
    """
    opening = await read_opening(response)
    body = opening.body
    if body is None:
        reply = await _fold_stream(opening.content, response, shaped, context, note_usage)
        return shaped.client.encode_reply(reply, context)
    if error := shaped.upstream.reply_failure(body):
        note_usage(shaped.upstream.read_usage(body))
        raise Failed(error)
    if shaped.native and (shaped.target.operation != "generate" or shaped.upstream.is_answer(body, context)):
        note_usage(shaped.upstream.read_usage(body))
        adapted = shaped.client.adapt_native_reply(body, context)
        return opening.content if adapted is body else adapted
    reply = fold(shaped.upstream.decode_reply(body, context))
    note_usage(reply.usage)
    return shaped.client.encode_reply(checked(reply), context)


def checked(reply: Reply) -> Reply:
    """The reply itself when it is complete. Raises Failed otherwise."""
    if reply.error is not None:
        raise Failed(reply.error)
    if not reply.ended:
        raise Failed(ErrorInfo(502, "the upstream's answer is incomplete", type="server_error", code="incomplete"))
    return reply


async def _fold_stream(
    begun: bytes, response: UpstreamResponse, shaped: Shaped, context: ReplyContext, note_usage: NoteUsage
) -> Reply:
    make_reader = getattr(shaped.upstream, "stream_reader", None)
    reader = make_reader(context) if make_reader else StreamReader(shaped.upstream.stream_decoder(context))
    events: list[ev.Event] = []
    try:
        chunk = begun or await response.read()
        while chunk:
            events += reader.feed(chunk)
            if events and isinstance(events[-1], (ev.End, ev.Failure)):
                break
            chunk = await response.read()
        else:
            events += reader.close()
    except EventTooLarge as fault:
        raise bad_answer(str(fault)) from None
    finally:
        reply = fold(events)
        note_usage(reply.usage)
    return checked(reply)
