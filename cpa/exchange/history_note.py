"""Make of what a recorder noted what is stored of its exchange."""

from __future__ import annotations

import orjson

from cpa import __version__
from cpa.exchange.call import Call
from cpa.exchange.capture import Capture
from cpa.exchange.exposure import failure_without_secret
from cpa.exchange.history_draft import LONG_BYTES, Kept, Noted, share_of
from cpa.exchange.recorder import AttemptNote, Recorder
from cpa.logs.history import Clipped, clip
from cpa.logs.masking import cut_ends, header_lines, mask_query, mask_value
from cpa.usage.history_heads import AttemptHead, Head, join_texts
from cpa.usage.history_made import Made
from cpa.usage.history_parts import encoded
from cpa.usage.tokens import tokens_of

LONGEST_ERROR = 500


def note_down(recorder: Recorder) -> Noted:
    """What a finished recorder has noted; secrets are masked by their names, not yet by their shapes and values."""
    call, attempts, response = recorder.call, recorder.attempts, recorder.response
    bodies: list[Kept] = []
    head = Head(
        b"",
        [],
        recorder.begun,
        recorder.finished_at,
        recorder.status,
        call is not None,
        call is not None and call.stream,
        recorder.omitted_attempts,
        _add(bodies, _client_body(recorder)),
        None if recorder.edited is None else _add(bodies, orjson.dumps(recorder.edited)),
        None,
        _error(recorder),
        _tokens(recorder),
        [],
    )
    texts = [
        __version__,
        recorder.method,
        mask_query(recorder.url),
        header_lines(recorder.headers),
        header_lines(response.headers) if response is not None else "",
        *(("", "", "", "") if call is None else (call.model, call.format, call.operation, _client_id(call))),
        attempts[-1].shaped.upstream.name if attempts else "",
    ]
    received: bytes | Clipped | None = None
    made = _made(recorder)
    for number, note in enumerate(attempts, 1):
        received = None if made is not None and note is attempts[-1] else _received(note)
        head.attempts.append(_attempt(note, number, recorder.limit, received, bodies))
        texts += _attempt_texts(note)
    head.texts = join_texts(texts)
    if made is None:
        head.sent = _add(bodies, _sent(recorder, received))
    else:
        head.made, own = made
        head.made.own = len(bodies)
        bodies.append(own)
    return Noted(recorder.request_id, not recorder.whole, head, bodies)


def _add(bodies: list[Kept], body: bytes | Clipped | None) -> int | None:
    """Its number."""
    if body is None:
        return None
    bodies.append(body)
    return len(bodies) - 1


def _client_id(call: Call) -> str:
    return call.client.id if call.client is not None else ""


def _client_body(recorder: Recorder) -> bytes | Clipped | None:
    """As received; a form, which is not kept as it came, as the JSON that was made of it."""
    if recorder.body is not None:
        return clip(recorder.body, recorder.limit)
    if recorder.call is not None:
        return orjson.dumps(recorder.call.body)
    if "multipart" in recorder.headers.get("Content-Type", ""):
        return b"[NOT KEPT: a form]"
    announced = recorder.headers.get("Content-Length", "?" if recorder.came else "0")
    if announced == "0":
        return None
    came = len(recorder.came)
    note = f"[REQUEST BODY CAPTURE INCOMPLETE: consumed {came} of {announced} bytes]".encode("ascii", "replace")
    head, _ = cut_ends(recorder.came[: recorder.limit], b"")
    return b"\n".join((head, note)) if head else note


def _error(recorder: Recorder) -> bytes | None:
    """What was wrong in the end, not too long."""
    error = recorder.error or (recorder.attempts[-1].error if recorder.attempts else None)
    if error is None:
        return None
    told = encoded(error.message[:LONGEST_ERROR])
    return told if len(error.message) <= LONGEST_ERROR else cut_ends(told, b"")[0]


def _tokens(recorder: Recorder) -> tuple[int, int, int] | None:
    """Input, output and all of them."""
    last = recorder.attempts[-1] if recorder.attempts else None
    if last is None or last.usage is None:
        return None
    tokens = tokens_of(last.usage, last.shaped.upstream.name)
    return tokens.input, tokens.output, tokens.total


def _made(recorder: Recorder) -> tuple[Made, tuple[bytes, ...]] | None:
    """Of what the streams that came and were sent can be made; None when they are kept themselves."""
    sent, trace = recorder.sent, recorder.trace
    if trace is None or not isinstance(sent, Capture):
        return None
    note = recorder.attempts[-1]
    received = note.received
    if received is None or note.error is not None:
        return None
    if not LONG_BYTES <= max(received.size, sent.size) <= share_of(len(recorder.attempts)):
        return None
    return trace.made(received, sent)


def _sent(recorder: Recorder, answer: bytes | Clipped | None) -> bytes | Clipped | None:
    """What the client was sent; often what the last upstream sent, its ``answer``."""
    sent = recorder.sent
    if sent is None:
        return None
    if isinstance(sent, bytes):
        return clip(sent, recorder.limit)
    received = recorder.attempts[-1].received if recorder.attempts else None
    trace = recorder.trace
    if answer is not None and received is not None and trace is not None and trace.unchanged(received, sent):
        return answer
    return sent.clipped()


def _received(note: AttemptNote) -> bytes | Clipped | None:
    """What came; of a failure without what the upstream may have made of the account's secrets."""
    if note.received is None:
        return None
    received = note.received.clipped()
    if note.error is None:
        return received
    request = note.shaped.request
    sent = request.headers.get("Authorization", "").partition(" ")[2]
    if isinstance(received, bytes):
        return failure_without_secret(received, request.account, sent)
    head, tail = (failure_without_secret(end, request.account, sent) for end in (received.head, received.tail))
    return Clipped(head, received.omitted, tail)


def _attempt(
    note: AttemptNote,
    number: int,
    limit: int,
    received: bytes | Clipped | None,
    bodies: list[Kept],
) -> AttemptHead:
    error = note.error
    sent = clip(note.shaped.content, limit)
    bodies.append(sent)
    at = len(bodies) - 1
    failed = _add(bodies, encoded(error.message)) if error is not None and error.message else None
    return AttemptHead(
        note.number or number,
        at,
        note.started_at,
        note.answered_at,
        note.finished_at,
        note.first_token,
        note.status,
        None if note.answered_at is None else _add(bodies, received),
        note.outcome,
        failed,
    )


def _attempt_texts(note: AttemptNote) -> tuple[str, ...]:
    """In the order of :data:`cpa.usage.history_heads.ATTEMPT_TEXTS`."""
    request = note.shaped.request
    account = request.account
    return (
        request.method,
        mask_query(request.url),
        header_lines(request.headers),
        header_lines(note.response_headers),
        account.provider,
        account.id,
        account.label or account.id,
        f"api_key value={mask_value(account.secret)}" if account.kind == "apikey" else account.kind,
        note.shaped.target.model,
    )
