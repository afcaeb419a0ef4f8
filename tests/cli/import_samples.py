"""Credential files of other programs, in every shape they have."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

EXPIRY = 4070908800
"""2099-01-01T00:00:00Z"""


def jwt(claims: dict[str, Any]) -> str:
    """An unsigned JWT."""
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.s"


def id_token(email: str = "dora@example.com", account: str = "acc-dora", plan: str = "pro") -> str:
    """What OpenAI says about somebody."""
    return jwt(
        {"email": email, "https://api.openai.com/auth": {"chatgpt_account_id": account, "chatgpt_plan_type": plan}}
    )


def codex(refresh: str = "rt-dora", **changes: Any) -> dict[str, Any]:
    """``auth.json`` of Codex CLI; ``changes`` at the top level, None removes."""
    tokens = {
        "id_token": id_token(),
        "access_token": jwt({"exp": EXPIRY}),
        "refresh_token": refresh,
        "account_id": "acc-dora",
    }
    whole = {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": tokens,
        "last_refresh": "2026-11-20T10:00:00.123456789Z",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None or name == "OPENAI_API_KEY"}


def claude(refresh: str = "sk-ant-ort01-dora") -> dict[str, Any]:
    """``.credentials.json`` of Claude Code."""
    return {
        "claudeAiOauth": {
            "accessToken": "sk-ant-oat01-dora",
            "refreshToken": refresh,
            "expiresAt": EXPIRY * 1000,
            "scopes": ["user:inference"],
            "subscriptionType": "max",
            "rateLimitTier": "default",
        }
    }


CLAUDE_STATE = {
    "projects": {"/somewhere": {}},
    "oauthAccount": {
        "accountUuid": "u-1",
        "emailAddress": "dora@example.com",
        "organizationUuid": "o-1",
        "organizationName": "Dora",
    },
}
GEMINI = {
    "access_token": "ya29.dora",
    "refresh_token": "1//dora",
    "scope": "openid https://www.googleapis.com/auth/cloud-platform",
    "token_type": "Bearer",
    "id_token": jwt({"email": "id@example.com"}),
    "expiry_date": EXPIRY * 1000,
}


def put(path: Path, data: Any) -> Path:
    """Write JSON, or text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def state_of(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, modification time and mode of every file below a folder."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
