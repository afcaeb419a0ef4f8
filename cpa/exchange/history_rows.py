"""Make the database rows of request histories from what their recorders noted."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from msgspec import Struct

from cpa import __version__
from cpa.exchange.history_draft import Bodies, Stored, store
from cpa.exchange.recorder import AttemptNote, Recorder
from cpa.logs.history import Clipped, clip, log_name
from cpa.logs.masking import Masker, cut_ends, header_lines, mask_query, mask_value
from cpa.usage.histories import HistoryRow
from cpa.usage.history_parts import AttemptParts, HistoryParts, encoded
from cpa.usage.tokens import tokens_of

GZIP = 31
"""The container, in zlib's way to name it."""
LONGEST_ERROR = 500


class Noted(Struct):
    """All that is to be stored of an exchange, before secrets were looked for. Keeps nothing of the exchange itself."""

    row: HistoryRow
    """Without its content."""
    parts: HistoryParts


def note_down(recorder: Recorder) -> Noted:
    """What a finished recorder has noted; secrets are masked by their names, not yet by their shapes and values."""
    parts = parts_of(recorder)
    answered = [note.answered_at for note in recorder.attempts if note.answered_at is not None]
    url = mask_query(recorder.url)
    row = HistoryRow(
        request_id=recorder.request_id,
        log_name=log_name(url.partition("?")[0], recorder.begun, recorder.request_id, forced=not recorder.whole),
        url=url,
        method=recorder.method,
        status=recorder.status,
        forced=not recorder.whole,
        begun_ms=int(recorder.begun * 1000),
        answered_ms=int(answered[-1] * 1000) if answered else None,
        packed=b"",
        detail=orjson.dumps({"facts": _facts(recorder)}),
    )
    return Noted(row, parts)


def history_rows(noted: list[Noted], masker: Masker) -> list[HistoryRow]:
    """The rows of some exchanges, without secrets."""
    contents = store([each.parts for each in noted], masker)
    return [_completed(each.row, stored, masker) for each, stored in zip(noted, contents, strict=True)]


def _completed(row: HistoryRow, stored: Stored, masker: Masker) -> HistoryRow:
    if not stored.clean:
        row.url, row.detail = masker.text(row.url), masker.body(row.detail)
        path = row.url.partition("?")[0]
        row.log_name = log_name(path, row.begun_ms / 1000, row.request_id, forced=row.forced)
    row.packed = _gzipped(stored.content)
    return row


def _gzipped(content: bytes | bytearray) -> bytes:
    return _packer()(content)


@cache
def _packer() -> Callable[[bytes | bytearray], bytes]:
    """Intel's library where there is one for the processor: it takes a tenth of what zlib takes for the same size."""
    try:
        from isal import isal_zlib
    except ImportError:
        return lambda content: zlib.compress(content, 1, GZIP)
    return lambda content: bytes(isal_zlib.compress(content, 0, GZIP))


def parts_of(recorder: Recorder) -> HistoryParts:
    """What a finished recorder has noted."""
    response, limit, attempts = recorder.response, recorder.limit, recorder.attempts
    bodies = Bodies(len(attempts))
    body = _client_body(recorder)
    kept: list[AttemptParts] = []
    parts = HistoryParts(
        version=__version__,
        method=recorder.method,
        url=mask_query(recorder.url),
        headers=header_lines(recorder.headers),
        body=None if body is None else bodies.add(body),
        edited=None if recorder.edited is None else bodies.add(Clipped(orjson.dumps(recorder.edited))),
        attempts=kept,
        omitted_attempts=recorder.omitted_attempts,
        status=recorder.status,
        response_headers=header_lines(response.headers) if response is not None else "",
        sent=None,
        begun=recorder.begun,
        bodies=bodies.all,
    )
    received: Clipped | None = None
    for number, note in enumerate(attempts, 1):
        received = note.received.clipped() if note.received is not None else None
        kept.append(_attempt(note, number, limit, received, bodies))
    parts.sent = _add_sent(recorder, received, bodies)
    return parts


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


def _add_sent(recorder: Recorder, answer: Clipped | None, bodies: Bodies) -> int | None:
    """What the client was sent; often piece by piece what the last upstream sent, its ``answer``."""
    sent = recorder.sent
    if sent is None:
        return None
    if isinstance(sent, bytes):
        return bodies.add(clip(sent, recorder.limit))
    names = _renamed(recorder)
    received = recorder.attempts[-1].received if recorder.attempts else None
    if answer is not None and received is not None and (theirs := received.all()) is not None:
        ours = sent.all()
        if ours == theirs:
            return bodies.add(answer)
        if ours is not None and names is not None and _differ_by(names, theirs, ours):
            return bodies.add_renamed(answer, names)
    return bodies.add(sent.clipped())


def _renamed(recorder: Recorder) -> tuple[bytes, bytes] | None:
    """How the last upstream names the model, and how the client does, when both write the same format."""
    if recorder.call is None or not recorder.attempts:
        return None
    shaped = recorder.attempts[-1].shaped
    if shaped.upstream.name != recorder.call.format:
        return None
    return _model(shaped.target.model), _model(recorder.call.model)


def _model(name: str) -> bytes:
    return b'"model":%b' % orjson.dumps(name)


def _differ_by(names: tuple[bytes, bytes], theirs: list[bytes], ours: list[bytes]) -> bool:
    """Whether a stream is another with another name: mostly piece by piece, which takes no long copies to see."""
    former, name = names
    if len(theirs) == len(ours) and all(
        name.join(one.split(former)) == other
        for one, other in zip(theirs, ours, strict=True)  # replace is slower
    ):
        return True
    return b"".join(theirs).replace(former, name) == b"".join(ours)


def _attempt(note: AttemptNote, number: int, limit: int, received: Clipped | None, bodies: Bodies) -> AttemptParts:
    request, error = note.shaped.request, note.error
    account = request.account
    failed = error is not None and error.message
    return AttemptParts(
        number=note.number or number,
        provider=account.provider,
        account_id=account.id,
        account=account.label or account.id,
        auth=f"api_key value={mask_value(account.secret)}" if account.kind == "apikey" else account.kind,
        model=note.shaped.target.model,
        method=request.method,
        url=mask_query(request.url),
        headers=header_lines(request.headers),
        body=bodies.add(clip(note.shaped.content, limit)),
        started_at=note.started_at,
        finished_at=note.finished_at,
        first_token=note.first_token,
        status=note.status,
        response_headers=header_lines(note.response_headers),
        outcome=note.outcome,
        error=bodies.add(Clipped(encoded(failed))) if failed else None,
        answered_at=note.answered_at,
        received=None if received is None or note.answered_at is None else bodies.add(received),
    )


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
