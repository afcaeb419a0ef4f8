"""Take keys and settings of another configuration into ours: what ours says stays, what it lacks is added."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from cpa.config.atomic import write_atomically
from cpa.config.file import ConfigFile
from cpa.config.load import decoded, load_text
from cpa.config.notices import migrate
from cpa.config.schema import fields_of
from cpa.config.section import kebab
from cpa.config.settings import Config
from cpa.config.yaml_reader import parse
from cpa.errors import ConfigError

OF_THE_PLACE = frozenset(
    {
        "host", "port", "tls", "auth-dir", "usage-database-path", "remote-management", "pprof", "metrics",
        "allowed-hosts", "cors-origins", "trusted-proxies", "allow-unauthenticated-remote", "logging-to-file",
        "commercial-mode",
    }
)  # fmt: skip
"""Settings that belong to one installation; they are never taken into another."""


def _key(entry: Any) -> Hashable:
    return (_text(entry, "api-key"), _text(entry, "base-url").rstrip("/"))


def _client_key(entry: Any) -> Hashable:
    return entry.strip() if isinstance(entry, str) else _text(entry, "key")


def _named(member: str) -> Callable[[Any], Hashable]:
    return lambda entry: _text(entry, member).lower()


LISTS: Mapping[str, Callable[[Any], Hashable]] = {
    "api-keys": _client_key,
    "gemini-api-key": _key,
    "codex-api-key": _key,
    "claude-api-key": _key,
    "vertex-api-key": _key,
    "xai-api-key": _key,
    "openai-compatibility": _named("name"),
    "model-routes": _named("alias"),
    "prompt-rules": _named("name"),
}
"""Lists that are taken entry by entry, with what tells two entries apart."""


class SettingsPlan(Struct, frozen=True):
    """What becomes of a configuration."""

    copy: bool
    """The whole file is taken: there is none of ours yet."""
    entries: dict[str, list[Any]]
    """Entries that ours lacks, by list."""
    values: dict[str, Any]
    """Settings that ours lacks."""
    kept: tuple[str, ...]
    """Settings that both have, with different values: ours stay."""
    not_taken: tuple[str, ...]
    """Settings that belong to the other installation, or that cpa does not have."""

    def __repr__(self) -> str:
        return f"SettingsPlan({sorted(self.entries)}, {sorted(self.values)})"

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.copy and not self.entries and not self.values


def plan_settings(source: bytes, source_path: Path, path: Path, *, ours: bytes | None = None) -> SettingsPlan:
    """Compare two configurations; ``source`` has been loaded. Raises ConfigError when ours cannot be read.

    Ours is the file at ``path``, or ``ours`` when that is going to be there first.
    """
    theirs = _data(source, source_path)
    try:
        mine = _data(path.read_bytes() if ours is None else ours, path)
    except FileNotFoundError:
        return SettingsPlan(True, {}, {}, (), ())
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read: {fault.strerror}") from None
    known = {kebab(name) for name in fields_of(Config)}
    entries: dict[str, list[Any]] = {}
    values: dict[str, Any] = {}
    kept, not_taken = [], []
    for name, value in theirs.items():
        if name in OF_THE_PLACE or name not in known:
            if mine.get(name) != value:
                not_taken.append(name)
        elif name in LISTS and isinstance(value, list):
            if missing := _missing(LISTS[name], mine.get(name), value):
                entries[name] = missing
        elif value in (None, "", [], {}):
            continue
        elif name not in mine:
            values[name] = value
        elif mine[name] != value:
            kept.append(name)
    return SettingsPlan(False, entries, values, tuple(kept), tuple(not_taken))


def _missing(identity: Callable[[Any], Hashable], mine: Any, theirs: list[Any]) -> list[Any]:
    known = {identity(entry) for entry in mine} if isinstance(mine, list) else set()
    missing = []
    for entry in theirs:
        name = identity(entry)
        if name not in known and any(name if isinstance(name, tuple) else (name,)):
            known.add(name)
            missing.append(entry)
    return missing


def carry_out_settings(plan: SettingsPlan, source: bytes, ours: Path) -> None:
    """Write what a plan says, keeping comments. Raises ConfigError when the result would not be valid, OSError."""
    if plan.copy:
        load_text(decoded(source, ours), environ={})
        ours.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(ours, source)
        return

    def change(data: dict[str, Any]) -> None:
        for name, entries in plan.entries.items():
            there = data.get(name)
            data[name] = [*(there if isinstance(there, list) else []), *entries]
        for name, value in plan.values.items():
            data.setdefault(name, value)

    ConfigFile(ours).edit(change)


def _data(content: bytes, path: Path) -> dict[str, Any]:
    data, _ = parse(decoded(content, path))
    return migrate(data)[0]


def _text(entry: Any, member: str) -> str:
    value = entry.get(member) if isinstance(entry, Mapping) else None
    return str(value).strip() if isinstance(value, str | int | float) else ""
