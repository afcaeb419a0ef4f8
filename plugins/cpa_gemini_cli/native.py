"""The login that Gemini CLI keeps in ``oauth_creds.json``.

https://github.com/google-gemini/gemini-cli/blob/main/docs/get-started/authentication.md
"""

from __future__ import annotations

import re
from hashlib import sha256

from cpa.errors import LoginError
from cpa.plugins import NativeFiles, NewLogin, name_part, read_time
from cpa.plugins.native import NativeSource, required_text, text_of
from cpa.plugins.oauth import jwt_claims, time_text
from cpa_gemini_cli.oauth import CLIENT_SECRET_VARIABLE, GeminiCliEndpoints

SOURCE = NativeSource(
    name="gemini",
    title="Gemini CLI",
    folder=".gemini",
    file="oauth_creds.json",
    more=("google_accounts.json", "settings.json", ".env"),
    rotates=False,
)
_PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT_ID")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{4,62}")


def take(endpoints: GeminiCliEndpoints, files: NativeFiles) -> NewLogin:
    """The auth file for Gemini CLI's login. Raises LoginError when it keeps none that can be taken."""
    if SOURCE.file not in files.contents:
        raise LoginError("not_logged_in", _why_missing(files))
    kept = files.json(SOURCE.file)
    access, refresh = (required_text(kept, name, SOURCE.file) for name in ("access_token", "refresh_token"))
    expires = read_time(kept.get("expiry_date"))
    scope = text_of(kept, "scope")
    email = (
        text_of(files.perhaps("google_accounts.json"), "active")
        or text_of(jwt_claims(kept.get("id_token")), "email")
        or files.identity.get("email", "")
    )
    project = _project(files)
    token = {
        "access_token": access,
        "token_type": text_of(kept, "token_type") or "Bearer",
        "refresh_token": refresh,
        "expiry": time_text(expires) if expires is not None else "",
        "token_uri": endpoints.token_url,
        "client_id": endpoints.client_id,
        "client_secret": endpoints.client_secret,
        "scopes": scope.split() or list(endpoints.scopes),
        "universe_domain": "googleapis.com",
    }
    return NewLogin(
        name=f"gemini-{name_part(email or _short(refresh))}{'-' + name_part(project) if project else ''}.json",
        data={
            "type": "gemini",
            "token": {member: value for member, value in token.items() if value},
            "project_id": project,
            "email": email,
            "auto": not project,
            "checked": False,
        },
        label=email or "Google",
        notes=tuple(_notes(endpoints, project)),
    )


def _short(refresh_token: str) -> str:
    return sha256(refresh_token.encode()).hexdigest()[:8]


def _notes(endpoints: GeminiCliEndpoints, project: str) -> list[str]:
    notes = [f"project: {project}" if project else "project: Google's choice"]
    if not endpoints.client_secret:
        notes.append(f"to renew it cpa needs {CLIENT_SECRET_VARIABLE}")
    return notes


def _project(files: NativeFiles) -> str:
    """The project of the environment or of Gemini CLI's own ``.env``; empty when there is none."""
    kept = dict(
        line.strip().removeprefix("export ").split("=", 1) for line in files.text(".env").splitlines() if "=" in line
    )
    for variables in (files.environ, kept):
        for name in _PROJECT_VARIABLES:
            value = str(variables.get(name, "")).strip().strip("'\"")
            if _PROJECT.fullmatch(value):
                return value
    return ""


def _why_missing(files: NativeFiles) -> str:
    settings = files.perhaps("settings.json")
    chosen = text_of(settings, "security", "auth", "selectedType") or text_of(settings, "selectedAuthType")
    if chosen in ("gemini-api-key", "vertex-ai", "cloud-shell"):
        return f"it uses {chosen}, no login: put its key into config.yaml, or log in with cpa login gemini-cli"
    if chosen:
        return (
            f"it keeps no {SOURCE.file}, maybe its login is in the system's keychain: log in with cpa login gemini-cli"
        )
    return f"it is not logged in: there is no {SOURCE.file}"
