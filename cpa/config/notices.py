"""What a configuration says that cpa does not know, does not do, or does under another name."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Any

from msgspec import Struct
from pydantic import BaseModel


class ConfigWarning(Struct, frozen=True):
    """Something in the file that has no effect, or another one than its author may think."""

    path: str
    """``claude-api-key[0].cloak``; '' for the file as a whole."""
    message: str


UNSUPPORTED = re.compile(
    r"claude-api-key\[\d+\]\.(?:cloak|experimental-cch-signing|fingerprint-profile)"
    r"|claude-header-defaults\.(?:package-version|runtime-version|os|arch|stabilize-device-profile|timezone)"
    r"|claude-code\.disable-cloaking-model-list|codex\.(?:disable-codex-cloaking|identity-confuse|live-media-relay)"
    r"|disable-claude-cloak-mode|antigravity\.sensitive-words|home|credential-concurrency|credential-in-flight"
    r"|plugins\.(?:enabled|dir|store-sources|store-auth)|codex-instructions-enabled|[\w-]+\[\d+\]\.fingerprint-profile"
)
"""Paths that are accepted and ignored on purpose: disguise of clients, control planes, Go shared libraries."""

_SILENT_WHEN_TRUE = frozenset({"disable-claude-cloak-mode", "codex.disable-codex-cloaking"})
_OPEN = frozenset({"xai", "codex", "oauth-request-scoped-errors"})
"""Sections whose members are free."""

LEGACY = (
    ("generative-language-api-key", "gemini-api-key"),
    ("amp-upstream-url", "ampcode.upstream-url"),
    ("amp-upstream-api-key", "ampcode.upstream-api-key"),
    ("amp-restrict-management-to-localhost", "ampcode.restrict-management-to-localhost"),
    ("amp-model-mappings", "ampcode.model-mappings"),
)


def migrate(data: dict[str, Any]) -> tuple[dict[str, Any], list[ConfigWarning]]:
    """The data with keys of older releases under their present names (a copy), and a notice for each."""
    warnings: list[ConfigWarning] = []
    data = dict(data)

    def note(old: str, new: str) -> None:
        warnings.append(ConfigWarning(old, f"this key is an old name; it is read as {new}"))

    old_keys = data.pop("generative-language-api-key", None)
    if isinstance(old_keys, list):
        entries = list(data.get("gemini-api-key") or [])
        known = {entry.get("api-key") for entry in entries if isinstance(entry, dict)}
        entries += [{"api-key": key} for key in old_keys if isinstance(key, str) and key not in known]
        data["gemini-api-key"] = entries
        note("generative-language-api-key", "gemini-api-key[].api-key")
    for old, new in LEGACY[1:]:
        if old in data:
            amp = dict(data.get("ampcode") or {})
            amp.setdefault(new.partition(".")[2], data.pop(old))
            data["ampcode"] = amp
            note(old, new)
    _migrate_compatibility(data, note)
    auth = data.pop("auth", None)
    if isinstance(auth, dict):
        keys = list(_client_keys(auth))
        if keys:
            data["api-keys"] = [*(data.get("api-keys") or []), *keys]
        note("auth", "api-keys")
    return data, warnings


def _migrate_compatibility(data: dict[str, Any], note: Any) -> None:
    entries = data.get("openai-compatibility")
    if not isinstance(entries, list):
        return
    migrated = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("api-keys"), list):
            entry = dict(entry)
            old = entry.pop("api-keys")
            entry["api-key-entries"] = [*(entry.get("api-key-entries") or []), *({"api-key": key} for key in old)]
            note(f"openai-compatibility[{index}].api-keys", "api-key-entries[].api-key")
        migrated.append(entry)
    data["openai-compatibility"] = migrated


def _client_keys(node: Any) -> typing.Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "api-keys" and isinstance(value, list):
                yield from (item for item in value if isinstance(item, str))
            else:
                yield from _client_keys(value)
    elif isinstance(node, list):
        for item in node:
            yield from _client_keys(item)


def look_for_unknown(data: Any, model: type[BaseModel], path: str = "") -> list[ConfigWarning]:
    """A warning for every key that has no effect, with the key that was perhaps meant."""
    warnings: list[ConfigWarning] = []
    if not isinstance(data, dict):
        return warnings
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in data.items():
        here = f"{path}.{key}" if path else str(key)
        if UNSUPPORTED.fullmatch(here):
            if not (here in _SILENT_WHEN_TRUE and value is True):
                warnings.append(ConfigWarning(here, f"config key {here} is not supported and has no effect"))
        elif key not in fields:
            if isinstance(value, dict) and any(UNSUPPORTED.fullmatch(f"{here}.{inner}") for inner in value):
                warnings += look_for_unknown(value, _Empty, here)
                continue
            close = difflib.get_close_matches(str(key), fields, 1, 0.6)
            hint = f"; did you mean {close[0]}?" if close else ""
            warnings.append(ConfigWarning(here, f"unknown key, it has no effect{hint}"))
        elif here not in _OPEN:
            warnings += _look_inside(value, fields[key].annotation, here)
    return warnings


class _Empty(BaseModel):
    """A section without members."""


def _look_inside(value: Any, annotation: Any, path: str) -> list[ConfigWarning]:
    inner = _model_in(annotation)
    if inner is None:
        return []
    if isinstance(value, list):
        return [w for index, item in enumerate(value) for w in look_for_unknown(item, inner, f"{path}[{index}]")]
    if isinstance(value, dict) and typing.get_origin(annotation) is dict:
        return [
            w
            for key, items in value.items()
            for index, item in enumerate(items if isinstance(items, list) else [])
            for w in look_for_unknown(item, inner, f"{path}.{key}[{index}]")
        ]
    return look_for_unknown(value, inner, path)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section class in an annotation such as ``tuple[KeyEntry, ...]``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
