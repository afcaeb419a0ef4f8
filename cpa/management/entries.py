"""Tidy provider entries as clients of the API send them."""

from __future__ import annotations

from typing import Any

_READ_ONLY = frozenset({"auth-index"})
"""Members that answers carry and the file does not."""
_TEXTS = ("api-key", "base-url", "prefix", "proxy-url", "name")


def tidy_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """A copy without read-only members; texts trimmed, headers and exclusions cleaned, nameless models dropped."""
    tidy = {name: value for name, value in entry.items() if name not in _READ_ONLY}
    for name in _TEXTS:
        if isinstance(tidy.get(name), str):
            tidy[name] = tidy[name].strip()
    if isinstance(tidy.get("base-url"), str):
        tidy["base-url"] = tidy["base-url"].rstrip("/")
    if isinstance(tidy.get("prefix"), str):
        prefix = tidy["prefix"].strip("/")
        tidy["prefix"] = "" if "/" in prefix else prefix
    if isinstance(tidy.get("headers"), dict):
        tidy["headers"] = tidy_headers(tidy["headers"])
    if isinstance(tidy.get("excluded-models"), list):
        tidy["excluded-models"] = tidy_patterns(tidy["excluded-models"])
    if isinstance(tidy.get("models"), list):
        tidy["models"] = [model for model in map(_tidy_model, tidy["models"]) if model is not None]
    if isinstance(tidy.get("api-key-entries"), list):
        tidy["api-key-entries"] = [tidy_entry(key) for key in tidy["api-key-entries"] if isinstance(key, dict)]
    return tidy


def tidy_headers(headers: dict[str, Any]) -> dict[str, str]:
    """Names and values trimmed, pairs without one of them dropped."""
    pairs = ((str(name).strip(), str(value).strip()) for name, value in headers.items() if value is not None)
    return {name: value for name, value in pairs if name and value}


def tidy_patterns(patterns: list[Any]) -> list[str]:
    """Model patterns trimmed, in lower case, each once."""
    found = (pattern.strip().lower() for pattern in patterns if isinstance(pattern, str))
    return list(dict.fromkeys(pattern for pattern in found if pattern))


def _tidy_model(model: Any) -> dict[str, Any] | None:
    if not isinstance(model, dict):
        return None
    tidy = {name: value.strip() if isinstance(value, str) else value for name, value in model.items()}
    return tidy if tidy.get("name") or tidy.get("alias") else None
