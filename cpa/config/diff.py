"""What changed between two configurations."""

from __future__ import annotations

from typing import Any

from cpa.config.section import SECRET_NAME
from cpa.config.settings import Config

RESTART = (
    "host",
    "port",
    "tls",
    "auth-dir",
    "commercial-mode",
    "shutdown-timeout",
    "usage-database-path",
    "auth-auto-refresh-workers",
)
"""Keys that are read once, at start."""


def changed_paths(old: Config, new: Config) -> list[str]:
    """Paths of the keys whose values differ, sorted; values are not shown, so no secret can be."""
    before, after = (config.plain() for config in (old, new))
    return sorted(_differences(before, after, ""))


def restart_required(old: Config, new: Config) -> list[str]:
    """Changed keys that take effect only after a restart."""
    return [path for path in changed_paths(old, new) if path.split(".")[0].split("[")[0] in RESTART]


def _differences(before: Any, after: Any, path: str) -> list[str]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[str] = []
        for key in {**before, **after}:
            here = f"{path}.{key}" if path else str(key)
            found += _differences(before.get(key), after.get(key), here)
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            p for i, (a, b) in enumerate(zip(before, after, strict=True)) for p in _differences(a, b, f"{path}[{i}]")
        ]
    return [path]


def is_secret(path: str) -> bool:
    """Whether a path names something that must not be shown."""
    return bool(SECRET_NAME.search(path.rpartition(".")[2].lower()))
