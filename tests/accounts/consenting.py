"""The identity provider with everything before the tokens: consent pages, codes to type in, projects to choose."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web
from identity_provider import IdentityProvider, Login, jwt

GOOGLE_SECRET = "the-installed-app-secret"


@dataclass
class Consenting(IdentityProvider):
    """``user`` agrees to everything, unless ``denies``."""

    expires_in: Any = 30 * 86_400
    user: str = "a@b.c"
    denies: bool = False
    changes_state: str = ""
    """What browsers come back with instead of the state."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the next id tokens and access tokens."""
    token_members: dict[str, Any] = field(default_factory=dict)
    """Members of answers with tokens to put instead; None leaves one out."""
    authorized: list[dict[str, str]] = field(default_factory=list)
    """Queries of the consent pages that were opened."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    polls: list[Any] = field(default_factory=list)
    """Answers to the next questions about a code: an error's name, or a status. After them it is confirmed."""
    interval: Any = 5
    device_status: int = 200
    projects: list[dict[str, Any]] = field(default_factory=lambda: [{"projectId": "p1", "name": "One"}])
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Method, path and body of Google's other calls."""
    onboarding: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """The next answers to ``onboardUser`` and to questions about its operation."""
    code_assist: dict[str, Any] = field(default_factory=dict)
    """Members of ``loadCodeAssist``'s answer."""
    disabled: set[str] = field(default_factory=set)
    """Projects whose service is not enabled."""
    enable_answer: tuple[int, dict[str, Any]] = (200, {})

    def __post_init__(self) -> None:
        super().__post_init__()
        router = self.app.router
        router.add_get("/authorize/{vendor}", self._consent)
        router.add_post("/device/{vendor}", self._device)
        router.add_post("/device-token/codex", self._codex_device_token)
        router.add_get("/userinfo", self._userinfo)
        router.add_get("/projects", self._projects)
        router.add_route("*", "/services/{rest:.*}", self._service)
        router.add_post("/v1internal:{method}", self._code_assist)
        router.add_get("/v1internal/{name:.*}", self._operation)

    async def _consent(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.authorized.append(query)
        back = {"state": self.changes_state or query["state"]}
        if self.denies:
            back["error"] = "access_denied"
        else:
            back["code"] = f"code-{len(self.authorized)}"
            self.codes[back["code"]] = {**query, "vendor": request.match_info["vendor"]}
        return web.Response(status=302, headers={"Location": f"{query['redirect_uri']}?{urlencode(back)}"})

    async def _device(self, request: web.Request) -> web.Response:
        if self.device_status != 200:
            return web.json_response({"error": "not_here"}, status=self.device_status)
        vendor = request.match_info["vendor"]
        shown = {"user_code": "WXYZ-1234", "interval": self.interval, "expires_in": 600}
        if vendor == "codex":
            return web.json_response({"device_auth_id": "device-auth", **shown})
        page = f"{request.url.origin()}/confirm"
        complete = f"{page}?user_code=WXYZ-1234"
        uris = {"verification_uri": page, "verification_uri_complete": complete}
        return web.json_response({"device_code": "device-code", **uris, **shown})

    async def _codex_device_token(self, request: web.Request) -> web.Response:
        sent = orjson.loads(await request.read())
        self.calls.append({**sent, "vendor": "codex-device"})
        if self.polls:
            return web.json_response({"error": "not yet"}, status=int(self.polls.pop(0)))
        verifier = "v" * 43
        self.codes["device"] = {"vendor": "codex", "code_challenge": _challenge(verifier), "redirect_uri": ""}
        return web.json_response({"authorization_code": "device", "code_verifier": verifier, "code_challenge": "c"})

    def _granted(self, vendor: str, sent: dict[str, Any]) -> web.Response:
        match sent.get("grant_type"):
            case "authorization_code":
                return self._exchanged(vendor, sent)
            case "urn:ietf:params:oauth:grant-type:device_code":
                if self.polls:
                    return web.json_response({"error": self.polls.pop(0)})
                return web.json_response(self._first(vendor))
        return super()._granted(vendor, sent)

    def _exchanged(self, vendor: str, sent: dict[str, Any]) -> web.Response:
        """RFC 6749, section 4.1.3: once, for the same redirect URI, with the verifier of the challenge."""
        known = self.codes.pop(str(sent.get("code")), None)
        if known is None or known["vendor"] != vendor:
            return web.json_response({"error": "invalid_grant", "error_description": "bad code"}, status=400)
        if known["redirect_uri"] and known["redirect_uri"] != sent.get("redirect_uri"):
            return web.json_response({"error": "invalid_grant", "error_description": "redirect"}, status=400)
        if "code_challenge" in known and _challenge(str(sent.get("code_verifier"))) != known["code_challenge"]:
            return web.json_response({"error": "invalid_grant", "error_description": "verifier"}, status=400)
        if vendor == "gemini" and sent.get("client_secret") != GOOGLE_SECRET:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(self._first(vendor))

    def _first(self, vendor: str) -> dict[str, Any]:
        """The tokens of a new login."""
        login = self.logins.get((vendor, self.user)) or self.login(vendor, self.user)
        login.revoked = False
        login.generation += 1
        answer = {**self._renewed(login), "refresh_token": login.refresh_token, **self.token_members}
        return {name: value for name, value in answer.items() if value is not None}

    def _renewed(self, login: Login) -> dict[str, Any]:
        answer = super()._renewed(login)
        if login.vendor == "codex":
            answer["id_token"] = jwt({"email": login.user, **self.claims})
        if login.vendor == "kimi" and self.claims:
            login.access = answer["access_token"] = jwt({**self.claims, "n": len(self.granted)})
        return answer

    # -- Google -------------------------------------------------------------------------------------------------

    def _note(self, request: web.Request, body: dict[str, Any] | None = None) -> Login | None:
        self.asked.append((request.method, request.path, body or {}))
        return self.find(request.headers.get("Authorization", "").removeprefix("Bearer "))

    async def _userinfo(self, request: web.Request) -> web.Response:
        login = self._note(request)
        if login is None:
            return web.json_response({"error": {"message": "no"}}, status=401)
        return web.json_response({"email": login.user} if login.user else {})

    async def _projects(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.json_response({"projects": self.projects})

    async def _service(self, request: web.Request) -> web.Response:
        self._note(request)
        project = request.match_info["rest"].split("/")[1]
        if request.method == "GET":
            return web.json_response({"state": "DISABLED" if project in self.disabled else "ENABLED"})
        status, answer = self.enable_answer
        return web.json_response(answer, status=status)

    async def _code_assist(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self._note(request, body)
        if request.match_info["method"] == "loadCodeAssist":
            return web.json_response(self.code_assist)
        if self.onboarding:
            status, answer = self.onboarding.pop(0)
            return web.json_response(answer, status=status)
        return web.json_response(
            {"done": True, "response": {"cloudaicompanionProject": body.get("cloudaicompanionProject", "found-1")}}
        )

    async def _operation(self, request: web.Request) -> web.Response:
        self._note(request)
        status, answer = self.onboarding.pop(0)
        return web.json_response(answer, status=status)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def login_settings(url: str, ports: dict[str, int] | None = None) -> dict[str, Any]:
    """``plugins.configs`` with every endpoint of a login at ``url``, and redirect URIs with these ports by vendor."""
    ports = ports or {}

    def redirect(vendor: str, path: str) -> dict[str, str]:
        return {"redirect-uri": f"http://localhost:{ports[vendor]}{path}"} if vendor in ports else {}

    def common(vendor: str) -> dict[str, str]:
        return {"token-url": f"{url}/token/{vendor}", "authorize-url": f"{url}/authorize/{vendor}"}

    return {
        "claude": {"oauth": {**common("claude"), **redirect("claude", "/callback")}},
        "codex": {
            "oauth": {
                **common("codex"),
                **redirect("codex", "/auth/callback"),
                "device-code-url": f"{url}/device/codex",
                "device-token-url": f"{url}/device-token/codex",
                "device-page": f"{url}/confirm",
                "device-redirect-uri": f"{url}/deviceauth/callback",
            }
        },
        "gemini_cli": {
            "oauth": {
                **common("gemini"),
                **redirect("gemini", "/oauth2callback"),
                "client-secret": GOOGLE_SECRET,
                "userinfo-url": f"{url}/userinfo",
                "projects-url": f"{url}/projects",
                "services-url": f"{url}/services",
                "code-assist-url": url,
            }
        },
        "kimi": {
            "oauth": {"token-url": f"{url}/token/kimi", "device-authorization-url": f"{url}/device/kimi"},
        },
    }
