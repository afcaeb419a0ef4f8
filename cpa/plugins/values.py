"""Values that hooks receive and give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from cpa.config import Config
from cpa.conversation.usage import Usage
from cpa.formats.codec import JsonObject, Operation


class ClientIdentity(Struct, frozen=True):
    """Who a client is."""

    id: str
    """Stable and free of secrets, e.g. a hash of the key."""
    provider: str = "config-inline"
    """Which authenticator recognised it."""
    metadata: dict[str, str] = field(default_factory=dict)
    """For instance ``source``: where the key stood."""


class ClientRequest(Struct, kw_only=True):
    """What hooks may know of a client's request."""

    format: str
    """The client format."""
    model: str
    """As the client wrote it, after ``auto`` was resolved; with prefix and suffix."""
    operation: Operation
    stream: bool
    path: str
    headers: Mapping[str, str]
    client: ClientIdentity | None
    request_id: str
    config: Config


class UsageRecord(Struct, kw_only=True):
    """One attempt, finished."""

    request_id: str
    attempt: int
    """1 for the first."""
    provider: str
    account_id: str
    account_index: str
    """The short name by which usage records and the management API call the account; says nothing of it."""
    account_kind: str
    client_id: str
    requested_model: str
    model: str
    """The upstream's name."""
    client_format: str
    upstream_format: str
    stream: bool
    operation: Operation
    started_at: float
    """Unix seconds."""
    duration: float
    """Seconds."""
    time_to_first_token: float | None
    """Seconds from the start of the attempt."""
    status: int
    """HTTP status of the upstream; 0 for a network fault, 499 when the client went away."""
    error: str | None
    """Error class or code; None on success."""
    usage: Usage | None


class ExchangeRecord(Struct, kw_only=True):
    """One request of a client, finished: answered, refused, broken off or left by the client."""

    request_id: str
    format: str
    """The client format."""
    operation: Operation
    path: str
    headers: Mapping[str, str]
    """The client's headers, its key among them."""
    body: JsonObject
    """The client's body before any edit. Never change it."""
    stream: bool
    client_id: str
    """Empty where no client key is configured."""
    requested_model: str
    """As the client wrote it: any text at all."""
    started_at: float
    """Unix seconds."""
    duration: float
    """Seconds until its last byte was handed over or it failed."""
    overhead: float
    """The part of ``duration`` in which no attempt was under way: cpa's own work, and waits for an account."""
    time_to_first_token: float | None
    """Seconds from the start of the request to the first content of the answer."""
    status: int
    """HTTP status of its outcome; 499 when the client went away."""
    error: str | None
    """Error class or code; None on success."""
    answered: bool
    """Whether the client was given an answer, a stream's beginning at least: a failure after that came in-band."""
    attempts: tuple[UsageRecord, ...]
    """In order; empty when no account could be asked."""


class Host(Struct, kw_only=True):
    """What a plugin gets of the running daemon."""

    config: Any
    """Callable giving the current Config."""
    http: Any
    """A :class:`cpa.plugins.provider.HttpClient`."""
    log: Any
    """A logger with the methods of structlog's, bound to the plugin's name."""
