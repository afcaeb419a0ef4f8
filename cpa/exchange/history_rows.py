"""Make the database rows of request histories from what their recorders noted."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
from msgspec import Struct

from cpa.exchange.recorder import AttemptNote, Recorder
from cpa.logs.history import Clipped, Draft, History, HistoryAttempt, Written, clip, log_name, write
from cpa.logs.masking import Masker, cut_ends, mask_query
from cpa.usage.event import tokens_of
from cpa.usage.histories import HistoryRow

GZIP = 31
"""The container, in zlib's way to name it."""
LONGEST_ERROR = 500


class Noted(Struct):
    """All that is to be stored of an exchange, before secrets were looked for. Keeps nothing of the exchange itself."""

    row: HistoryRow
    """Without its text."""
    draft: Draft


def note_down(recorder: Recorder) -> Noted:
    """What a finished recorder has noted, as text."""
    history = history_of(recorder)
    url = mask_query(recorder.url)
    answered = [note.answered_at for note in recorder.attempts if note.answered_at is not None]
    row = HistoryRow(
        request_id=recorder.request_id,
        log_name=log_name(url.partition("?")[0], recorder.begun, recorder.request_id, forced=not recorder.whole),
        url=url,
        method=recorder.method,
        status=recorder.status,
        forced=not recorder.whole,
        begun_ms=int(recorder.begun * 1000),
        answered_ms=int(answered[-1] * 1000) if answered else None,
        text=b"",
        detail=_detail(history, recorder),
    )
    return Noted(row, Draft(history))


def history_rows(noted: list[Noted], masker: Masker) -> list[HistoryRow]:
    """The rows of some exchanges, without secrets."""
    texts = write([each.draft for each in noted], masker)
    return [_completed(each.row, written, masker) for each, written in zip(noted, texts, strict=True)]


def _completed(row: HistoryRow, written: Written, masker: Masker) -> HistoryRow:
    detail = row.detail
    if not written.clean:
        row.url, detail = masker.text(row.url), masker.body(detail)
        path = row.url.partition("?")[0]
        row.log_name = log_name(path, row.begun_ms / 1000, row.request_id, forced=row.forced)
    row.detail = b'%b,"sections":%b}' % (detail[:-1], orjson.dumps(written.sections))
    row.text = _gzipped(written.text)
    return row


def _gzipped(text: bytes) -> bytes:
    """Packed by Intel's library where there is one for the processor: a tenth of what zlib takes for the same size."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compress(text, 1, GZIP)
    return bytes(isal_zlib.compress(text, 0, GZIP))


def history_of(recorder: Recorder) -> History:
    """What a finished recorder has noted."""
    response, limit = recorder.response, recorder.limit
    attempts = [_attempt(note, number, limit) for number, note in enumerate(recorder.attempts, 1)]
    return History(
        method=recorder.method,
        url=recorder.url,
        headers=recorder.headers.items(),
        body=_client_body(recorder),
        edited=None if recorder.edited is None else orjson.dumps(recorder.edited),
        attempts=attempts,
        omitted_attempts=recorder.omitted_attempts,
        status=recorder.status,
        response_headers=response.headers.items() if response is not None else (),
        sent=_sent(recorder, attempts),
        begun=recorder.begun,
    )


def _client_body(recorder: Recorder) -> Clipped | None:
    """As received; a form, which is not kept as it came, as the JSON that was made of it."""
    if recorder.body is not None:
        return clip(recorder.body, recorder.limit)
    if recorder.call is not None:
        return Clipped(orjson.dumps(recorder.call.body))
    if "multipart" in recorder.headers.get("Content-Type", ""):
        return Clipped(b"[NOT KEPT: a form]")
    announced = recorder.headers.get("Content-Length", "?" if recorder.came else "0")
    if announced == "0":
        return None
    came = len(recorder.came)
    note = f"[REQUEST BODY CAPTURE INCOMPLETE: consumed {came} of {announced} bytes]".encode("ascii", "replace")
    head, _ = cut_ends(recorder.came[: recorder.limit], b"")
    return Clipped(b"\n".join((head, note)) if head else note)


def _sent(recorder: Recorder, attempts: list[HistoryAttempt]) -> Clipped | None:
    """What the client was sent; often piece by piece what the last upstream sent."""
    sent = recorder.sent
    if sent is None:
        return None
    if isinstance(sent, bytes):
        return clip(sent, recorder.limit)
    received = recorder.attempts[-1].received if recorder.attempts else None
    if received is not None and received.pieces == sent.pieces and not (received.omitted or sent.omitted):
        return attempts[-1].received
    return sent.clipped()


def _attempt(note: AttemptNote, number: int, limit: int) -> HistoryAttempt:
    request, error = note.shaped.request, note.error
    account = request.account
    return HistoryAttempt(
        number=note.number or number,
        provider=account.provider,
        account_id=account.id,
        account=account.label or account.id,
        kind=account.kind,
        secret=account.secret,
        method=request.method,
        url=request.url,
        headers=request.headers.items(),
        body=clip(note.shaped.content, limit),
        started_at=note.started_at,
        answered_at=note.answered_at,
        status=note.status,
        response_headers=note.response_headers.items(),
        received=note.received.clipped() if note.received is not None else None,
        outcome=note.outcome,
        error="" if error is None else error.message,
    )


def _detail(history: History, recorder: Recorder) -> bytes:
    """JSON: what is listed of a request, and its attempts."""
    pairs = zip(history.attempts, recorder.attempts, strict=True)
    return orjson.dumps({"facts": _facts(recorder), "attempts": [_attempt_detail(*pair) for pair in pairs]})


def _attempt_detail(attempt: HistoryAttempt, note: AttemptNote) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "provider": attempt.provider,
        "account": attempt.account,
        "model": note.shaped.target.model,
        "url": mask_query(attempt.url),
        "started_ms": round(note.started_at * 1000),
        "answered_ms": None if note.answered_at is None else round(note.answered_at * 1000),
        "finished_ms": round(note.finished_at * 1000),
        "ttft_ms": None if note.first_token is None else round(note.first_token * 1000),
        "status": note.status,
        "outcome": note.outcome,
        "error": attempt.error,
    }


def _facts(recorder: Recorder) -> dict[str, Any]:
    call, last = recorder.call, recorder.attempts[-1] if recorder.attempts else None
    facts: dict[str, Any] = {
        "duration_ms": round((recorder.finished_at - recorder.begun) * 1000),
        "attempt_count": len(recorder.attempts) + recorder.omitted_attempts,
    }
    if call is not None:
        facts |= {"model": call.model, "format": call.format, "operation": call.operation, "stream": call.stream}
        if call.client is not None:
            facts["client"] = call.client.id
    if (error := recorder.error or (last.error if last is not None else None)) is not None:
        facts["error"] = error.message[:LONGEST_ERROR]
    if last is not None:
        account, upstream_format = last.shaped.request.account, last.shaped.upstream.name
        facts |= {
            "provider": account.provider,
            "account": account.label or account.id,
            "upstream_model": last.shaped.target.model,
            "upstream_format": upstream_format,
            "outcome": last.outcome,
        }
        if last.first_token is not None:
            facts["ttft_ms"] = round((last.started_at - recorder.begun + last.first_token) * 1000)
        if last.usage is not None:
            tokens = tokens_of(last.usage, upstream_format)
            facts |= {"input_tokens": tokens.input, "output_tokens": tokens.output, "total_tokens": tokens.total}
    return facts
