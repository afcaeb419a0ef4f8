"""An attempt as the event loop notes it, for the thread that writes."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cpa.usage.event import Costing, Event, Kind, Row
from cpa.usage.tokens import NO_TOKENS, Counts, Reported, Tokens, counts_of


class Ending(Struct, gc=False):
    """How an attempt ended."""

    number: int = 1
    """1 for the first attempt of a request."""
    status: int = 200
    error: str = ""
    """A code; empty when there was no error."""
    fail_body: str = ""
    failed: bool = False
    final: bool = True


USUAL_ENDING = Ending()


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
    told: Reported | None
    """None when the upstream told no tokens."""
    ended: Ending | None = None
    """None: it was the first attempt, and answered."""
    key: ClassVar[str] = ""
    """As :attr:`Event.key`: it does not come from elsewhere."""

    @property
    def at_ms(self) -> int:
        """As :attr:`Event.at_ms`."""
        return int(self.started_at * 1000)

    def counts(self) -> Counts:
        """Its tokens."""
        return NO_TOKENS if self.told is None else counts_of(self.told, self.kind.place.upstream_format)

    def row(self, place: int, origin: int, costing: Costing | None = None) -> Row:
        """Values of :data:`cpa.usage.tables.RECORDED`, without those at the end that are usual."""
        counts, first, ended = self.counts(), self.first_token, self.ended
        input, output, reasoning, cached, read, written, total, uncached, written_1h, _, _ = counts
        cost = None if costing is None else costing(counts)
        row = (
            int(self.started_at * 1000), self.request_id, place, origin, int(self.duration * 1000),
            None if first is None else int(first * 1000), input, output, total, uncached,
        )  # fmt: skip
        if ended is None and not written_1h:
            if reasoning or cached:
                return (*row, cost, reasoning, cached, read, written)
            return row if cost is None else (*row, cost)
        ended = ended or USUAL_ENDING
        return (
            *row, cost, reasoning, cached, read, written, written_1h, 1 if ended.failed else 0,
            1 if ended.final else 0, ended.number, ended.status, 0, ended.error, ended.fail_body,
        )  # fmt: skip

    def event(self) -> Event:
        """As what it is shown."""
        place, origin, first, ending = self.kind.place, self.kind.origin, self.first_token, self.ended
        ending = ending or USUAL_ENDING
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
            failed=ending.failed,
            latency_ms=int(self.duration * 1000),
            tokens=Tokens(*self.counts()),
            attempt=ending.number,
            final=ending.final,
            status=ending.status,
            error=ending.error,
            fail_body=ending.fail_body,
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
