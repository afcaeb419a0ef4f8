"""What provider plugins share: accounts from configuration entries, headers every upstream gets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from cpa import __version__
from cpa.accounts.account import Account, ModelMapping, account_id, account_index, mask
from cpa.conversation.models import ThinkingSupport
from cpa.network import split_userinfo

USER_AGENT = f"cpa/{__version__}"
_INDEXED = ("gemini-api-key", "codex-api-key", "claude-api-key")
"""Sections whose accounts are indexed by key and base URL, as usage records of CLIProxyAPI have them."""


def mappings(models: Iterable[Any], default_thinking: ThinkingSupport | None = None) -> tuple[ModelMapping, ...]:
    """The models a configuration entry lists; those without a name are left out."""
    return tuple(
        ModelMapping(
            name=entry.name,
            alias=entry.alias or entry.name,
            thinking=thinking_of(entry.thinking) or default_thinking,
            display_name=entry.display_name or None,
            context_length=entry.max_context_length,
            force_mapping=entry.force_mapping,
            image=entry.image,
            input_modalities=entry.input_modalities,
            output_modalities=entry.output_modalities,
        )
        for entry in models
        if entry.name
    )


def thinking_of(entry: Any) -> ThinkingSupport | None:
    """Reasoning abilities as a configuration entry writes them."""
    if entry is None:
        return None
    return ThinkingSupport(entry.min, entry.max, tuple(entry.levels), entry.zero_allowed, entry.dynamic_allowed)


def key_accounts(entries: Iterable[Any], *, provider: str, section: str, default_base_url: str = "") -> list[Account]:
    """One account for each entry of a key list that has a key; equal ones (key, base URL) once."""
    accounts: dict[str, Account] = {}
    for index, entry in enumerate(entries):
        if not entry.api_key:
            continue
        identity = account_id(f"{provider}:apikey", entry.api_key, entry.base_url)
        accounts.setdefault(
            identity,
            Account(
                id=identity,
                index=account_index(
                    f"{section}:{entry.base_url}+{entry.api_key}" if section in _INDEXED else f"id:{identity}"
                ),
                provider=provider,
                label=mask(entry.api_key),
                secret=entry.api_key,
                base_url=address_and_credential(entry.base_url)[0] or default_base_url,
                source=f"config:{section}[{index}]",
                websockets=entry.websockets,
                models=mappings(entry.models),
                **entry_fields(entry),
            ),
        )
    return list(accounts.values())


def entry_fields(entry: Any) -> dict[str, Any]:
    """The account fields that every provider entry has."""
    return {
        "prefix": entry.prefix,
        "priority": entry.priority,
        "weight": entry.weight,
        "proxy_url": entry.proxy_url,
        "headers": dict(entry.headers),
        "excluded_models": entry.excluded_models,
        "disable_cooling": entry.disable_cooling or None,
        "request_retry": entry.request_retry,
        "concurrency": entry.concurrency,
        "settings": {
            "timeouts": entry.timeouts.stated() if entry.timeouts is not None else None,
            "request_scoped_errors": entry.request_scoped_errors,
        },
    }


def address_and_credential(base_url: str) -> tuple[str, str]:
    """A base URL without the ``name:password@`` in it, and that as it follows ``Basic`` in a header; '' without."""
    address, userinfo = split_userinfo(base_url)
    return address, b64encode(userinfo.encode()).decode()


def custom_headers(account: Account, client: Mapping[str, str]) -> dict[str, str]:
    """The account's own headers; a value ``$Name`` is what the client sent under that name, if it did."""
    headers = {}
    for name, value in account.headers.items():
        if value.startswith("$") and len(value) > 1:
            value = client.get(value[1:], "")
            if not value:
                continue
        headers[name] = value
    return headers


def base_headers(stream: bool) -> dict[str, str]:
    """What every JSON request to an upstream carries. Streams are not compressed: that would hold events back."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if stream else "application/json",
        "User-Agent": USER_AGENT,
    }
    if stream:
        headers["Accept-Encoding"] = "identity"
    return headers


def in_path(model: str) -> str:
    """A model's name as part of a URL's path: names may be in any script."""
    return quote(model, safe="/:@!$&'()*+,;=~")


def forwarded(client: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The client's headers of these names, where it sent them."""
    return {name: client[name] for name in names if client.get(name)}
