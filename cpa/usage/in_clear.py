"""Keys that CLIProxyAPI recorded in clear: what stands for them in our record.

It names clients by their keys, and accounts that are keys by these. Here a client's key is known by its id, as in what
is recorded now, and an account's key is masked.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from cpa.accounts.account import mask
from cpa.config.client_keys import key_id

PROVIDERS = frozenset({
    "aistudio", "antigravity", "claude", "codex", "gemini", "gemini-cli", "iflow", "kimi", "qwen", "vertex", "xai",
})  # fmt: skip
"""Providers that CLIProxyAPI brings along."""
_ENDPOINT = re.compile(r"[A-Z]+ /.*", re.DOTALL)
_OUR_ID = re.compile(r"key-[0-9a-f]{12}")
_MASKED = re.compile(r"\.\.\.|…")
_KEY = re.compile(
    r"(sk|gsk|xai|pk|rk|ak|nvapi|hf|r8|csk|fw|tgp|ghp|github_pat|pplx|AIza)[-_A-Za-z0-9][-_.A-Za-z0-9]{6,}"
    r"|(?=\S*[0-9])(?=\S*[A-Za-z])\S{24,}"
)


def client_of(group: str, providers: Collection[str] = PROVIDERS) -> str:
    """Who asked: the id of a client's key. Of requests without a key it says a provider or an endpoint already."""
    if group in ("", "unknown") or group in providers or _ENDPOINT.fullmatch(group) or _OUR_ID.fullmatch(group):
        return group
    return key_id(group)


def account_of(source: str, auth_type: str = "", provider: str = "") -> str:
    """Who answered, as people read it. Without ``auth_type`` a key is told by how it looks."""
    if "@" in source or _MASKED.search(source) or not (auth_type == "apikey" or _KEY.fullmatch(source)):
        return source
    masked = mask(source)
    return masked if provider in PROVIDERS or not provider or not masked else f"{provider} {masked}"
