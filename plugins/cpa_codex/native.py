"""The login that Codex CLI keeps in ``auth.json``.

https://developers.openai.com/codex/auth
"""

from __future__ import annotations

import tomllib
from hashlib import sha256

from cpa.errors import LoginError
from cpa.plugins import NativeFiles, NewLogin, read_time
from cpa.plugins.native import NativeSource, object_of, required_text, text_of
from cpa.plugins.oauth import jwt_claims, time_text
from cpa_codex.login import file_names
from cpa_codex.oauth import CodexIdentity, identity_of

SOURCE = NativeSource(
    name="codex",
    title="Codex CLI",
    folder=".codex",
    variable="CODEX_HOME",
    file="auth.json",
    more=("config.toml",),
)


def take(files: NativeFiles) -> NewLogin:
    """The auth file for Codex CLI's login. Raises LoginError when it keeps none that can be taken."""
    if SOURCE.file not in files.contents:
        raise LoginError("not_logged_in", _why_missing(files))
    kept = files.json(SOURCE.file)
    tokens = object_of(kept, "tokens")
    if not tokens and text_of(kept, "OPENAI_API_KEY"):
        message = "it uses an API key, no login: put that key into config.yaml under codex-api-key"
        raise LoginError("api_key", f"{message} (base-url: https://api.openai.com/v1)")
    if not tokens:
        raise LoginError("not_logged_in", "it is not logged in: auth.json holds no tokens")
    access, refresh = (required_text(tokens, name, SOURCE.file) for name in ("access_token", "refresh_token"))
    told = identity_of(tokens.get("id_token"))
    who = CodexIdentity(
        told.email or files.identity.get("email", ""), told.account_id or text_of(tokens, "account_id"), told.plan
    )
    expires = jwt_claims(access).get("exp")
    data = {
        "type": "codex",
        "id_token": text_of(tokens, "id_token"),
        "access_token": access,
        "refresh_token": refresh,
        "account_id": who.account_id,
        "email": who.email,
        "last_refresh": _utc(kept.get("last_refresh")),
        "expired": _utc(expires),
    }
    if who.email:
        name, spare = file_names(who)
    else:
        short = sha256((who.account_id or refresh).encode()).hexdigest()[:8]
        name, spare = f"codex-{short}.json", ""
    return NewLogin(
        name=name,
        spare_name=spare,
        data={member: value for member, value in data.items() if value},
        label=who.email or "ChatGPT",
        notes=(f"plan: {who.plan}",) if who.plan else (),
    )


def _utc(value: object) -> str:
    at = read_time(value)
    return time_text(at) if at is not None else ""


def _why_missing(files: NativeFiles) -> str:
    try:
        store = tomllib.loads(files.text("config.toml")).get("cli_auth_credentials_store")
    except tomllib.TOMLDecodeError:
        store = None
    if store in ("keyring", "auto"):
        return "it keeps its login in the system's keyring: log in with cpa login codex instead"
    return "it is not logged in: there is no auth.json"
