"""The base class of every provider, built in or from pip.

A provider says what is different about one kind of upstream. It does not retry, select, translate, record or relay:
the exchange does that, once, for all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from cpa.accounts.account import Account
from cpa.accounts.quota import QuotaWindow
from cpa.accounts.refresh import refresh_due, refresh_token_of
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.conversation.effort import split_reasoning
from cpa.conversation.request import Conversation
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.codec import JsonObject, Operation
from cpa.plugins.faults import classify
from cpa.plugins.http_client import HttpClient
from cpa.plugins.login import Login, LoginOffer, NewLogin
from cpa.plugins.native import NativeFiles, NativeSource

BuiltinModels: TypeAlias = Callable[[str], Iterable[Model]]
"""Gives the built-in catalogue of a channel."""


class UpstreamRequest(Struct, kw_only=True):
    """One HTTP request to an upstream, being prepared."""

    account: Account
    model: str
    """The upstream's model name, without suffix."""
    body: JsonObject
    operation: Operation
    stream: bool
    client_format: str
    client_headers: Mapping[str, str]
    """The client's own headers, case-insensitive. Forward only what the vendor documents."""
    upstream_format: str = ""
    """The format ``body`` is in."""
    path: str = ""
    """Path of the client's request."""
    requested_model: str = ""
    conversation: Conversation | None = None
    """The canonical request when it was translated; None on the native path."""
    client_key_id: str = ""
    """Stable, secret-free id of the client's key; '' when none was needed."""
    request_id: str = ""
    method: str = "POST"
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    config: Config
    edited: bool = False
    """Whether operator rules or plugins have changed ``body`` since it was made for this upstream."""


class UpstreamAnswer(Struct):
    """An upstream's answer from a provider with its own transport."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]
    """SSE bytes for a stream, the JSON body otherwise."""


class Provider:
    """Base class of providers. Override what is different."""

    name: str = ""
    """Key in logs, rules and statistics, lower case."""
    format: str = "openai"
    """The upstream format it speaks."""
    default_base_url: str = ""
    model_type: str = ""
    """The ``type`` its models show in lists."""
    owned_by: str = ""
    credential_hosts: frozenset[str] = frozenset()
    """Hosts beside an account's own base URL that may be sent its credential when the management API is asked to."""
    refresh_lead: float | None = None
    """Seconds before its expiry at which a credential is refreshed; None: only when it is refused or has expired."""
    quota_event: bytes = b""
    """What stands in every stream event that tells of quota; empty when none does, which costs nothing."""
    login_offer: LoginOffer | None = None
    """How somebody logs in to it; None when that is not possible (or not with cpa)."""
    native: NativeSource | None = None
    """Where the vendor's own program keeps a login that can be taken; None when there is no such program."""
    channel: str = ""
    """Catalogue section whose built-in models its accounts offer when their configuration lists none."""

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """Accounts that the configuration file yields."""
        return ()

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> Iterable[Account] | None:
        """Accounts that an auth file yields; None when the file is not this provider's."""
        return None

    def serves(self, account: Account) -> bool:
        """Whether this provider handles the account."""
        return account.provider == self.name

    def models(self, account: Account, builtin: BuiltinModels) -> Iterable[Model]:
        """Models the account offers. ``builtin(channel)`` gives the built-in catalogue of a channel."""
        if account.models:
            return [self.configured_model(mapping, builtin) for mapping in account.models]
        return [model for model in builtin(self.channel_of(account)) if not model.retired]

    def channel_of(self, account: Account) -> str:
        """The catalogue section for an account, where that depends on its plan for instance."""
        return self.channel or self.name

    def configured_model(self, mapping: Any, builtin: BuiltinModels) -> Model:
        """A model listed in the configuration, with the limits of the built-in model of that name if there is one."""
        name, suffix = split_reasoning(mapping.name)
        known = next((model for model in builtin(self.channel or self.name) if model.id == name), None)
        return Model(
            id=mapping.alias or mapping.name,
            upstream=name,
            suffix=suffix,
            display_name=mapping.display_name or (known.display_name if known else "") or mapping.name,
            owned_by=self.owned_by or self.name,
            type=self.model_type or self.name,
            created=known.created if known else 0,
            context_length=mapping.context_length or (known.context_length if known else None),
            max_output_tokens=known.max_output_tokens if known else None,
            thinking=mapping.thinking or (known.thinking if known else None),
            user_defined=known is None and mapping.thinking is None,
            image_only=mapping.image,
            input_modalities=mapping.input_modalities,
            output_modalities=mapping.output_modalities,
            force_mapping=mapping.force_mapping,
        )

    def upstream_format(self, account: Account, operation: Operation) -> str:
        """The format this account is spoken to in."""
        return self.format

    def format_for(self, account: Account, operation: Operation, client_format: str) -> str:
        """The format this account is spoken to in by a client of ``client_format``, where that matters."""
        return self.upstream_format(account, operation)

    def supports(self, operation: Operation, account: Account) -> bool:
        """Whether the upstream has an endpoint for the operation (``count`` falls back to local counting)."""
        return operation == "generate"

    def quirks(self, account: Account) -> frozenset[str]:
        """Properties the codec must respect, see :class:`cpa.formats.codec.Target`."""
        return frozenset()

    def shape(self, request: UpstreamRequest) -> None:
        """Change the body before operator rules (payload rules) see it."""

    def prepare(self, request: UpstreamRequest) -> None:
        """Set URL and headers and the members no rule may override. Called last, after the rules."""
        raise NotImplementedError

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """Judge an error answer: whose fault, worth another account, how long to cool down.

        ``error`` is what the format's codec read from it. The base class applies the common table.
        """
        return classify(status, headers, body, error)

    async def authorize(self, request: UpstreamRequest, http: HttpClient) -> None:
        """Add what must be fetched first (a short-lived token) to the prepared request's headers.

        Raises UpstreamError when the credential is refused.
        """

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer | None:
        """Answer with an own transport; None (the default) lets cpa send the prepared HTTP request."""
        return None

    def can_refresh(self, account: Account) -> bool:
        """Whether the account's auth file has what ``refresh`` needs: a refresh token, unless overridden."""
        return bool(refresh_token_of(account.metadata))

    def refresh_at(self, account: Account) -> float | None:
        """When to refresh the credential ahead of time (Unix seconds, 0 for at once); None for never.

        By the expiry its auth file names and ``refresh_lead``; a file with a cadence of its own is refreshed by that.
        """
        if not self.can_refresh(account):
            return None
        return refresh_due(account.metadata, self.refresh_lead)

    async def refresh(self, account: Account, http: HttpClient) -> dict[str, Any] | None:
        """Refresh the credential; the changed members of its auth file, or None when there is nothing to refresh.

        Called for one account of a file at a time, over all processes; the members are written before they are used.
        Also called when the upstream refuses the credential or it has expired, whatever ``refresh_at`` says. Raises
        OAuthError (``terminal`` when only another login helps) or UpstreamError.
        """
        return None

    async def login(self, login: Login) -> NewLogin:
        """Log somebody in; called only with a ``login_offer``. See :mod:`cpa.plugins.login`.

        Raises LoginError for whoever logs in, OAuthError or UpstreamError when the vendor's endpoints refuse or fail.
        """
        raise NotImplementedError

    def take_native(self, files: NativeFiles) -> NewLogin:
        """The auth file for the login of the vendor's own program; called only with ``native``.

        Raises LoginError, with what to do instead, when the program keeps no login that can be taken.
        """
        raise NotImplementedError

    async def identify(self, data: Mapping[str, Any], http: HttpClient) -> Mapping[str, str]:
        """Ask the vendor whose login ``data`` is, an auth file's members; what it says as such members, or {}.

        Called where a program's files do not say it. Raises UpstreamError.
        """
        return {}

    def login_identity(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        """Who the login of an auth file is, by whatever the file tells: a new login of the same goes into that file.

        Two files hold the same login when they share a member of this and differ in none that both have.
        """
        names = ("email", "account_id", "account_uuid", "organization_uuid", "sub")
        return {name: value for name in names if isinstance(value := data.get(name), str) and value.strip()}

    def read_quota(self, account: Account, headers: Mapping[str, str], now: float) -> list[QuotaWindow] | None:
        """Quota windows found in the headers of an answer, whatever its status; None when there are none.

        ``now`` in Unix seconds.
        """
        return None

    def read_quota_event(self, account: Account, event: JsonObject, now: float) -> list[QuotaWindow] | None:
        """Quota windows told in a stream event that contains ``quota_event``; None when there are none."""
        return None

    async def query_quota(self, account: Account, http: HttpClient) -> list[QuotaWindow] | None:
        """Ask the vendor for the account's quota windows; None when it has nothing to ask.

        Raises UpstreamError, with status 401 when the credential was refused.
        """
        return None


__all__ = ["BuiltinModels", "HttpClient", "Provider", "UpstreamAnswer", "UpstreamRequest"]
