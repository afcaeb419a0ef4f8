"""An authorization server that behaves like the vendors': tokens end, rotate, are revoked; it can be slow or broken."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass
class Login:
    """One user's login. ``generation`` counts the refresh tokens it had."""

    vendor: str
    user: str
    generation: int = 0
    access: str = ""
    acknowledged: int = 0
    """The generation whose access token was last used: refresh tokens of earlier ones have surely been replaced."""
    revoked: bool = False

    @property
    def refresh_token(self) -> str:
        return self.refresh_token_of(self.generation)

    def refresh_token_of(self, generation: int) -> str:
        """The refresh token that came as number ``generation``."""
        return f"rt-{self.vendor}-{self.user}-{generation}"


@dataclass
class IdentityProvider:
    """``rotates``: a refresh token works once. ``leeway``: it works again until a token that came after it was used."""

    rotates: bool = True
    leeway: bool = False
    expires_in: Any = 3600
    """Seconds, or a dictionary of them by vendor."""
    delay: float = 0.0
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers; 0 drops the connection. After them it works."""
    headers: dict[str, str] = field(default_factory=dict)
    logins: dict[tuple[str, str], Login] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    granted: list[str] = field(default_factory=list)
    """Users whose login was refreshed, in order."""
    most_at_once: int = 0
    """Calls that were under way at the same time."""
    _at_once: int = 0

    def __post_init__(self) -> None:
        self.app = web.Application()
        self.app.router.add_post("/token/{vendor}", self._token)
        self.app.router.add_post("/use", self._use)

    def login(self, vendor: str, user: str) -> Login:
        """A new login with an access token."""
        login = self.logins[vendor, user] = Login(vendor, user, access=f"at-{vendor}-{user}-0")
        return login

    def find(self, access_token: str) -> Login | None:
        """The login whose newest access token this is, if it is worth something."""
        for login in self.logins.values():
            if login.access == access_token and not login.revoked:
                login.acknowledged = login.generation
                return login
        return None

    def end_tokens(self) -> None:
        """Every access token is refused from now on."""
        for login in self.logins.values():
            login.access = ""

    async def _use(self, request: web.Request) -> web.Response:
        """Any API of the vendor: 204 for a good access token, 401 for another."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return web.Response(status=204 if self.find(token) is not None else 401)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        vendor = request.match_info["vendor"]
        sent: dict[str, Any]
        if request.content_type == "application/json":
            sent = orjson.loads(await request.read())
        else:
            sent = dict(await request.post())
        self.calls.append({**sent, "vendor": vendor, "headers": dict(request.headers)})
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
        finally:
            self._at_once -= 1
        if self.statuses:
            status = self.statuses.pop(0)
            if status == 0:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return web.json_response({"error": "server_error"}, status=status, headers=self.headers)
        return self._granted(vendor, sent)

    def _granted(self, vendor: str, sent: dict[str, Any]) -> web.Response:
        return self._grant(vendor, str(sent.get("refresh_token")))

    def _grant(self, vendor: str, token: str) -> web.Response:
        for login in self.logins.values():
            if login.vendor != vendor or login.revoked:
                continue
            oldest = login.acknowledged if self.leeway else login.generation
            if token in [login.refresh_token_of(number) for number in range(oldest, login.generation + 1)]:
                return web.json_response(self._renewed(login))
            if token.startswith(f"rt-{vendor}-{login.user}-"):
                return web.json_response({"error": {"code": "refresh_token_reused", "message": "used"}}, status=401)
        return web.json_response({"error": "invalid_grant", "error_description": "Token revoked"}, status=400)

    def _renewed(self, login: Login) -> dict[str, Any]:
        self.granted.append(login.user)
        if self.rotates:
            login.generation += 1
        login.access = f"at-{login.vendor}-{login.user}-{len(self.granted)}"
        lifetime = self.expires_in[login.vendor] if isinstance(self.expires_in, dict) else self.expires_in
        answer: dict[str, Any] = {"access_token": login.access, "token_type": "Bearer", "expires_in": lifetime}
        if self.rotates:
            answer["refresh_token"] = login.refresh_token
        if login.vendor == "claude":
            answer["account"] = {"uuid": "u-1", "email_address": login.user}
            answer["organization"] = {"uuid": "o-1", "name": "Org"}
        if login.vendor == "codex":
            answer["id_token"] = jwt({"email": login.user})
        return answer


def jwt(claims: dict[str, Any]) -> str:
    """An unsigned JWT."""
    auth = {"chatgpt_account_id": "acc", "chatgpt_plan_type": "plus"}
    content = {"https://api.openai.com/auth": auth, **claims}
    return f"h.{base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b'=').decode()}.s"


def auth_file(login: Login, expired: str = "2099-01-01T00:00:00Z") -> dict[str, Any]:
    """The auth file of a login as CLIProxyAPI writes it."""
    tokens = {"access_token": login.access, "refresh_token": login.refresh_token}
    match login.vendor:
        case "gemini":
            token = {**tokens, "token_type": "Bearer", "expiry": expired, "client_id": "own", "client_secret": "shh"}
            return {"type": "gemini", "email": login.user, "project_id": "p1", "token": token, "checked": True}
        case "kimi":
            return {"type": "kimi", **tokens, "device_id": "device-1", "expired": expired, "timestamp": 1767322800000}
        case "codex":
            claims = {"id_token": jwt({"email": login.user}), "account_id": "acc"}
            return {"type": "codex", "email": login.user, **tokens, **claims, "expired": expired}
    return {"type": login.vendor, "email": login.user, **tokens, "expired": expired, "id_token": ""}


def oauth_settings(url: str) -> dict[str, Any]:
    """``plugins.configs`` with every token endpoint at ``url``."""
    return {
        plugin: {"oauth": {"token-url": f"{url}/token/{vendor}"}}
        for plugin, vendor in (("claude", "claude"), ("codex", "codex"), ("gemini_cli", "gemini"), ("kimi", "kimi"))
    }
