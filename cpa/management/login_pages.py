"""Where browsers come back to after a login that the web panel began: pages without a key and without any input."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from cpa.accounts.login.callback import Callback, callback_of, is_state
from cpa.accounts.login.pages import HEADERS, Outcome, page, status_of
from cpa.exchange.login_sessions import LoginSessions
from cpa.plugins.login import LoginOffer
from cpa.plugins.provider import Provider


def callback_name(provider: Provider, offer: LoginOffer) -> str:
    """The first part of the path of a provider's callback page."""
    return offer.callback or offer.route or provider.name


def add_callback_pages(router: web.UrlDispatcher, sessions: LoginSessions, providers: Iterable[Provider]) -> None:
    """Mount ``/<name>/callback`` for every provider that browsers log in to."""
    for provider in providers:
        offer = provider.login_offer
        if offer is not None and "browser" in offer.methods:
            router.add_get(
                f"/{callback_name(provider, offer)}/callback",
                _CallbackPage(sessions, provider).handle,
                allow_head=False,
            )


class _CallbackPage:
    """One provider's."""

    def __init__(self, sessions: LoginSessions, provider: Provider) -> None:
        self._sessions = sessions
        self._provider = provider

    async def handle(self, request: web.Request) -> web.Response:
        """Hand the callback to the login that waits for it, and show what became of that."""
        outcome: Outcome = "unknown"
        callback = callback_of(request.query)
        if is_state(callback.state):
            outcome = await self._sessions.page(self._provider, _with_error(callback))
        return web.Response(body=page(outcome), status=status_of(outcome), headers=HEADERS)


def _with_error(callback: Callback) -> Callback:
    """``error_description`` alone is an error, too."""
    if callback.error or not callback.error_description:
        return callback
    return Callback(state=callback.state, error=callback.error_description)
