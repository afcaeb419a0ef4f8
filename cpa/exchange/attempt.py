"""One try of an exchange at one account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import orjson

from cpa.accounts.account import Account
from cpa.accounts.cooldown import Scope
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.conversation import events as ev
from cpa.conversation.usage import Usage
from cpa.errors import ApiError, ErrorInfo, UpstreamError
from cpa.exchange.call import Answer, Call
from cpa.exchange.collect import Failed, collect
from cpa.exchange.exposure import bytes_without_secret, headers_without_secret, without_secret
from cpa.exchange.headers import passed_headers
from cpa.exchange.opening import parse_body, read_opening
from cpa.exchange.quota_events import WatchedResponse
from cpa.exchange.record import AttemptRecord, ExchangeLog
from cpa.exchange.recorder import CLIENT_GONE
from cpa.exchange.relay import PassingRelay, Relay, TranslatingRelay
from cpa.exchange.shape import Shaped
from cpa.exchange.trace import Trace
from cpa.exchange.transport import plain, read_error, send
from cpa.exchange.verdict import settled
from cpa.formats.codec import JsonObject, ReplyContext
from cpa.plugins.provider import Provider
from cpa.upstream.client import UpstreamClient, UpstreamResponse, read_whole

DRAIN_SECONDS = 0.5
"""How long a finished stream's connection may take to reach its end, to be used again."""


class Attempt:
    """Sends one shaped request and makes the client's answer of what comes back.

    ``edit_reply`` and ``observe`` are the hooks on answers, None when no plugin implements them. With
    ``may_be_renewed`` a refused credential is not held against the account yet: a refresh may cure it.
    """

    def __init__(
        self,
        *,
        client: UpstreamClient,
        pool: AccountPool,
        provider: Provider,
        call: Call,
        shaped: Shaped,
        context: ReplyContext,
        record: AttemptRecord,
        log: ExchangeLog,
        logger: Any,
        edit_reply: Callable[[JsonObject], JsonObject] | None,
        observe: Callable[[ev.Event], None] | None,
        passthrough_headers: bool,
        may_be_renewed: bool = False,
    ) -> None:
        self._client = client
        self._pool = pool
        self._provider = provider
        self._call = call
        self._shaped = shaped
        self._context = context
        self._record = record
        self._log = log
        self._logger = logger
        self._edit_reply = edit_reply
        self._observe = observe
        self._passthrough_headers = passthrough_headers
        self._may_be_renewed = may_be_renewed
        self._began = pool.clock()

    async def run(self) -> Answer:
        """The client's answer. Raises UpstreamError when the attempt failed before anything was given away."""
        try:
            return await self._run()
        except UpstreamError as failure:
            failure.error = without_secret(failure.error, self._record.account)
            if not (self._may_be_renewed and failure.reason == "unauthorized"):
                self._failed(failure)
            self._record.close(failure.error.status, failure.error)
            raise
        except asyncio.CancelledError:
            self._record.close(CLIENT_GONE)
            self._log.close(CLIENT_GONE, self._record)
            raise
        except ApiError as refusal:
            self._record.close(refusal.error.status, refusal.error)
            raise
        except Exception as fault:
            trouble = broken(fault, self._provider, self._logger, self._call.request_id)
            self._record.close(trouble.error.status, trouble.error)
            raise trouble from fault

    async def _run(self) -> Answer:
        request = self._shaped.request
        response = self._watched(await send(self._client, self._provider, self._shaped, request.config))
        handed_over = False
        self._record.headers = response.headers
        try:
            self._note_quota(response)
            if not 200 <= response.status < 300:
                raise await read_error(self._provider, self._shaped, response)
            headers: dict[str, str] = {}
            if self._passthrough_headers:
                headers = dict(headers_without_secret(passed_headers(response.headers), self._record.account))
            if self._call.operation == "count":
                return await self._count(response, headers)
            if not self._call.stream:
                return await self._whole(response, headers)
            answer = await self._stream(response, headers)
            handed_over = True
            return answer
        finally:
            if not handed_over:
                response.close()

    def _watched(self, response: UpstreamResponse) -> UpstreamResponse:
        """The response, noted for the history; looked through when its events may tell of the account's quota."""
        if self._call.recorder is not None and self._record.note is not None:
            response = self._call.recorder.answered(self._record.note, response)
        if mark := self._provider.quota_event:
            return WatchedResponse(response, mark, self._note_quota_event)
        return response

    def _note_quota(self, response: UpstreamResponse) -> None:
        """What the answer's headers tell of the account's quota."""
        self._note_windows(lambda account, now: self._provider.read_quota(account, response.headers, now))

    def _note_quota_event(self, event: JsonObject) -> None:
        self._note_windows(lambda account, now: self._provider.read_quota_event(account, event, now))

    def _note_windows(self, read: Callable[[Account, float], list[QuotaWindow] | None]) -> None:
        """Take windows to the pool; whatever is wrong with them, the answer goes on."""
        account = self._record.account
        try:
            windows = read(account, time.time())
        except Exception:
            self._logger.exception("provider cannot read what tells of quota", provider=self._provider.name)
            return
        if windows:
            self._pool.note_quota(account.id, windows)

    # -- whole answers -------------------------------------------------------------------------------------

    async def _count(self, response: UpstreamResponse, headers: dict[str, str]) -> Answer:
        content = plain(await read_whole(response))
        body = parse_body(content)
        if error := self._shaped.upstream.reply_failure(body):
            raise self._judge(error, response)
        if not self._shaped.native:
            tokens = self._shaped.upstream.decode_count(body)
            content = orjson.dumps(self._shaped.client.encode_count(tokens or 0))
        self._succeeded(200)
        return Answer(body=content, headers=headers)

    async def _whole(self, response: UpstreamResponse, headers: dict[str, str]) -> Answer:
        try:
            body = await collect(response, self._shaped, self._context, self._note_usage)
        except Failed as failed:
            raise self._judge(failed.error, response) from None
        self._record.first_token()
        if self._edit_reply is not None:
            body = self._edit_reply(orjson.loads(body) if isinstance(body, bytes) else body)
        self._succeeded(200)
        return Answer(body=body if isinstance(body, bytes) else orjson.dumps(body), headers=headers)

    def _note_usage(self, usage: Usage | None) -> None:
        self._record.usage = usage

    # -- streams -------------------------------------------------------------------------------------------

    async def _stream(self, response: UpstreamResponse, headers: dict[str, str]) -> Answer:
        shaped, context = self._shaped, self._context
        framing = shaped.client.framing(context)
        trace: Trace | None = None
        opening = await read_opening(response)
        relay: Relay
        if opening.body is not None:
            relay = translating = self._translating(framing)
            head = self._replay(opening.body, translating)
        else:
            if shaped.native and self._observe is None:
                relay = PassingRelay(shaped.client.native_relay(context, framing))
            else:
                relay = self._translating(framing)
            note = self._record.note
            relay.trace = trace = note.traced(opening.content) if note is not None else None
            head = await self._until_meaningful(opening.content, response, relay)
        if relay.error is not None and not relay.meaningful:
            raise self._judge(relay.error, response)
        return Answer(
            stream=ClientStream(self._pump(head, relay, response), lambda: self._abandon(relay, response)),
            headers=headers,
            content_type=framing.content_type,
            keep_alive=framing.keep_alive(),
            trace=trace,
        )

    def _translating(self, framing: Any) -> TranslatingRelay:
        shaped, context = self._shaped, self._context
        return TranslatingRelay(
            shaped.upstream.stream_decoder(context), shaped.client.stream_encoder(context, framing), self._observe
        )

    def _replay(self, body: JsonObject, relay: TranslatingRelay) -> bytes:
        """The upstream answered a stream request with one JSON body: play it as a stream; the client bytes."""
        try:
            head = relay.translate(self._shaped.upstream.decode_reply(body, self._context))
            return head if relay.over else head + relay.close()
        finally:
            self._record.usage = relay.usage
            self._record.first_token()

    async def _until_meaningful(self, begun: bytes, response: UpstreamResponse, relay: Relay) -> bytes:
        """Read on until the attempt has shown content, ended or failed; the client bytes so far."""
        head = []
        try:
            chunk = begun
            while chunk:
                head.append(relay.feed(chunk))
                if relay.meaningful or relay.over:
                    break
                chunk = await response.read()
            else:
                head.append(relay.close())
        finally:
            self._record.usage = relay.usage
        if relay.meaningful:
            self._record.first_token()
        return b"".join(head)

    async def _pump(self, head: bytes, relay: Relay, response: UpstreamResponse) -> AsyncGenerator[bytes, None]:
        """The client's stream; owns the response from here on."""
        closed = False
        try:
            over = relay.over
            if head:
                yield self._told(head, relay) if over else head
            if not over:
                while chunk := await response.read():
                    out = relay.feed(chunk)
                    over = relay.over
                    if out:
                        yield self._told(out, relay) if over else out
                    if over:
                        break
                else:
                    if out := relay.close():
                        yield self._told(out, relay)
            self._end(relay)
            closed = True
            if relay.complete:
                await _drain(response)
        except (GeneratorExit, asyncio.CancelledError):
            if not closed:
                self._record.usage = relay.usage
                self._record.close(CLIENT_GONE)
                self._log.close(CLIENT_GONE, self._record)
            raise
        except UpstreamError as failure:
            yield self._broken(relay, failure)
        except Exception:
            self._logger.exception("stream failed", request_id=self._call.request_id)
            error = ErrorInfo(500, "internal error while relaying the stream", type="server_error")
            yield self._broken(relay, UpstreamError(error, scope="none", cooldown=0))
        finally:
            response.close()

    def _abandon(self, relay: Relay, response: UpstreamResponse) -> None:
        """The client went away before it took the first byte."""
        self._record.usage = relay.usage
        self._record.close(CLIENT_GONE)
        self._log.close(CLIENT_GONE, self._record)
        response.close()

    def _end(self, relay: Relay) -> None:
        """The stream ended by itself: as it should, or with an in-band error that the client was told."""
        self._record.usage = relay.usage
        if relay.error is None:
            self._succeeded(200)
            self._log.close(200, self._record)
            return
        error = without_secret(relay.error, self._record.account)
        self._failed(self._judge(error, None))
        self._record.close(error.status, error)
        self._log.close(error.status, self._record, error)

    def _told(self, out: bytes, relay: Relay) -> bytes:
        """The last bytes for the client; an error of the upstream's in them without the account's secrets."""
        return out if relay.error is None else bytes_without_secret(out, self._record.account)

    def _broken(self, relay: Relay, failure: UpstreamError) -> bytes:
        """The stream broke: what the client is told in-band."""
        error = failure.error = without_secret(failure.error, self._record.account)
        out = relay.fail(error)
        self._record.usage = relay.usage
        self._failed(failure)
        self._record.close(error.status, error)
        self._log.close(error.status, self._record, error)
        return out

    # -- outcomes ------------------------------------------------------------------------------------------

    def _judge(self, error: ErrorInfo, response: UpstreamResponse | None) -> UpstreamError:
        """An error inside a successful answer, judged by the provider as if it were an error answer."""
        body = orjson.dumps(error.raw) if error.raw is not None else error.message.encode()
        headers = response.headers if response is not None else {}
        request = self._shaped.request
        judged = self._provider.read_error(error.status, headers, body, error)
        return settled(judged, request.account, request.operation, request.config)

    def _succeeded(self, status: int) -> None:
        self._pool.succeed(self._record.account.id, self._record.model, self._began)
        self._record.close(status)

    def _failed(self, failure: UpstreamError) -> None:
        self._record.retryable = failure.retryable
        scope: Scope | None = "account" if failure.scope == "account" else "model" if failure.scope == "model" else None
        self._pool.fail(
            self._record.account.id,
            self._record.model,
            scope=scope,
            reason=failure.reason or "error",
            seconds=failure.cooldown,
            message=failure.error.message,
            began=self._began,
        )


class ClientStream:
    """The client's stream. ``aclose`` cleans up even when nobody began to read it, which a bare generator would not."""

    def __init__(self, generator: AsyncGenerator[bytes, None], abandon: Callable[[], None]) -> None:
        self._generator = generator
        self._abandon = abandon
        self._begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._begun = True
        return self._generator

    async def __anext__(self) -> bytes:
        self._begun = True
        return await self._generator.__anext__()

    async def aclose(self) -> None:
        """Stop: cancels the upstream and closes the record."""
        if not self._begun:
            self._begun = True
            self._abandon()
        await self._generator.aclose()


def broken(fault: Exception, provider: Provider, logger: Any, request_id: str) -> UpstreamError:
    """A bug showed itself while an account was asked: it is logged, others may do better, nobody cools down for it."""
    logger.error("provider failed", provider=provider.name, request_id=request_id, exc_info=fault)
    error = ErrorInfo(500, "internal error while asking the upstream", type="server_error", code="provider_failed")
    return UpstreamError(error, scope="none", cooldown=0)


async def _drain(response: UpstreamResponse) -> None:
    """Read a finished answer to its end, so that its connection can be used again; not for long."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while await response.read():
                pass
    except (TimeoutError, ApiError):
        return
