"""An attempt as the event loop notes it, for the thread that writes."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cpa.usage.event import Event, Kind, Priced, Row
from cpa.usage.tokens import NO_TOKENS, Counts, Reported, Tokens, counts_of


class Attempted(Struct, gc=False):
    """What is noted of an attempt on the event loop: few and small objects, and nothing is worked out there.

    What is worked out for many in a row takes a third of what it takes between other things; and whatever waits for the
    thread is memory that the event loop cannot use again at once.
    """

    kind: Kind
    request_id: str
    started_at: float
    """Unix seconds."""
    duration: float
    """Seconds."""
    first_token: float | None
    """Seconds."""
    number: int
    """1 for the first attempt of a request."""
    status: int
    told: Reported | None
    """None when the upstream told no tokens."""
    error: str
    """A code; empty when there was no error."""
    fail_body: str
    failed: bool
    final: bool = False
    key: ClassVar[str] = ""
    """As :attr:`Event.key`: it does not come from elsewhere."""

    @property
    def at_ms(self) -> int:
        """As :attr:`Event.at_ms`."""
        return int(self.started_at * 1000)

    def counts(self) -> Counts:
        """Its tokens."""
        return NO_TOKENS if self.told is None else counts_of(self.told, self.kind.place.upstream_format)

    def row(self, place: int, origin: int, priced: Priced | None) -> Row:
        """As :meth:`Event.row`."""
        counts, first = self.counts(), self.first_token
        cost = None if priced is None else priced(self.kind, counts, False)
        return (
            int(self.started_at * 1000), self.request_id, place, origin, 1 if self.failed else 0,
            1 if self.final else 0, self.number, self.status, int(self.duration * 1000),
            None if first is None else int(first * 1000), *counts[:9], cost, 0, self.error, self.fail_body,
        )  # fmt: skip

    def event(self) -> Event:
        """As what it is shown."""
        place, origin, first = self.kind.place, self.kind.origin, self.first_token
        return Event(
            group=place.api_group_key,
            provider=place.provider,
            endpoint=place.endpoint,
            auth_type=place.auth_type,
            request_id=self.request_id,
            model=place.model,
            requested_model=place.requested_model,
            at_ms=self.at_ms,
            source=place.source,
            auth_index=place.auth_index,
            failed=self.failed,
            latency_ms=int(self.duration * 1000),
            tokens=Tokens(*self.counts()),
            attempt=self.number,
            final=self.final,
            status=self.status,
            error=self.error,
            fail_body=self.fail_body,
            ttft_ms=None if first is None else int(first * 1000),
            stream=bool(origin.stream),
            client_format=place.client_format,
            upstream_format=place.upstream_format,
            reasoning_effort=place.reasoning_effort,
            service_tier=place.service_tier,
            response_service_tier=place.response_service_tier,
            client_ip=origin.client_ip,
            user_agent=origin.user_agent,
        )
