"""Logins through the management API: begin one, watch it, hand over a pasted address, give it up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from cpa.accounts.files import check_name
from cpa.accounts.login.callback import Callback, is_state, parse_callback_url
from cpa.errors import AuthFileError, LoginError
from cpa.management.answers import Refusal, answer, ok, read_object
from cpa.management.lists import text
from cpa.management.login_pages import callback_name
from cpa.management.login_texts import login_text
from cpa.management.route import STATUS_OK, Query, Route, Schema
from cpa.management.services import Management
from cpa.plugins.login import LoginOffer, LoginOptions
from cpa.plugins.provider import Provider

_TAG = "Logins"
_TRUE = frozenset({"1", "true", "yes", "on"})
_KNOWN_ELSEWHERE = frozenset({"antigravity", "anti-gravity"})
"""Providers clients may name that cpa logs nobody in to."""
_NO_LISTENER = frozenset({"port_in_use", "server_start_failed"})


class Logins:
    """The logins of the daemon's providers."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._sessions = management.logins
        self._providers = management.plugins.providers

    def offers(self) -> Iterator[tuple[Provider, LoginOffer]]:
        """The providers somebody can log in to without a key file."""
        for provider in self._providers:
            if provider.login_offer is not None and {"browser", "device"} & set(provider.login_offer.methods):
                yield provider, provider.login_offer

    def names(self) -> dict[str, Provider]:
        """Every name a client may use, in lower case."""
        return {
            name: provider
            for provider, offer in self.offers()
            for name in (*offer.aliases, offer.route, callback_name(provider, offer), provider.name)
            if name
        }

    async def begin(self, request: web.Request, provider: Provider, offer: LoginOffer) -> web.Response:
        """Begin a login; the page to open, and its state."""
        query = request.query
        method = query.get("method", "").strip().lower() or offer.methods[0]
        if method not in offer.methods:
            raise Refusal(400, "unsupported method", f"{provider.name} knows {', '.join(offer.methods)}")
        options = LoginOptions(method=method, project=query.get("project_id", "").strip())
        webui = query.get("is_webui", "").strip().lower() in _TRUE
        page = f"/{callback_name(provider, offer)}/callback" if webui and method == "browser" else ""
        try:
            session = await self._sessions.begin(provider, options, forward_to=page)
        except LoginError as fault:
            raise _not_begun(fault) from None
        shown: dict[str, Any] = {"url": session.url, "state": session.state}
        if session.code is not None:
            shown |= {
                "flow": "device",
                "user_code": session.code.user_code,
                "expires_in": round(session.code.expires_in),
            }
        return ok(**shown)

    async def status(self, request: web.Request) -> web.Response:
        """How a login fares."""
        state = request.query.get("state", "").strip()
        if not state:
            return ok()
        if not is_state(state):
            return _error(400, "invalid state")
        session, status = self._sessions.find(state), self._sessions.status(state)
        if status == "error" and session is not None and session.error is not None:
            known = login_text(session.provider.name, session.error)
            return answer({"status": "error", "error": known, "message": str(session.error)})
        if status == "unknown":
            return answer({"status": "error", "error": "unknown or expired state"})
        return answer({"status": status})

    async def callback(self, request: web.Request) -> web.Response:
        """Take the address a browser ended at, for a login that waits for it."""
        try:
            body = await read_object(request)
        except Refusal as refusal:
            return _error(refusal.status, str(refusal.body["error"]))
        names = self.names()
        named = text(body.get("provider")).lower()
        if named not in names and named not in _KNOWN_ELSEWHERE:
            return _error(400, "unsupported provider")
        try:
            found = _callback(body)
        except LoginError:
            return _error(400, "invalid redirect_url")
        if not found.state:
            return _error(400, "state is required")
        if not is_state(found.state):
            return _error(400, "invalid state")
        if not found.code and not found.error:
            return _error(400, "code or error is required")
        session = self._sessions.find(found.state)
        if session is None:
            return _error(404, "unknown or expired state")
        if session.finished:
            return _error(409, "oauth flow is not pending")
        if session.provider is not names.get(named):
            return _error(400, "provider does not match state")
        if not session.flow.deliver(found):
            return _error(409, "oauth flow is not pending")
        return ok()

    async def check(self, request: web.Request) -> web.Response:
        """Look at an auth file that another program wrote or deleted, without waiting for the directory's watcher."""
        try:
            name = check_name(text((await read_object(request)).get("name")))
        except AuthFileError as fault:
            raise Refusal(400, "invalid name", str(fault)) from None
        await self._management.auth_files.check([name])
        accounts = self._management.roster.accounts_of(name)
        catalog = self._management.catalog
        models = {model.id for account in accounts for model in catalog.models_of(account.id)}
        return ok(known=name in self._management.roster.files, models=len(models))

    async def cancel(self, request: web.Request) -> web.Response:
        """Give a login up."""
        state = request.query.get("state", "").strip()
        if not is_state(state):
            return _error(400, "invalid state")
        return ok(cancelled=self._sessions.cancel(state))


def _callback(body: dict[str, Any]) -> Callback:
    """The callback in a body: its members, and what they lack from its ``redirect_url``. Raises LoginError."""
    url = text(body.get("redirect_url"))
    if url and "://" not in url:
        raise LoginError("invalid_callback_url", "that is no URL")
    from_url = parse_callback_url(url) if url else Callback()
    return Callback(
        code=text(body.get("code")) or from_url.code,
        state=text(body.get("state")) or from_url.state,
        error=text(body.get("error")) or from_url.error,
        error_description=from_url.error_description,
    )


def _error(status: int, error: str) -> web.Response:
    return answer({"status": "error", "error": error}, status)


def _not_begun(fault: LoginError) -> Refusal:
    if fault.code == "too_many":
        return Refusal(429, "too many logins", str(fault))
    if fault.code in _NO_LISTENER:
        return Refusal(500, "failed to start callback server", str(fault))
    return Refusal(500, "failed to generate authorization url", str(fault))


def routes(management: Management) -> list[Route]:
    """A route to begin a login for every provider that has one, and those that go on from there."""
    logins = Logins(management)
    string = {"type": "string"}
    outcome: Schema = {
        "type": "object",
        "properties": {"status": {"enum": ["ok", "wait", "error"]}, "error": string, "message": string},
        "required": ["status"],
    }
    body: Schema = {
        "type": "object",
        "properties": dict.fromkeys(("provider", "redirect_url", "code", "state", "error"), string),
        "required": ["provider"],
    }
    state = Query("state", "The state the login began with")
    return [
        *(_begin_route(logins, provider, offer) for provider, offer in logins.offers()),
        Route(
            method="GET",
            path="/get-auth-status",
            handler=logins.status,
            summary="How a login fares",
            tag=_TAG,
            query=(state,),
            answer=outcome,
        ),
        Route(
            method="POST",
            path="/oauth-callback",
            handler=logins.callback,
            summary="Hand over the address a browser ended at",
            tag=_TAG,
            body=body,
            refusals=(400, 404, 409, 413),
        ),
        Route(
            method="POST",
            path="/auth-files/check",
            handler=logins.check,
            summary="Look at a login that another program has written",
            tag="Accounts",
            body={"type": "object", "properties": {"name": string}, "required": ["name"]},
            answer={
                **STATUS_OK,
                "properties": {
                    **STATUS_OK["properties"],
                    "known": {"type": "boolean"},
                    "models": {"type": "integer"},
                },
            },
            refusals=(400, 413),
        ),
        Route(
            method="DELETE",
            path="/oauth-session",
            handler=logins.cancel,
            summary="Give a login up",
            tag=_TAG,
            query=(state,),
            answer={**STATUS_OK, "properties": {**STATUS_OK["properties"], "cancelled": {"type": "boolean"}}},
        ),
    ]


def _begin_route(logins: Logins, provider: Provider, offer: LoginOffer) -> Route:
    string = {"type": "string"}
    query = []
    if "browser" in offer.methods:
        query.append(Query("is_webui", "Listen on the provider's port for the browser that comes back"))
    if len(offer.methods) > 1:
        query.append(Query("method", "How to log in", {"enum": list(offer.methods)}))
    if offer.projects:
        query.append(Query("project_id", "A project, ALL or GOOGLE_ONE; the first one unless told"))

    async def begin(request: web.Request) -> web.Response:
        return await logins.begin(request, provider, offer)

    return Route(
        method="GET",
        path=f"/{offer.route or provider.name}-auth-url",
        handler=begin,
        summary=f"Begin a login to {offer.title}",
        tag=_TAG,
        query=tuple(query),
        answer={
            "type": "object",
            "properties": {
                "status": {"const": "ok"},
                "url": string,
                "state": string,
                "flow": {"const": "device"},
                "user_code": string,
                "expires_in": {"type": "integer"},
            },
            "required": ["status", "url", "state"],
        },
        refusals=(400, 429, 500),
    )
