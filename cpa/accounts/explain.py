"""Why an account is chosen for a model, or is not: plain values for people's eyes and for JSON."""

from __future__ import annotations

from msgspec import Struct

from cpa.accounts.quota import QuotaWindow


class CandidateState(Struct, frozen=True, kw_only=True):
    """One account that offers the model."""

    account_id: str
    label: str
    provider: str
    priority: int
    weight: int
    models: tuple[str, ...]
    """The upstream's names of the model."""
    usable: bool
    skipped_because: str = ""
    """Empty when usable, else one line for people, e.g. ``cooling down: quota``."""
    cooling_until: float | None = None
    """Unix seconds; None when it does not wait for a time."""
    running: int = 0
    """Requests that it serves now; counted only when their number is limited."""
    concurrency: int = 0
    """The limit on them; 0 is none."""
    quota: tuple[QuotaWindow, ...] = ()


class Explanation(Struct, frozen=True, kw_only=True):
    """What would happen to a request for a model at this moment."""

    requested: str
    model: str
    """The catalogue's name, without reasoning suffix."""
    strategy: str
    candidates: tuple[CandidateState, ...]
    """In the order of their priority, then of the rotation."""
    chosen: str | None
    """The account a request without a session would go to; None when there is none."""
    retry_after: float | None = None
    """Seconds until the first candidate can be used again, when none can now."""
    route: tuple[str, ...] = ()
    """The models behind the name when it is a model route, the next to be tried first; ``model`` is that one."""
