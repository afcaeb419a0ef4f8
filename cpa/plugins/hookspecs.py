"""Every hook a plugin can implement.

Arguments are passed by keyword: an implementation names only those it needs. Mark implementations with
``@cpa.plugins.hookimpl``. Entry points in group ``cpa`` announce plugins; the entry point's name is the plugin's
name in the configuration (``plugins.configs.<name>``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click
    from aiohttp import web

    from cpa.accounts.account import Account
    from cpa.catalog.model import Model
    from cpa.config import Config
    from cpa.conversation.events import Event
    from cpa.formats.codec import Codec, JsonObject
    from cpa.plugins.provider import Provider, UpstreamRequest
    from cpa.plugins.values import ClientIdentity, ClientRequest, ExchangeRecord, Host, UsageRecord

hookspec = pluggy.HookspecMarker("cpa")
hookimpl = pluggy.HookimplMarker("cpa")


@hookspec
def cpa_configure(config: Config, settings: Mapping[str, Any]) -> None:
    """Take a new configuration; ``settings`` is this plugin's own ``plugins.configs.<name>``.

    Called at load and after every reload. Raise ValueError with a clear sentence to refuse the settings: at load the
    plugin is left out, on reload it keeps its old ones.
    """


@hookspec
def cpa_check_config(config: Config) -> Iterable[str]:
    """Say what is wrong with a configuration that is about to be written; nothing of it is in force yet.

    A problem about an item of a list begins with its place, e.g. ``prompt-rules[2]``. The first one keeps the
    configuration from being written.
    """
    raise NotImplementedError


@hookspec
def cpa_providers() -> Iterable[Provider]:
    """Give the providers this plugin adds."""
    raise NotImplementedError


@hookspec
def cpa_formats() -> Iterable[Codec]:
    """Give the wire formats this plugin adds."""
    raise NotImplementedError


@hookspec
def cpa_edit_login(provider: str, data: JsonObject) -> JsonObject | None:
    """Edit the auth file of a new login before it is written; give its members or None for no change.

    ``data`` holds tokens. Raise ValueError with a sentence for whoever logs in to refuse the login.
    """


@hookspec
def cpa_models(account: Account) -> Iterable[Model]:
    """Give models an account offers beyond what its provider says."""
    raise NotImplementedError


@hookspec
def cpa_models_registered(provider: str, account: Account, models: list[Model]) -> Any:
    """An account offers these models from now on, under these names. May return a coroutine; 5 seconds at most."""


@hookspec
def cpa_models_unregistered(provider: str, account: Account) -> Any:
    """An account offers nothing any more. May return a coroutine; 5 seconds at most."""


@hookspec
def cpa_edit_request(request: ClientRequest, body: JsonObject) -> JsonObject | None:
    """Edit a client's request in the client's format, before translation; give the new body or None for no change.

    Never change ``body`` in place: copy what changes.
    """


@hookspec
def cpa_edit_upstream_request(request: UpstreamRequest, original: Any) -> None:
    """Edit ``request.body`` in the upstream's format, after translation and before headers are set.

    ``original()`` gives the body as it was without any ``cpa_edit_request`` edit (made on first use).
    """


@hookspec
def cpa_edit_reply(request: ClientRequest, body: JsonObject) -> JsonObject | None:
    """Edit a whole answer in the client's format; give the new body or None for no change."""


@hookspec
def cpa_stream_event(request: ClientRequest, event: Event) -> None:
    """Observe one event of a translated stream. Costs nothing when no plugin implements it."""


@hookspec(firstresult=True)
def cpa_authenticate(headers: Mapping[str, str], query: Mapping[str, str], path: str) -> ClientIdentity | None:
    """Recognise a client by its request; None leaves it to the next plugin and at last to ``api-keys``."""


@hookspec(firstresult=True)
def cpa_choose_account(model: str, candidates: list[Account]) -> Account | None:
    """Choose the account for an attempt among the usable ones; None leaves it to the configured strategy."""


@hookspec
def cpa_usage(record: UsageRecord) -> None:
    """Receive the record of one finished attempt. Must not block."""


@hookspec
def cpa_exchange(record: ExchangeRecord) -> None:
    """Receive the record of one finished request, with those of all its attempts. Must not block."""


@hookspec
def cpa_routes(router: web.UrlDispatcher) -> None:
    """Add HTTP routes for clients; they are not authenticated unless the handler does it."""


@hookspec
def cpa_management_routes(router: web.UrlDispatcher) -> None:
    """Add HTTP routes below ``/v0/management``; they are authenticated like the others there."""


@hookspec
def cpa_commands(group: click.Group) -> None:
    """Add commands to the ``cpa`` command line."""


@hookspec
def cpa_start(host: Host) -> Any:
    """The daemon has started. May return a coroutine, which is awaited."""


@hookspec
def cpa_stop() -> Any:
    """The daemon is about to stop. May return a coroutine, which is awaited."""
