"""Log in to Google for Gemini CLI: a page in the browser, then a project that Code Assist serves.

https://developers.google.com/identity/protocols/oauth2/native-app
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from cpa.errors import LoginError, OAuthError
from cpa.plugins import Choice, Login, LoginOffer, NewLogin, name_part, new_pkce
from cpa_gemini_cli.oauth import GeminiCliEndpoints, exchange, required_secret
from cpa_gemini_cli.onboarding import CodeAssist, Project

OFFER = LoginOffer(
    title="Google (Gemini CLI)",
    methods=("browser",),
    aliases=("gemini", "google"),
    route="gemini-cli",
    callback="google",
    projects=True,
)
ALL = "ALL"
GOOGLE_ONE = "GOOGLE_ONE"


async def log_in(endpoints: GeminiCliEndpoints, login: Login) -> NewLogin:
    """Log in, choose projects, have them set up. Raises LoginError and OAuthError."""
    try:
        required_secret(endpoints.client_secret)
    except OAuthError as fault:
        raise LoginError("client_secret_missing", str(fault)) from None
    token = await _tokens(endpoints, login)
    google = CodeAssist(endpoints, login, str(token["access_token"]))
    login.progress("Asking Google who you are")
    email = await google.email()
    projects, notes = await _set_up(google, login)
    several = len(projects) > 1 or login.options.project.strip().upper() == ALL
    ending = "all" if several else name_part(projects[0])
    return NewLogin(
        name=f"gemini-{name_part(email)}-{ending}.json",
        data={
            "type": "gemini",
            "token": token,
            "project_id": ",".join(projects),
            "email": email,
            "auto": not login.options.project.strip() and not several,
            "checked": True,
            **({"tier_id": google.tier} if google.tier else {}),
        },
        label=email,
        notes=(f"project: {', '.join(projects)}", *notes),
    )


async def _tokens(endpoints: GeminiCliEndpoints, login: Login) -> dict[str, Any]:
    """The ``token`` member of the auth file."""
    pkce = new_pkce()
    redirect_uri = login.redirect_uri(endpoints.redirect_uri, any_port=True)
    query = {
        "client_id": endpoints.client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": " ".join(endpoints.scopes),
        "access_type": "offline",
        "prompt": "consent",
        "state": login.state,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
    }
    code = await login.authorize(f"{endpoints.authorize_url}?{urlencode(query)}", redirect_uri)
    return await exchange(endpoints, login.http, code=code, verifier=pkce.verifier, redirect_uri=redirect_uri)


async def _set_up(google: CodeAssist, login: Login) -> tuple[list[str], list[str]]:
    """The projects that are ready, as the backend names them, and what is to be told of the others."""
    wanted = await _chosen(google, login)
    ready: list[str] = []
    failed: list[str] = []
    for project in wanted:
        login.progress(f"Setting up {project or 'a project'}")
        try:
            backend = await google.set_up(project)
            await google.enable(backend)
        except LoginError as fault:
            if len(wanted) == 1:
                raise
            failed.append(f"{project} was left out: {fault}")
        else:
            ready.append(backend)
    if not ready:
        raise LoginError("onboarding", f"none of your projects can be used; {failed[0]}")
    return list(dict.fromkeys(ready)), failed


async def _chosen(google: CodeAssist, login: Login) -> list[str]:
    """What was asked for, or is chosen now; '' stands for a project Google chooses."""
    asked = login.options.project.strip()
    if not asked:
        ways = [
            Choice("project", "Code Assist with one of your Google Cloud projects"),
            Choice(GOOGLE_ONE, "Google One"),
        ]
        asked = await login.choose("How is Gemini paid for?", ways, default="project")
        asked = "" if asked == "project" else asked
    if asked.upper() == GOOGLE_ONE:
        return [""]
    login.progress("Asking Google for your projects")
    projects = await google.projects()
    known = [project.id for project in projects]
    if asked and asked.upper() != ALL and asked not in known:
        shown = ", ".join(known[:10]) + (" ..." if len(known) > 10 else "")
        raise LoginError("projects", f"there is no project {asked!r}; you have {shown}")
    if not asked:
        asked = await login.choose("Which project?", _choices(projects), default=known[0])
    return known if asked.upper() == ALL else [asked]


def _choices(projects: list[Project]) -> list[Choice]:
    listed = [
        Choice(project.id, f"{project.id} ({project.name})" if project.name else project.id) for project in projects
    ]
    return [*listed, Choice(ALL, "all of them")] if len(listed) > 1 else listed
