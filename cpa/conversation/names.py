"""Tool names on their way to an upstream and back.

Upstreams restrict tool names in different ways. An encoder renames what it must, and keeps a one-to-one map so
that the answer speaks the client's names again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Literal

from msgspec import Struct, field


class ToolIdentity(Struct, frozen=True):
    """How the client knows a tool."""

    name: str
    namespace: str | None = None
    kind: Literal["function", "custom"] = "function"
    wrapped: bool = False
    """A custom tool that the upstream sees as a function with one ``input`` string."""


class NameMap(Struct):
    """One-to-one map between the client's tool names and the upstream's, for one request."""

    to_upstream: dict[tuple[str | None, str], str] = field(default_factory=dict)
    to_client: dict[str, ToolIdentity] = field(default_factory=dict)

    def upstream_name(self, name: str, namespace: str | None = None) -> str:
        """The name the upstream knows; the name itself when it was never mapped."""
        return self.to_upstream.get((namespace, name), name)

    def identity(self, upstream_name: str) -> ToolIdentity:
        """How the client knows the tool the upstream calls ``upstream_name``."""
        return self.to_client.get(upstream_name) or ToolIdentity(upstream_name)

    def closest(self, upstream_name: str) -> ToolIdentity:
        """As :meth:`identity`, also when the model changed the case of the name or put underscores before it."""
        known = self.to_client.get(upstream_name)
        if known is not None:
            return known
        wanted = _folded(upstream_name)
        return next(
            (identity for name, identity in self.to_client.items() if _folded(name) == wanted),
            ToolIdentity(upstream_name),
        )

    def add(self, identity: ToolIdentity, wanted: str, *, distinguish: Callable[[str, int], str]) -> str:
        """Register a tool under ``wanted``, or under ``distinguish(wanted, n)`` for n = 1, 2 ... if taken."""
        key = (identity.namespace, identity.name)
        if key in self.to_upstream:
            return self.to_upstream[key]
        name, attempt = wanted, 0
        while name in self.to_client:
            attempt += 1
            name = distinguish(wanted, attempt)
        self.to_upstream[key] = name
        self.to_client[name] = identity
        return name


def _folded(name: str) -> str:
    return name.strip().lstrip("_").lower()


def namespaced(namespace: str | None, name: str) -> str:
    """Flatten a Responses namespace and a tool name into one name (``mcp__srv__`` + ``x``).

    A name that already carries a full ``mcp__`` path of its own is left alone.
    """
    if not namespace or name.startswith(("mcp__", namespace)):
        return name
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"


def shorten(name: str, limit: int = 64) -> str:
    """Cut a name to ``limit`` bytes, keeping the telling end of an ``mcp__server__tool`` name."""
    if len(name.encode()) <= limit:
        return name
    if name.startswith("mcp__"):
        name = "mcp__" + name.rsplit("__", 1)[-1]
    return name.encode()[:limit].decode(errors="ignore")


def numbered(name: str, attempt: int, limit: int = 64) -> str:
    """``name`` with ``_1``, ``_2`` ... appended, cut so that the whole stays within ``limit``."""
    suffix = f"_{attempt}"
    return name[: limit - len(suffix)] + suffix


_NOT_GEMINI = re.compile(r"[^A-Za-z0-9_.:-]")
_NOT_CLAUDE = re.compile(r"[^A-Za-z0-9_-]")


def sanitise_for_gemini(name: str) -> str:
    """Letters, digits and ``_.:-``; starts with a letter or ``_``; at most 64."""
    if not name:
        return ""
    clean = _NOT_GEMINI.sub("_", name)
    if not (clean[0].isascii() and clean[0].isalpha()) and clean[0] != "_":
        clean = "_" + clean[:63]
    return clean[:64]


def sanitise_for_claude(name: str) -> str:
    """Letters, digits, ``_`` and ``-``; at most 128."""
    return _NOT_CLAUDE.sub("_", name)[:128]


def hashed_suffix(original: str, name: str, limit: int = 64) -> str:
    """``name`` made unique by 12 hex digits of the hash of its original."""
    digest = sha256(original.encode()).hexdigest()[:12]
    return f"{name[: limit - 13]}_{digest}"


_NOT_CALL_ID = re.compile(r"[^A-Za-z0-9_-]")


def call_id(original: str, limit: int = 64) -> str:
    """A tool call id every upstream accepts: ``[A-Za-z0-9_-]``, at most ``limit``; equal for equal input."""
    clean = _NOT_CALL_ID.sub("_", original)
    if len(clean) <= limit:
        return clean
    return f"{clean[: limit - 17]}_{sha256(original.encode()).hexdigest()[:16]}"
