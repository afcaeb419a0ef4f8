"""Where a new login goes in the auth directory: into the file it had before, if it had one, or into a new one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from cpa.accounts.file_fields import EXPIRY_KEYS, LAST_REFRESH_KEYS
from cpa.accounts.files import AuthFile, JsonObject, type_of

LONGEST_PART = 80
_UNSAFE = re.compile(r"[^0-9A-Za-z@._+-]+")
LOGIN_MEMBERS = frozenset(
    {"access_token", "refresh_token", "id_token", "token_type", "scope", "token", *EXPIRY_KEYS, *LAST_REFRESH_KEYS}
)
"""Members that belong to one login only; everything else in its file is kept."""

Identity: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, str]]
"""Who the login of an auth file is, see :meth:`cpa.plugins.Provider.login_identity`."""


def name_part(text: str) -> str:
    """Somebody else's word (an e-mail address, a project) as a part of a file's name."""
    return _UNSAFE.sub("_", text.strip()).strip(".")[:LONGEST_PART] or "login"


def merged_login(old: JsonObject, new: JsonObject) -> JsonObject:
    """A file's members with another login in it: what the user has set stays, what was of the old login goes."""
    kept = {name: value for name, value in old.items() if name not in LOGIN_MEMBERS}
    named = {"label": old["label"]} if old.get("label") else {}
    return {**kept, **new, **named}


def same_login(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two identities are one: they share something and differ in nothing both tell."""
    shared = [name for name, value in one.items() if value and other.get(name)]
    return bool(shared) and all(one[name].lower() == other[name].lower() for name in shared)


def place(name: str, spare: str, data: JsonObject, identity: Identity, files: Iterable[AuthFile]) -> str:
    """The name of the file a login is written to: ``name``, unless it had another file, or another login has that.

    ``spare`` is for the second case; without it a number makes the name another.
    """
    kind, who = type_of(data), identity(data)
    known = {file.name: file.type == kind and same_login(identity(file.data), who) for file in files}
    ours = sorted(found for found, is_ours in known.items() if is_ours)
    if name in ours or (name not in known and not ours):
        return name
    if ours:
        return ours[-1]
    stem = name.removesuffix(".json")
    others = [spare, *(f"{stem}-{number}.json" for number in range(2, len(known) + 3))]
    return next(other for other in others if other and other not in known)
