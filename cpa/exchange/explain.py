"""Why a request for a model goes where it goes."""

from __future__ import annotations

import math

from cpa.accounts.account import Account
from cpa.accounts.explain import CandidateState, Explanation
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Offer
from cpa.config import Config
from cpa.exchange.candidates import Router, upstream_names
from cpa.exchange.model_routes import ModelRoutes
from cpa.exchange.resolve import resolve_model


def explain(router: Router, routes: ModelRoutes, requested: str, config: Config) -> Explanation:
    """The candidates for a model, why some are skipped, and who would be chosen; nothing is changed by asking.

    Raises ApiError 404 when nobody offers it.
    """
    found = routes.find(requested, config)
    behind: tuple[str, ...] = ()
    wanted = requested
    if found is not None:
        route, suffix = found
        behind = tuple(target.requested for target in routes.targets(route, suffix, take_turn=False))
        wanted = behind[0] if behind else route.models[0]
    resolution = resolve_model(router.catalog, wanted)
    strategy = config.routing.strategy
    rotation = router.rotation(resolution, strategy)
    pool = router.pool
    states = [
        _state(pool, account, resolution.offers[account_id], excluded=strategy == "weighted-round-robin")
        for ring in rotation.rings
        for account_id in ring.ids
        if (account := pool.get(account_id)) is not None
    ]
    waits = [state.cooling_until - pool.wall() for state in states if state.cooling_until is not None]
    usable = any(state.usable for state in states)
    return Explanation(
        requested=requested,
        model=resolution.name,
        strategy=strategy,
        candidates=tuple(states),
        chosen=rotation.peek() if found is None or behind else None,
        retry_after=max(0.0, min(waits)) if waits and not usable else None,
        route=behind,
    )


def _state(pool: AccountPool, account: Account, offer: Offer, *, excluded: bool) -> CandidateState:
    models = upstream_names(offer)
    now = pool.clock()
    until = _until(pool, account, models, now)
    reason = _reason(pool, account, models) if until else "weight is 0" if excluded and account.weight <= 0 else ""
    return CandidateState(
        account_id=account.id,
        label=account.label,
        provider=account.provider,
        priority=account.priority,
        weight=account.weight,
        models=models,
        usable=not reason,
        skipped_because=reason,
        cooling_until=pool.wall() + until - now if until and until != math.inf else None,
        running=pool.running(account.id),
        concurrency=pool.limit(account),
        quota=tuple(pool.quota(account.id)),
    )


def _until(pool: AccountPool, account: Account, models: tuple[str, ...], now: float) -> float:
    """0 when it can be used, else until when not: the cooldown's own end, although a request may probe it before."""
    until = pool.free_at(account.id, models, now)
    if until == 0.0 or until == math.inf:
        return until
    cooldowns = [pool.health(account.id).cooling(model, now) for model in models]
    ends = [cooldown.until for cooldown in cooldowns if cooldown is not None]
    return min(ends) if len(ends) == len(models) else until


def _reason(pool: AccountPool, account: Account, models: tuple[str, ...]) -> str:
    if account.disabled:
        return "disabled"
    health, now = pool.health(account.id), pool.clock()
    found = [health.cooling(model, now) or health.blocked(model, now) for model in models]
    blocks = [block for block in found if block is not None]
    if len(blocks) < len(models):
        return f"serves {pool.running(account.id)} requests, as many as it may"
    soonest = min(blocks, key=lambda block: block.until)
    if soonest.reason == "probing":
        return "another request finds out whether it works again"
    message = health.last_error
    return f"cooling down: {soonest.reason}" + (f" ({message})" if message else "")
