"""What a configuration says that cpa does not know, does not do, or does under another name."""

from __future__ import annotations

import re
import typing
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from cpa.config.schema import section_in
from cpa.config.section import Section, fields_of


class ConfigWarning(Struct, frozen=True):
    """Something in the file that has no effect, or another one than its author may think."""

    path: str
    """``claude-api-key[0].cloak``; '' for the file as a whole."""
    message: str
    useless: bool = False
    """The value cannot do what it was written for: nobody should be allowed to set it anew."""

    def __str__(self) -> str:
        named = not self.path or self.message.startswith(f"config key {self.path} ")
        return self.message if named else f"{self.path}: {self.message}"


def new_warnings(before: Iterable[ConfigWarning], after: Iterable[ConfigWarning]) -> list[ConfigWarning]:
    """The warnings of ``after`` that ``before`` did not have; entries of lists may have moved meanwhile."""
    known = Counter(_POSITION.sub("[]", str(warning)) for warning in before)
    found = []
    for warning in after:
        text = _POSITION.sub("[]", str(warning))
        known[text] -= 1
        if known[text] < 0:
            found.append(warning)
    return found


_POSITION = re.compile(r"\[\d+\]")

UNSUPPORTED = re.compile(
    r"claude-api-key\[\d+\]\.(?:cloak|experimental-cch-signing|fingerprint-profile)"
    r"|claude-header-defaults\.(?:package-version|runtime-version|os|arch|stabilize-device-profile|timezone)"
    r"|claude-code\.disable-cloaking-model-list|codex\.(?:disable-codex-cloaking|identity-confuse|live-media-relay)"
    r"|disable-claude-cloak-mode|antigravity\.sensitive-words|home|credential-concurrency|credential-in-flight"
    r"|plugins\.(?:enabled|dir|store-sources|store-auth)|codex-instructions-enabled|[\w-]+\[\d+\]\.fingerprint-profile"
)
"""Paths that are accepted and ignored on purpose: disguise of clients, control planes, Go shared libraries."""

_SILENT_WHEN_TRUE = frozenset({"disable-claude-cloak-mode", "codex.disable-codex-cloaking"})
_AMP = ("upstream-url", "upstream-api-key", "restrict-management-to-localhost", "model-mappings")
"""Members of ``ampcode`` that older releases kept at the top as ``amp-...``."""


def migrate(data: dict[str, Any]) -> tuple[dict[str, Any], list[ConfigWarning]]:
    """The data with keys of older releases under their present names (a copy), and a notice for each.

    What does not have the shape it should have stays where it is: nothing is lost.
    """
    warnings: list[ConfigWarning] = []
    data = dict(data)

    def note(old: str, new: str) -> None:
        warnings.append(ConfigWarning(old, f"this key is an old name; it is read as {new}"))

    _migrate_gemini_keys(data, note)
    for member in _AMP:
        section = data.get("ampcode")
        if f"amp-{member}" in data and isinstance(section, dict | None):
            data["ampcode"] = {member: data.pop(f"amp-{member}"), **(section or {})}
            note(f"amp-{member}", f"ampcode.{member}")
    _migrate_compatibility(data, note)
    if isinstance(data.get("auth"), dict) and isinstance(data.get("api-keys"), list | None):
        known = list(data.get("api-keys") or [])
        found = list(dict.fromkeys(key for key in _client_keys(data.pop("auth")) if key not in known))
        if found:
            data["api-keys"] = known + found
        note("auth", "api-keys")
    return data, warnings


Note = Callable[[str, str], None]


def _migrate_gemini_keys(data: dict[str, Any], note: Note) -> None:
    old, new = data.get("generative-language-api-key"), data.get("gemini-api-key")
    if not isinstance(old, list) or not isinstance(new, list | None):
        return
    known = [entry.get("api-key") for entry in new or () if isinstance(entry, dict)]
    del data["generative-language-api-key"]
    data["gemini-api-key"] = [*(new or ()), *({"api-key": key} for key in old if key not in known)]
    note("generative-language-api-key", "gemini-api-key[].api-key")


def _migrate_compatibility(data: dict[str, Any], note: Note) -> None:
    entries = data.get("openai-compatibility")
    if not isinstance(entries, list):
        return
    migrated = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("api-keys"), list):
            new = entry.get("api-key-entries")
            if isinstance(new, list | None):
                entry = dict(entry)
                entry["api-key-entries"] = [*(new or ()), *({"api-key": key} for key in entry.pop("api-keys"))]
                note(f"openai-compatibility[{index}].api-keys", "api-key-entries[].api-key")
        migrated.append(entry)
    data["openai-compatibility"] = migrated


def _client_keys(node: Any) -> typing.Iterator[str]:
    """Every client key below a node: texts in a list ``api-keys`` and values of ``api-key``."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "api-keys" and isinstance(value, list):
                yield from (item for item in value if isinstance(item, str))
            elif key == "api-key" and isinstance(value, str):
                yield value
            else:
                yield from _client_keys(value)
    elif isinstance(node, list):
        for item in node:
            yield from _client_keys(item)


def look_for_unknown(data: Any, model: type[Section], path: str = "") -> list[ConfigWarning]:
    """A warning for every key that has no effect, with the key that was perhaps meant."""
    warnings: list[ConfigWarning] = []
    if not isinstance(data, dict):
        return warnings
    fields = fields_of(model)
    for key, value in data.items():
        here = f"{path}.{key}" if path else str(key)
        if UNSUPPORTED.fullmatch(here):
            if not (here in _SILENT_WHEN_TRUE and value is True):
                warnings.append(ConfigWarning(here, f"config key {here} is not supported and has no effect"))
        elif key not in fields:
            if isinstance(value, dict) and any(UNSUPPORTED.fullmatch(f"{here}.{inner}") for inner in value):
                warnings += look_for_unknown(value, _Empty, here)
                continue
            import difflib  # needed by those who mistype

            close = difflib.get_close_matches(str(key), fields, 1, 0.6)
            hint = f"; did you mean {close[0]}?" if close else ""
            warnings.append(ConfigWarning(here, f"unknown key, it has no effect{hint}"))
        else:
            warnings += _look_inside(value, fields[key].annotation, here)
    return warnings


class _Empty(Section, frozen=True):
    """A section without members."""


def _look_inside(value: Any, annotation: Any, path: str) -> list[ConfigWarning]:
    inner = section_in(annotation)
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
