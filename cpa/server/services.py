"""What the application needs of the rest of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from msgspec import Struct

from cpa.catalog.model import Model
from cpa.config import Config
from cpa.exchange.call import Answer, Call
from cpa.exchange.recorder import Recorder
from cpa.formats.registry import FormatRegistry


class Runs(Protocol):
    """The exchange."""

    async def run(self, call: Call, config: Config) -> Answer:
        """Answer a call. Raises ApiError."""


class Lists(Protocol):
    """The catalogue."""

    def list_models(self) -> list[Model]:
        """Every model that can be asked for, sorted by name."""

    def get_model(self, name: str) -> Model | None:
        """One of them."""


class Histories(Protocol):
    """Request histories."""

    def begin(
        self, config: Config, request_id: str, method: str, path: str, url: str, headers: Mapping[str, str]
    ) -> Recorder | None:
        """What notes a request that begins; None when no history is wanted of it."""

    def end(self, recorder: Recorder) -> None:
        """The request is over."""


class Services(Struct):
    """Handed to the application once."""

    exchange: Runs
    formats: FormatRegistry
    catalog: Lists
    config: Callable[[], Config]
    log: Any
    authenticate_hook: Callable[..., Any] | None = None
    """``cpa_authenticate``, None when no plugin implements it."""
    add_routes: Callable[[web.UrlDispatcher], None] | None = None
    """Lets plugins add client routes."""
    count_answer: Callable[[str, int], None] | None = None
    """Told the route and the status of every HTTP request; None while nobody counts."""
    histories: Histories | None = None
    """Keeps request histories."""
