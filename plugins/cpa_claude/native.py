"""The login that Claude Code keeps in ``.credentials.json``.

https://docs.anthropic.com/en/docs/claude-code/iam
"""

from __future__ import annotations

from hashlib import sha256

from cpa.errors import LoginError
from cpa.plugins import NativeFiles, NewLogin, name_part, read_time
from cpa.plugins.native import NativeSource, object_of, required_text, text_of
from cpa.plugins.oauth import time_text

SOURCE = NativeSource(
    name="claude",
    title="Claude Code",
    folder=".claude",
    variable="CLAUDE_CONFIG_DIR",
    file=".credentials.json",
    more=(".claude.json",),
    home_files=(".claude.json",),
)
TOKEN_VARIABLE = "CLAUDE_CODE_OAUTH_TOKEN"  # noqa: S105 - a name

_IDENTITY = {
    "email": "emailAddress",
    "account_uuid": "accountUuid",
    "organization_uuid": "organizationUuid",
    "organization_name": "organizationName",
}
"""Members of an auth file, by their names in ``.claude.json``."""


def take(files: NativeFiles) -> NewLogin:
    """The auth file for Claude Code's login. Raises LoginError when it keeps none that can be taken."""
    if SOURCE.file not in files.contents:
        raise LoginError("not_logged_in", _why_missing(files))
    kept = object_of(files.json(SOURCE.file), "claudeAiOauth")
    if not kept:
        raise LoginError("not_logged_in", f"it is not logged in: {SOURCE.file} holds no login to Claude")
    access, refresh = (required_text(kept, name, SOURCE.file) for name in ("accessToken", "refreshToken"))
    told = object_of(files.perhaps(".claude.json"), "oauthAccount")
    who = {
        **{member: text_of(told, theirs) for member, theirs in _IDENTITY.items() if text_of(told, theirs)},
        **files.identity,
    }
    email, organization = who.get("email", ""), who.get("organization_uuid", "")
    expires = read_time(kept.get("expiresAt"))
    data = {
        "type": "claude",
        "access_token": access,
        "refresh_token": refresh,
        "expired": time_text(expires) if expires is not None else "",
        **who,
    }
    if plan := text_of(kept, "subscriptionType"):
        data["subscription_type"] = plan
    short = sha256((organization if email else refresh).encode()).hexdigest()[:8]
    return NewLogin(
        name=f"claude-{name_part(email) if email else short}.json",
        spare_name=f"claude-{short}-{name_part(email)}.json" if email and organization else "",
        data={"id_token": "", **{member: value for member, value in data.items() if value}},
        label=email or "Claude",
        notes=(f"plan: {plan}",) if plan else (),
    )


def _why_missing(files: NativeFiles) -> str:
    if files.environ.get(TOKEN_VARIABLE, "").strip():
        return f"{TOKEN_VARIABLE} holds a token that is never renewed: it can be the api-key of a claude-api-key entry"
    return f"it is not logged in, or keeps its login in the system's keychain: there is no {SOURCE.file}"
