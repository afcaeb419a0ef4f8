"""One auth file of every shape that CLIProxyAPI writes."""

from __future__ import annotations

from typing import Any

import orjson

SAMPLES: dict[str, dict[str, Any]] = {
    "claude-a@example.com.json": {
        "id_token": "",
        "access_token": "sk-ant-oat01-aaaaaaaaaaaaaaaaaaaa",
        "refresh_token": "sk-ant-ort01-bbbbbbbbbbbbbbbbbbbb",
        "last_refresh": "2026-01-02T03:04:05+01:00",
        "email": "a@example.com",
        "type": "claude",
        "expired": "2026-01-02T11:04:05+01:00",
        "disabled": False,
        "organization_uuid": "00000000-0000-4000-8000-000000000001",
    },
    "codex-a@example.com-plus.json": {
        "type": "codex",
        "email": "a@example.com",
        "account_id": "acc",
        "id_token": "h.p.s",
        "access_token": "at-codex",
        "refresh_token": "rt-codex",
        "last_refresh": "2026-01-02T03:04:05+01:00",
        "expired": "2026-01-12T03:04:05+01:00",
    },
    "g@example.com-all.json": {
        "token": {
            "access_token": "ya29.one",
            "token_type": "Bearer",
            "refresh_token": "1//refresh",
            "expiry": "2026-01-02T03:04:05.678901234Z",
            "token_uri": "https://oauth2.googleapis.com/token",
            "client_id": "client",
            "client_secret": "secret",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
            "universe_domain": "googleapis.com",
        },
        "project_id": "first-project, second-project,first-project",
        "email": "g@example.com",
        "auto": False,
        "checked": True,
        "type": "gemini",
    },
    "kimi-1767322800000.json": {
        "access_token": "at-kimi",
        "refresh_token": "rt-kimi",
        "token_type": "Bearer",
        "scope": "kimi-code",
        "device_id": "device",
        "expired": "2026-01-02T03:04:05Z",
        "type": "kimi",
        "timestamp": 1767322800000,
    },
    "vertex-my-project.json": {
        "service_account": {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "client_email": "cpa@my-project.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        },
        "project_id": "my-project",
        "email": "cpa@my-project.iam.gserviceaccount.com",
        "location": "us-central1",
        "type": "vertex",
        "prefix": "/team/",
        "label": "my-project",
    },
    "antigravity-a@example.com.json": {
        "type": "antigravity",
        "access_token": "at-antigravity",
        "refresh_token": "rt-antigravity",
        "expires_in": 3599,
        "timestamp": 1767322800000,
        "expired": "2026-01-02T03:04:05+01:00",
        "email": "a@example.com",
        "project_id": "p",
    },
    "xai-a@example.com.json": {
        "type": "xai",
        "access_token": "at-xai",
        "refresh_token": "rt-xai-token",
        "base_url": "https://api.x.ai/v1",
        "auth_kind": "oauth",
    },
    "AIStudio.JSON": {"type": "aistudio", "email": "aistudio-0123456789abcdef"},
}


OPTIONS: dict[str, Any] = {
    "prefix": "team",
    "proxy_url": "direct",
    "priority": "7",
    "note": "ends in May",
    "label": "mine",
    "headers": {"X-One": "1"},
    "excluded-models": ["*-nothing-*"],
    "disable-cooling": "true",
    "request_retry": 2,
    "websockets": "true",
    "tool_prefix_disabled": True,
    "weight": 3,
    "model_aliases": [{"name": "a", "alias": "b", "fork": True, "force-mapping": False, "display-name": "B"}],
    "request_scoped_errors": [{"status": 400, "match": ["x"], "match-regexr": [], "action": "stop"}],
    "cloak_mode": "auto",
    "fingerprint_profile": "p",
    "of_tomorrow": {"deep": [1, {"er": 12345678901234567890}]},
}
"""Every option a file may have, and members nobody knows."""

_TOKENS = {"access_token": "at", "refresh_token": "rt"}
VARIANTS: dict[str, dict[str, Any]] = {
    "claude-uuids.json": {
        **_TOKENS,
        "id_token": "",
        "last_refresh": "2026-01-02T03:04:05Z",
        "email": "uuids@example.com",
        "type": "CLAUDE",
        "expired": "2026-01-02T11:04:05.123456789+01:00",
        "account_uuid": "u",
        "organization_uuid": "o",
        "organization_name": "Org",
    },
    "codex-01234567-b@example.com-team.json": {
        **_TOKENS,
        **OPTIONS,
        "type": "codex",
        "email": "b@example.com",
        "account_id": "acc-team",
        "id_token": "h.p.s",
        "last_refresh": "2026-01-02 03:04",
        "expired": 1767322800,
    },
    "codex-b@example.com.json": {
        **_TOKENS,
        "type": "codex",
        "email": "b@example.com",
        "account_id": "acc",
        "id_token": "h.p.s",
        "last_refresh": "2026-01-02 03:04:05",
        "expires_at": "1767322800000",
        "expired": "2026-01-02T03:04:05+01:00",
        "refresh_interval": "5h",
    },
    "gemini-g@example.com-single.json": {
        "token": {
            **_TOKENS,
            "token_type": "Bearer",
            "expiry": "2026-01-02T03:04:05+01:00",
            "token_uri": "https://oauth2.googleapis.com/token",
            "client_id": "client",
            "client_secret": "secret",
            "scopes": ["a", "b"],
            "universe_domain": "googleapis.com",
        },
        "project_id": "single",
        "email": "g@example.com",
        "auto": True,
        "checked": True,
        "type": "gemini",
        "access_token": "at",
        "refresh_token": "rt",
        "expiry": "2026-01-02T03:04:05+01:00",
    },
    "kimi-options.json": {
        **_TOKENS,
        **OPTIONS,
        "token_type": "Bearer",
        "scope": "kimi-code",
        "device_id": "device-2",
        "expired": "2026-01-02T03:04:05Z",
        "type": "kimi",
        "timestamp": 1767322800001,
    },
    "xai-whole.json": {
        **_TOKENS,
        "type": "xai",
        "id_token": "h.p.s",
        "token_type": "Bearer",
        "expires_in": 3600,
        "expired": "2026-01-02T03:04:05Z",
        "last_refresh": "2026-01-02T02:04:05Z",
        "email": "x@example.com",
        "sub": "sub",
        "base_url": "https://api.x.ai/v1",
        "token_endpoint": "https://auth.x.ai/oauth2/token",
        "redirect_uri": "",
        "auth_kind": "oauth",
        "using_api": False,
    },
    "of-tomorrow.json": {"type": "brand-new", "whatever": {"it": ["has"]}},
}
"""More of them: newer members, options, other plans, other spellings of times."""


def dumped(data: dict[str, Any]) -> bytes:
    return orjson.dumps(data)
