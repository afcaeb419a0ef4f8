"""What a new login needs before Code Assist serves it: projects to choose from, one that is set up, an enabled service.

https://cloud.google.com/resource-manager/reference/rest/v1/projects/list,
https://cloud.google.com/service-usage/docs/reference/rest/v1/services; ``v1internal`` is not documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson
from msgspec import Struct

from cpa.accounts.login.callback import printable
from cpa.errors import LoginError, UpstreamError
from cpa.plugins import Login
from cpa.plugins.entries import USER_AGENT
from cpa_gemini_cli.oauth import GeminiCliEndpoints
from cpa_gemini_cli.projects import METADATA, project_of

FREE_TIER = "free-tier"
FALLBACK_TIER = "legacy-tier"
SERVICE = "cloudaicompanion.googleapis.com"
DISCOVERY_SECONDS, DISCOVERY_PAUSE = 30.0, 2.0
ONBOARDING_SECONDS, ONBOARDING_PAUSE = 180.0, 5.0
_MOST_PAGES = 20


class Project(Struct, frozen=True):
    """A Google Cloud project of whoever logs in."""

    id: str
    name: str


class CodeAssist:
    """Asks Google on behalf of one new login."""

    def __init__(self, endpoints: GeminiCliEndpoints, login: Login, access_token: str) -> None:
        self._endpoints = endpoints
        self._login = login
        self._token = access_token
        self.tier = ""
        """What Google calls the subscription, once a project was set up; empty when it does not say."""

    async def email(self) -> str:
        """Whose login it is. Raises LoginError."""
        status, answer = await self._ask("GET", self._endpoints.userinfo_url)
        email = answer.get("email")
        if status != 200 or not isinstance(email, str) or not email.strip():
            raise LoginError("user_info", f"Google did not say whose login this is (status {status})")
        return email.strip()

    async def projects(self) -> list[Project]:
        """The projects to choose from. Raises LoginError when there is none."""
        found: list[Project] = []
        token = ""
        for _ in range(_MOST_PAGES):
            join = "&" if "?" in self._endpoints.projects_url else "?"
            url = self._endpoints.projects_url + (f"{join}pageToken={quote(token, safe='')}" if token else "")
            status, answer = await self._ask("GET", url)
            if status != 200:
                raise LoginError("projects", f"Google does not list your projects: {_reason(status, answer)}")
            listed = answer.get("projects")
            found.extend(
                Project(entry["projectId"], printable(str(entry.get("name") or "")))
                for entry in (listed if isinstance(listed, list) else ())
                if isinstance(entry, dict) and isinstance(entry.get("projectId"), str)
            )
            token = str(answer.get("nextPageToken") or "")
            if not token:
                break
        if not found:
            raise LoginError("projects", "you have no Google Cloud project: make one, or use --project GOOGLE_ONE")
        return found

    async def set_up(self, project: str) -> str:
        """Make Code Assist ready for a project, '' to have Google choose one; the project it then uses.

        Raises LoginError.
        """
        loaded = await self._code_assist("loadCodeAssist", project=project)
        tier = _default_tier(loaded)
        self.tier = _tier_of(loaded) or (tier if tier != FALLBACK_TIER else "")
        wanted = project or project_of(loaded)
        if not wanted:
            wanted = await self._onboard(tier, "", DISCOVERY_SECONDS, DISCOVERY_PAUSE)
            if not wanted:
                message = "Google has no project for this login: choose one with --project"
                raise LoginError("project_required", message)
        return await self._onboard(tier, wanted, ONBOARDING_SECONDS, ONBOARDING_PAUSE) or wanted

    async def enable(self, project: str) -> None:
        """See to it that the project may use the service. Raises LoginError."""
        services = self._endpoints.services_url.rstrip("/")
        url = f"{services}/projects/{quote(project, safe='')}/services/{SERVICE}"
        status, answer = await self._ask("GET", url)
        if status == 200 and answer.get("state") == "ENABLED":
            return
        status, answer = await self._ask("POST", f"{url}:enable", {})
        reason = _reason(status, answer)
        if status in (200, 201) or (status == 400 and "already enabled" in reason.lower()):
            return
        raise LoginError("project_activation", f"project activation required: {reason}")

    async def _onboard(self, tier: str, project: str, seconds: float, pause: float) -> str:
        """Have a project set up and wait until it is; the project Google names, '' when it names none.

        The free tier is set up in a project of Google's own: none is sent then.
        """
        answer = await self._code_assist("onboardUser", tier=tier, project="" if tier == FREE_TIER else project)
        waited = 0.0
        while not answer.get("done"):
            if waited >= seconds:
                if not project:
                    return ""
                raise LoginError("onboarding", f"Google has not set up {project} within {seconds:.0f} seconds")
            await self._login.sleep(pause)
            waited += pause
            name = answer.get("name")
            if isinstance(name, str) and name.strip():
                answer = {"name": name, **await self._operation(name)}
            else:
                answer = await self._code_assist("onboardUser", tier=tier, project=project)
        if isinstance(answer.get("error"), dict):
            raise LoginError("onboarding", f"Google cannot set up {project or 'a project'}: {_reason(400, answer)}")
        response = answer.get("response")
        return project_of(response) if isinstance(response, dict) else ""

    async def _operation(self, name: str) -> dict[str, Any]:
        url = f"{self._endpoints.code_assist_url.rstrip('/')}/v1internal/{quote(name, safe='/')}"
        return await self._checked("GET", url, None)

    async def _code_assist(self, method: str, *, project: str, tier: str = "") -> dict[str, Any]:
        body: dict[str, Any] = {"metadata": METADATA}
        if tier:
            body["tierId"] = tier
        if project:
            body["cloudaicompanionProject"] = project
        return await self._checked("POST", f"{self._endpoints.code_assist_url.rstrip('/')}/v1internal:{method}", body)

    async def _checked(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        status, answer = await self._ask(method, url, body)
        if status != 200:
            raise LoginError("onboarding", f"Google's Code Assist refuses: {_reason(status, answer)}")
        return answer

    async def _ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of an answer, {} for anything else. Raises LoginError for network faults."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        content = None if body is None else orjson.dumps(body)
        try:
            status, _, answered = await self._login.http.request(
                method, url, headers=headers, body=content, timeout=30.0
            )
        except UpstreamError as fault:
            raise LoginError("network", fault.error.message) from fault
        try:
            answer = orjson.loads(answered)
        except orjson.JSONDecodeError:
            answer = None
        return status, answer if isinstance(answer, dict) else {}


def _tier_of(loaded: Mapping[str, Any]) -> str:
    """The tier a login has now; a subscription before what everybody has. Empty for one that has none yet."""
    tiers = [loaded.get(name) for name in ("paidTier", "currentTier")]
    return next((tier["id"] for tier in tiers if isinstance(tier, dict) and isinstance(tier.get("id"), str)), "")


def _default_tier(loaded: Mapping[str, Any]) -> str:
    tiers = loaded.get("allowedTiers")
    for tier in tiers if isinstance(tiers, list) else ():
        if isinstance(tier, dict) and tier.get("isDefault") is True and isinstance(tier.get("id"), str):
            return str(tier["id"])
    return FALLBACK_TIER


def _reason(status: int, answer: Mapping[str, Any]) -> str:
    error = answer.get("error")
    said = error.get("message") if isinstance(error, Mapping) else error
    return printable(said) if isinstance(said, str) and said.strip() else f"status {status}"
