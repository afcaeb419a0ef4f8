"""Logins that a vendor's own program keeps: a provider says where they are and turns them into its auth file.

Nothing of such a program is ever changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct

from cpa.errors import LoginError


class NativeSource(Struct, frozen=True, kw_only=True):
    """Where a vendor's own program keeps its login."""

    name: str
    """What is typed for it: ``cpa import codex``."""
    title: str
    """The program, for people: ``Codex CLI``."""
    folder: str
    """Its folder, below the user's home."""
    variable: str = ""
    """The environment variable that names another folder."""
    file: str
    """The file in it that holds the login."""
    more: tuple[str, ...] = ()
    """Other files in the folder that say something about it."""
    home_files: tuple[str, ...] = ()
    """Files in the user's home that do, when the folder is the usual one."""
    rotates: bool = True
    """Whether a renewal ends the refresh token: then the program and cpa cannot both keep the login for long."""


class NativeFiles(Struct, frozen=True):
    """What was found of a program; only files that are there and can be read."""

    contents: Mapping[str, bytes]
    """By name, without folder."""
    environ: Mapping[str, str]
    identity: Mapping[str, str] = {}
    """Members of an auth file that say whose login it is, where the files do not: from the user or the vendor."""

    def __repr__(self) -> str:
        return f"NativeFiles({sorted(self.contents)})"

    def text(self, name: str) -> str:
        """A file's text; empty when it is missing or is no text."""
        return self.contents.get(name, b"").decode(errors="replace")

    def json(self, name: str) -> dict[str, Any]:
        """A file's JSON object; {} when it is missing. Raises LoginError when it is something else, quoting nothing."""
        content = self.contents.get(name)
        if content is None:
            return {}
        try:
            data = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError as fault:
            raise LoginError("broken", f"{name} is no JSON: {fault.msg} in line {fault.lineno}") from None
        if not isinstance(data, dict):
            raise LoginError("broken", f"{name} is no JSON object")
        return data

    def perhaps(self, name: str) -> dict[str, Any]:
        """A file's JSON object; {} when it is missing or something else."""
        try:
            return self.json(name)
        except LoginError:
            return {}


def text_of(data: Mapping[str, Any], *path: str) -> str:
    """The text at a path of members; empty when there is none."""
    value: Any = data
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value.strip() if isinstance(value, str) else ""


def object_of(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object a member holds; {} when it holds none."""
    value = data.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def required_text(data: Mapping[str, Any], name: str, file: str) -> str:
    """A member that must be there. Raises LoginError, which quotes no value."""
    value = text_of(data, name)
    if not value:
        raise LoginError("incomplete", f"{file} has no {name}")
    return value
