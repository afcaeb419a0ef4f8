"""An account: one credential of one provider."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct, field


class ModelMapping(Struct, frozen=True):
    """One model an account's configuration lists: the upstream ``name`` offered under ``alias``."""

    name: str
    alias: str
    thinking: Any = None
    """:class:`cpa.conversation.models.ThinkingSupport` or None."""
    display_name: str | None = None
    context_length: int | None = None
    force_mapping: bool = False
    image: bool = False
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()


class Account(Struct, kw_only=True):
    """One credential of one provider. What it is, not how it fares: its state lives in the pool."""

    id: str
    """Stable over restarts and reloads; safe to show."""
    index: str = ""
    """Short stable name in usage records, see :func:`account_index`."""
    provider: str
    """Provider key, e.g. ``claude`` or the lower-case name of an openai-compatibility entry."""
    kind: Literal["apikey", "oauth", "none"] = "apikey"
    label: str = ""
    """For people: an e-mail, a name, or a masked key."""
    secret: str = ""
    """API key or access token. Never logged."""
    base_url: str = ""
    """Without a trailing slash; empty means the provider's default."""
    prefix: str = ""
    priority: int = 0
    weight: int = 1
    proxy_url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """Extra headers for every upstream request; they win over defaults."""
    models: tuple[ModelMapping, ...] = ()
    """When not empty only these are offered."""
    excluded_models: tuple[str, ...] = ()
    disabled: bool = False
    disable_cooling: bool | None = None
    """True: failures never cool it; False: they do although ``disable-cooling`` is set; None follows that setting."""
    request_retry: int | None = None
    concurrency: int = 0
    """Requests it may serve at a time; 0 follows ``routing.account-concurrency``."""
    websockets: bool = False
    note: str = ""
    """The user's own words about it."""
    source: str = "config"
    """``config:<section>[<index>]`` or the auth file's path."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Provider-specific configuration (immutable)."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The auth file's JSON (empty for configured keys)."""

    def __repr__(self) -> str:
        return f"Account({self.id!r}, provider={self.provider!r})"


def account_id(kind: str, *identity: str) -> str:
    """A stable id ``<kind>:<12 hex>`` from what identifies a credential (key, base URL ...); reveals none of it."""
    digest = sha256(kind.encode())
    for part in identity:
        digest.update(b"\x00" + part.strip().encode())
    return f"{kind}:{digest.hexdigest()[:12]}"


def account_index(seed: str) -> str:
    """The 16 hex digits by which usage records and management name an account."""
    return sha256(seed.encode()).hexdigest()[:16]


def same_login(old: Account, new: Account) -> bool:
    """Whether ``new`` is the login that ``old`` was, at most with a renewed token.

    A refresh may tell what the file did not know before, so only what both know is compared.
    """
    if old.kind != "oauth" or new.kind != "oauth":
        return old.secret == new.secret
    identity = ("email", "account_id", "account_uuid", "device_id", "sub")
    known = ((old.metadata.get(member), new.metadata.get(member)) for member in identity)
    return all(before == after for before, after in known if before and after)


_TOKEN_MEMBERS = ("access_token", "refresh_token", "id_token", "client_secret", "api_key")


def tokens_of(account: Account) -> list[str]:
    """Everything in an account that must never be shown: its secret and its auth file's tokens."""
    found = [account.secret] if account.secret else []
    for place in (account.metadata, account.metadata.get("token")):
        if isinstance(place, dict):
            found.extend(value for name in _TOKEN_MEMBERS if isinstance(value := place.get(name), str) and value)
    return found


def mask(secret: str) -> str:
    """A secret for people: enough to recognise it, too little to use it."""
    if len(secret) > 12:
        return f"{secret[:4]}...{secret[-4:]}"
    return secret[:1] + "..." if secret else ""
