"""The exchange: from a client's request to its answer, with all attempts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import orjson
from msgspec import Struct
from msgspec.structs import replace

from cpa.accounts.account import Account
from cpa.accounts.explain import Explanation
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.conversation import events as ev
from cpa.errors import ApiError, ErrorInfo, UpstreamError
from cpa.exchange.attempt import Attempt, broken
from cpa.exchange.call import Answer, Call
from cpa.exchange.candidates import Candidates, Router
from cpa.exchange.context import reply_context
from cpa.exchange.counting import count_tokens
from cpa.exchange.explain import explain
from cpa.exchange.leases import LeasedStream
from cpa.exchange.limits import ClientLimits
from cpa.exchange.model_routes import ModelRoutes, RouteTarget
from cpa.exchange.observers import Observers
from cpa.exchange.record import AttemptRecord, ExchangeLog
from cpa.exchange.recorder import CLIENT_GONE
from cpa.exchange.renewal import Renewals
from cpa.exchange.resolve import Resolution, resolve_model
from cpa.exchange.shape import Shaped, Shaper
from cpa.exchange.unavailable import no_account
from cpa.exchange.usage_trail import UsageTrail
from cpa.formats.codec import JsonObject
from cpa.formats.registry import FormatRegistry
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider
from cpa.plugins.values import ClientRequest
from cpa.upstream.client import UpstreamClient

BOOTSTRAP_STATUSES = frozenset({0, 401, 402, 403, 408, 429})
NO_ENDPOINT = frozenset({404, 405, 501})
"""What an upstream answers that has no endpoint for counting tokens."""
LONGEST_WAIT = 120.0
"""Seconds one request may spend waiting between rounds, all together."""
LARGEST_JITTER = 2.0
"""Seconds that a wait may be longer than it must be."""


Answering: TypeAlias = Callable[[Call, Config, ExchangeLog], Awaitable[Answer]]


class _Run(Struct):
    """One call under way, for all of its attempts."""

    call: Call
    config: Config
    log: ExchangeLog
    resolution: Resolution
    request: ClientRequest
    shaper: Shaper


class Exchange:
    """Runs calls. One per daemon; keeps nothing of a call once it is answered."""

    def __init__(
        self,
        *,
        plugins: Plugins,
        formats: FormatRegistry,
        pool: AccountPool,
        catalog: Catalog,
        client: UpstreamClient,
        renewals: Renewals,
        limits: ClientLimits,
        log: Any,
    ) -> None:
        self._plugins = plugins
        self._formats = formats
        self._pool = pool
        self._catalog = catalog
        self._client = client
        self._renewals = renewals
        self._limits = limits
        self._log = log
        self.mask: Callable[[str], str] = lambda text: text
        """Takes secrets out of a text."""
        self.trail: UsageTrail | None = None
        """Keeps the durable record; None when nothing is recorded."""
        self.observers = Observers(plugins)
        self._router = Router(pool, catalog, plugins.hook("cpa_choose_account"))
        self._routes = ModelRoutes(pool.clock)

    def forget_sessions(self) -> None:
        """Drop every session binding (its settings have changed)."""
        self._router.affinity.clear()

    def explain(self, model: str, config: Config) -> Explanation:
        """What would happen to a request for a model now. Raises ApiError 404 when nobody offers it."""
        return explain(self._router, self._routes, model, config)

    async def run(self, call: Call, config: Config) -> Answer:
        """Answer a call under a configuration snapshot. Raises ApiError when there is no answer to give."""
        return await self._logged(call, config, self._answer)

    async def ask_account(self, call: Call, config: Config) -> Answer:
        """Put a call once to ``call.account_id``, even while it rests or is busy. Raises as :meth:`run` does."""
        return await self._logged(call, config, self._answer_from)

    async def _logged(self, call: Call, config: Config, answering: Answering) -> Answer:
        log = ExchangeLog(self._log, call, self.observers)
        if call.operation != "count":
            log.trail = self.trail
        try:
            answer = await answering(call, config, log)
        except ApiError as failure:
            if failure.error.code == "model_not_found":  # whose name may be a key, by mistake
                failure.error = replace(failure.error, message=self.mask(failure.error.message))
            log.close(failure.error.status, error=failure.error)
            raise
        except asyncio.CancelledError:
            log.close(CLIENT_GONE)
            raise
        except Exception:
            log.close(500)
            raise
        log.answered = True
        return answer

    async def _answer(self, call: Call, config: Config, log: ExchangeLog) -> Answer:
        found = self._routes.find(call.model, config) if config.model_routes else None
        if found is None:
            return await self._answer_model(call, config, log, resolve_model(self._catalog, call.model))
        route, suffix = found

        async def ask(target: RouteTarget) -> Answer:
            resolution = replace(resolve_model(self._catalog, target.requested), routed=True)
            answer = await self._answer_model(call, config, log, resolution)
            log.failed_late = lambda error: self._routes.rest(target, error)
            return answer

        return await self._routes.run(route, suffix, ask)

    async def _answer_model(self, call: Call, config: Config, log: ExchangeLog, resolution: Resolution) -> Answer:
        _refuse_image_only(call, resolution)
        if log.ticket is None:
            log.ticket = self._limits.enter(call, config, lambda: _offered(resolution))
        run = self._begin(call, config, log, resolution)
        candidates = Candidates(self._router, call, resolution, config)
        rounds = Rounds(call, config)
        failure: UpstreamError | None = None
        while True:
            answer, latest = await self._round(run, candidates, rounds)
            if answer is not None:
                return answer
            failure = latest or failure
            if await candidates.wait_for_busy():
                continue
            wait = rounds.wait_before_next(failure, candidates, self._pool)
            if wait is None:
                raise failure or ApiError(self._unavailable(resolution, candidates))
            await asyncio.sleep(wait)
            candidates.begin_round()

    async def _answer_from(self, call: Call, config: Config, log: ExchangeLog) -> Answer:
        resolution = resolve_model(self._catalog, call.model)
        account, offer = self._pool.get(call.account_id), resolution.offers.get(call.account_id)
        if account is None or offer is None:
            message = f"account {call.account_id} does not offer model {call.model!r}"
            raise ApiError(ErrorInfo(404, message, type="invalid_request_error", code="model_not_found"))
        return await self._attempt(self._begin(call, config, log, resolution), account, offer.models[0])

    def _begin(self, call: Call, config: Config, log: ExchangeLog, resolution: Resolution) -> _Run:
        request = _client_request(call, resolution, config)
        edit = self._plugins.hook("cpa_edit_upstream_request")
        shaper = Shaper(self._formats, edit, call, self._edited(request, call), resolution, config)
        return _Run(call, config, log, resolution, request, shaper)

    async def _round(
        self, run: _Run, candidates: Candidates, rounds: Rounds
    ) -> tuple[Answer | None, UpstreamError | None]:
        """Try accounts until one answers. The last failure when none did; raises it when no other would do better."""
        failure: UpstreamError | None = None
        while (choice := candidates.next()) is not None:
            account, offer = choice
            rounds.note(account)
            for model in self._router.models_in_turn(offer, run.resolution.name):
                lease = self._pool.lease(account.id, model.upstream or model.id)
                try:
                    answer = await self._attempt(run, account, model)
                except UpstreamError as fault:
                    failure = fault
                    if not fault.retryable or rounds.same_again(fault):
                        raise
                else:
                    candidates.succeeded(account.id)
                    answer.account_id = account.id
                    if lease is not None and answer.stream is not None:
                        answer.stream, lease = LeasedStream(answer.stream, lease), None
                    return answer, None
                finally:
                    if lease is not None:
                        lease.release()
            candidates.failed(account.id)
        return None, failure

    async def _attempt(self, run: _Run, account: Account, model: Model) -> Answer:
        """An attempt with an account; a second one with a new token when its login's token is refused."""
        if account.kind != "oauth":
            return await self._attempt_once(run, account, model)
        try:
            account = await self._renewals.ready(account)
            return await self._attempt_once(run, account, model, True)
        except UpstreamError as failure:
            if failure.reason != "unauthorized":
                raise
            renewed = await self._renewals.renew(account)
            if renewed is None:
                self._renewals.blame(self._pool, account, model.upstream or model.id, failure)
                raise
        return await self._attempt_once(run, renewed, model)

    async def _attempt_once(self, run: _Run, account: Account, model: Model, may_be_renewed: bool = False) -> Answer:
        call, log = run.call, run.log
        provider = self._plugins.provider_of(account)
        _refuse_unsupported(call, provider, account)
        try:
            shaped = run.shaper.shape(provider, account, model)
        except ApiError:
            raise
        except Exception as fault:
            raise broken(fault, provider, self._log, call.request_id) from fault
        if call.operation == "count" and not provider.supports("count", account):
            return await self._count_locally(log, shaped)
        if log.last is not None and log.trail is not None:
            log.trail.followed(call, log.last)
        log.attempts += 1
        record = AttemptRecord(
            call,
            account,
            shaped.target.model,
            shaped.upstream.name,
            log.attempts,
            log.watch,
            log.ticket,
            call.recorder.attempt(shaped, log.attempts) if call.recorder is not None else None,
        )
        log.last = record
        attempt = Attempt(
            client=self._client,
            pool=self._pool,
            provider=provider,
            call=call,
            shaped=shaped,
            context=reply_context(call, run.resolution, model, shaped),
            record=record,
            log=log,
            logger=self._log,
            edit_reply=self._reply_editor(run.request),
            observe=self._observer(run.request),
            passthrough_headers=run.config.passthrough_headers,
            may_be_renewed=may_be_renewed,
        )
        try:
            answer = await attempt.run()
        except UpstreamError as failure:
            if call.operation != "count" or failure.error.status not in NO_ENDPOINT:
                raise
            return await self._count_locally(log, shaped)
        if answer.stream is None:
            log.close(answer.status, record)
        return answer

    async def _count_locally(self, log: ExchangeLog, shaped: Shaped) -> Answer:
        text = shaped.upstream.countable_text(shaped.request.body)
        tokens = await count_tokens(text, shaped.target.model)
        log.close(200)
        return Answer(body=orjson.dumps(shaped.client.encode_count(tokens)))

    # -- hooks -----------------------------------------------------------------------------------------------

    def _edited(self, request: ClientRequest, call: Call) -> JsonObject:
        body = call.body
        for edit in self._plugins.implementations("cpa_edit_request"):
            changed = edit(request=request, body=body)
            if changed is not None:
                body = changed
        if call.recorder is not None and body is not call.body:
            call.recorder.edited = body
        return body

    def _reply_editor(self, request: ClientRequest) -> Callable[[JsonObject], JsonObject] | None:
        edits = self._plugins.implementations("cpa_edit_reply")
        if not edits:
            return None

        def edit_all(body: JsonObject) -> JsonObject:
            for edit in edits:
                changed = edit(request=request, body=body)
                if changed is not None:
                    body = changed
            return body

        return edit_all

    def _observer(self, request: ClientRequest) -> Callable[[ev.Event], None] | None:
        hook = self._plugins.hook("cpa_stream_event")
        return None if hook is None else lambda event: hook(request=request, event=event)

    def _unavailable(self, resolution: Resolution, candidates: Candidates) -> ErrorInfo:
        return no_account(
            resolution.requested,
            (offer.provider for offer in resolution.offers.values()),
            candidates.cooldowns(),
            len(candidates.offers),
            self._pool.clock(),
            full=candidates.is_full(),
        )


class Rounds:
    """Whether to try all accounts once more after a failed round, and after which wait.

    ``uniform`` gives numbers from 0 to 1: requests that wait for the same moment do not all come at it.
    """

    def __init__(self, call: Call, config: Config, uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform
        self._retries = config.request_retry
        self._longest = float(config.max_retry_interval)
        self._bootstrap = config.streaming.bootstrap_retries if call.stream else 0
        self._done = 0
        self._waited = 0.0
        self._refused = 0

    def note(self, account: Account) -> None:
        """An account takes part; its own ``request-retry`` may allow more rounds."""
        if account.request_retry is not None and account.request_retry >= 0:
            self._retries = max(self._retries, account.request_retry)

    def same_again(self, failure: UpstreamError) -> bool:
        """Whether a second account calls the request bad without a known reason: then no third one is asked."""
        if failure.error.status != 400 or failure.scope != "none":
            return False
        self._refused += 1
        return self._refused > 1

    def wait_before_next(
        self, failure: UpstreamError | None, candidates: Candidates, pool: AccountPool
    ) -> float | None:
        """Seconds to wait before another round; None when there must be none."""
        if failure is not None and self._bootstrap > 0 and _worth_bootstrap(failure.error.status):
            self._bootstrap -= 1
            return 0.0
        if self._longest <= 0 or self._done >= self._retries:
            return None
        wait = self._nearest(failure, candidates, pool)
        left = min(self._longest, LONGEST_WAIT - self._waited)
        if wait is None or wait > left:
            return None
        wait += self._uniform() * min(wait / 4, LARGEST_JITTER, left - wait)
        self._done += 1
        self._waited += wait
        return wait

    @staticmethod
    def _nearest(failure: UpstreamError | None, candidates: Candidates, pool: AccountPool) -> float | None:
        cooldowns = candidates.cooldowns()
        if cooldowns:
            return max(0.0, min(cooldown.until for cooldown in cooldowns) - pool.clock())
        if failure is not None and failure.error.status == 429:
            return failure.error.retry_after
        return None


def _worth_bootstrap(status: int) -> bool:
    return status in BOOTSTRAP_STATUSES or status >= 500


def _client_request(call: Call, resolution: Resolution, config: Config) -> ClientRequest:
    return ClientRequest(
        format=call.format,
        model=resolution.requested,
        operation=call.operation,
        stream=call.stream,
        path=call.path,
        headers=call.headers,
        client=call.client,
        request_id=call.request_id,
        config=config,
    )


def _offered(resolution: Resolution) -> Iterator[tuple[str, str]]:
    """(provider, upstream model) of everything that may serve it."""
    for offer in resolution.offers.values():
        for model in offer.models:
            yield offer.provider, model.upstream or model.id


def _refuse_image_only(call: Call, resolution: Resolution) -> None:
    """An image model answers on the images routes only."""
    if call.operation == "images":
        return
    if all(model.image_only for offer in resolution.offers.values() for model in offer.models):
        message = f"model {resolution.name} is only supported on /v1/images/generations and /v1/images/edits"
        raise ApiError(ErrorInfo(503, message, type="invalid_request_error", code="model_not_supported"))


_EXTRAS = {"compact": "/responses/compact", "images": "image generation"}
"""Operations that not every account has, and what clients are told."""


def _refuse_unsupported(call: Call, provider: Provider, account: Account) -> None:
    what = _EXTRAS.get(call.operation)
    if what is not None and not provider.supports(call.operation, account):
        error = ErrorInfo(501, f"{what} not supported", type="server_error", code="not_implemented")
        raise UpstreamError(error, scope="none", cooldown=0)
