"""Keep an account's secrets out of what a client is told.

Vendors repeat the key they refuse ("Incorrect API key provided: sk-..."): the client must not learn it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import orjson
from msgspec.structs import replace

from cpa.accounts.account import Account, mask, tokens_of
from cpa.errors import ErrorInfo
from cpa.logs.masking import header_secrets, secret_parameters
from cpa.logs.redaction import MASK, SHORTEST, variants

SHORTEST_SECRET = 4
TEXTS = ("message", "type", "code", "param")


def without_secret(error: ErrorInfo, account: Account) -> ErrorInfo:
    """The error with the account's secrets masked in its texts, and without a raw body that repeats one."""
    shown = _shown(account)
    texts = {name: text for name in TEXTS if isinstance(text := getattr(error, name), str)}
    masked = {name: _masked(text, shown) for name, text in texts.items()}
    if error.raw is not None:
        raw = orjson.dumps(error.raw).decode()
        if any(form in raw for form in shown):
            return replace(error, **masked, raw=None, details=None)
    return error if masked == texts else replace(error, **masked)


def bytes_without_secret(content: bytes, account: Account) -> bytes:
    """Part of a stream with the account's secrets masked: the frames of an error, which are made of plain texts."""
    return _masked_bytes(content, _shown(account))


def failure_without_secret(content: bytes, account: Account, sent: str) -> bytes:
    """A failed answer for a history, without secrets of the account, or what was ``sent`` as one, in any form.

    The tokens of logins, which may be thousands, are looked for everywhere as they are; those of one account are few
    enough to look for all that an upstream may make of them.
    """
    secrets = [*_secrets(account), *([sent] if sent else [])]
    forms = {form for secret in secrets for form in variants(secret) if len(form) >= SHORTEST}
    return _masked_bytes(content, dict.fromkeys(sorted(forms, key=len, reverse=True), MASK))


def headers_without_secret(headers: Mapping[str, str], account: Account) -> Mapping[str, str]:
    """Headers for others; one that repeats a secret of the account is left out."""
    together = "\n".join(headers.values())
    repeated = [form for secret in _secrets(account) for form in _forms(secret) if form in together]
    if not repeated:
        return headers
    return {name: value for name, value in headers.items() if not any(form in value for form in repeated)}


def _shown(account: Account) -> dict[str, str]:
    """Every form of the account's secrets, longer ones first, and what is shown instead."""
    shown = {form: mask(secret) for secret in _secrets(account) for form in _forms(secret)}
    return dict(sorted(shown.items(), key=lambda pair: -len(pair[0])))


def _forms(secret: str) -> Iterable[str]:
    return variants(secret) if len(secret) >= SHORTEST_SECRET else ()


def _masked(text: str, shown: dict[str, str]) -> str:
    for form, instead in shown.items():
        text = text.replace(form, instead)
    return text


def _masked_bytes(content: bytes, shown: dict[str, str]) -> bytes:
    for form, instead in shown.items():
        content = content.replace(form.encode("utf-8", "surrogateescape"), instead.encode("utf-8", "surrogateescape"))
    return content


def _secrets(account: Account) -> Iterator[str]:
    """What a request of the account tells its upstream, and the client must not hear."""
    yield from tokens_of(account)
    yield from header_secrets(account.headers)
    yield from secret_parameters(account.base_url)
