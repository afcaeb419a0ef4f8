"""Model routes: one name that stands for several models, tried one after the other."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from cpa.catalog.model import Model
from cpa.config import Config
from cpa.config.sections import ModelRoute
from cpa.conversation.effort import split_suffix
from cpa.errors import ApiError, ErrorInfo, UpstreamError

if TYPE_CHECKING:
    from cpa.exchange.call import Answer

FAILOVER_STATUSES = frozenset({0, 401, 402, 403, 404, 408, 429})
DEFAULT_REST = 60.0
OWNER = "cli-proxy-api"


class RouteTarget(Struct, frozen=True):
    """One model of a route for one request."""

    route: ModelRoute
    model: str
    """As the route names it."""
    requested: str
    """With the reasoning suffix that holds: its own, else the request's."""


class ModelRoutes:
    """Which models of a route rest, and whose turn it is. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._configured: tuple[ModelRoute, ...] = ()
        self._by_alias: dict[str, ModelRoute] = {}
        self._rest: dict[str, dict[str, float]] = {}
        self._turns: dict[str, int] = {}

    def find(self, requested: str, config: Config) -> tuple[ModelRoute, str | None] | None:
        """The route that a model name asks for, and the reasoning suffix of the request."""
        if config.model_routes is not self._configured:
            self._configure(config.model_routes)
        base, suffix = split_suffix(requested)
        route = self._by_alias.get(base.lower())
        return None if route is None else (route, suffix)

    def _configure(self, routes: tuple[ModelRoute, ...]) -> None:
        """Follow another configuration; a route that is still the same goes on as it was."""
        fresh = {route.alias.lower(): route for route in routes}
        for alias, known in self._by_alias.items():
            if fresh.get(alias) != known:
                self._rest.pop(alias, None)
                self._turns.pop(alias, None)
        self._configured, self._by_alias = routes, fresh

    def targets(self, route: ModelRoute, suffix: str | None, *, take_turn: bool = True) -> list[RouteTarget]:
        """The models that do not rest, in the order to try them."""
        alias, models = route.alias.lower(), list(route.models)
        if route.strategy == "round-robin":
            start = self._turns.get(alias, 0) % len(models)
            if take_turn:
                self._turns[alias] = start + 1
            models = models[start:] + models[:start]
        now, resting = self._clock(), self._rest.get(alias, {})
        return [
            RouteTarget(route, model, _with_suffix(model, suffix)) for model in models if resting.get(model, 0.0) <= now
        ]

    def rest(self, target: RouteTarget, error: ErrorInfo) -> None:
        """A model failed: leave it alone for a while."""
        route = target.route
        seconds = max(float(route.cooldown_seconds or DEFAULT_REST), error.retry_after or 0.0)
        resting = self._rest.setdefault(route.alias.lower(), {})
        resting[target.model] = max(resting.get(target.model, 0.0), self._clock() + seconds)

    async def run(
        self, route: ModelRoute, suffix: str | None, attempt: Callable[[RouteTarget], Awaitable[Answer]]
    ) -> Answer:
        """Ask one model after the other. Raises the failure no other model would mend, or that all rest or failed."""
        failure: ApiError | None = None
        for target in self.targets(route, suffix):
            try:
                return await attempt(target)
            except ApiError as fault:
                if not worth_another(fault):
                    raise
                self.rest(target, fault.error)
                failure = fault
        raise ApiError(self._resting(route) if failure is None else _exhausted(route, failure.error))

    def _resting(self, route: ModelRoute) -> ErrorInfo:
        resting = self._rest.get(route.alias.lower(), {})
        soonest = min((resting.get(model, 0.0) for model in route.models), default=0.0)
        seconds = max(1, math.ceil(soonest - self._clock()))
        message = f"all models of {route.alias} rest after failures; the first can be tried in {seconds} s"
        return _error(429, "model_route_cooldown", message, route, "rate_limit_error", seconds)


def worth_another(fault: ApiError) -> bool:
    """Whether another model may do better: not when the request itself is wrong."""
    if isinstance(fault, UpstreamError) and fault.scope == "request":
        return False
    return fault.error.status in FAILOVER_STATUSES or fault.error.status >= 500


def route_models(config: Config) -> Iterator[Model]:
    """The routes as model lists show them."""
    for route in config.model_routes:
        yield Model(
            id=route.alias,
            display_name=route.alias,
            owned_by=OWNER,
            description=f"Route ({route.strategy}) over {', '.join(route.models)}",
            generation_methods=("generateContent", "streamGenerateContent"),
        )


def _with_suffix(model: str, suffix: str | None) -> str:
    return model if suffix is None or split_suffix(model)[1] is not None else f"{model}({suffix})"


def _exhausted(route: ModelRoute, last: ErrorInfo) -> ErrorInfo:
    message = f"no model of {route.alias} could answer: {last.message}"
    error = _error(503, "model_route_unavailable", message, route, "server_error", last.retry_after)
    error.raw["error"]["detail"] = last.message
    return error


def _error(status: int, code: str, message: str, route: ModelRoute, kind: str, retry_after: float | None) -> ErrorInfo:
    raw = {"error": {"code": code, "message": message, "alias": route.alias}}
    return ErrorInfo(status, message, type=kind, code=code, retry_after=retry_after, format="openai", raw=raw)
