"""Label values: few of them, whatever clients and configurations bring."""

from __future__ import annotations

from cpa.plugins.values import ExchangeRecord

OTHER = "other"
NONE = "none"
LONGEST = 128
_BY_STATUS = {401: "unauthorized", 403: "unauthorized", 408: "failed", 429: "rate_limited", 499: "cancelled"}


class Bounded:
    """Lets the first ``limit`` different values through; every later one is called ``other``.

    Each value makes a series that lives until the daemon ends, so their number must not depend on what is asked.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label for a value."""
        if value in self._known:
            return value
        if not value:
            return NONE
        if len(self._known) >= self._limit or len(value) > LONGEST:
            return OTHER
        self._known.add(value)
        return value


def outcome_of(status: int, error: str | None) -> str:
    """How an attempt, or a request that was never answered, ended."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return "refused"
    return "success" if error is None and 200 <= status < 400 else "failed"


def exchange_outcome(record: ExchangeRecord) -> str:
    """How a request ended; ``aborted`` when it failed after its answer had begun."""
    outcome = outcome_of(record.status, record.error)
    return "aborted" if record.answered and outcome not in ("success", "cancelled") else outcome
