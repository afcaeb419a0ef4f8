"""Other names for a login that stays the same account: its label, its file.

The index of a file's accounts follows from the type and path it was first seen with. A file that gets another name
remembers that path, together with the name it holds for: a copy under a third name is an account of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

MEMBER = "known_as"
"""``{"file": "new.json", "path": "/where/it/was/first.json"}``"""


def relabelled(data: dict[str, Any], label: str) -> dict[str, Any]:
    """The members with another label; a blank one removes it."""
    kept = {name: value for name, value in data.items() if name != "label"}
    return {**kept, "label": label.strip()} if label.strip() else kept


def renamed_file(data: dict[str, Any], path: str, new_name: str) -> dict[str, Any]:
    """The members of the file at ``path`` as they are to be when it is called ``new_name``."""
    return {**data, MEMBER: {"file": new_name, "path": first_path(path, data)}}


def first_path(path: str, data: Mapping[str, Any]) -> str:
    """The absolute path by which the accounts of the file at ``path`` are indexed."""
    known = data.get(MEMBER)
    if isinstance(known, Mapping) and known.get("file") == os.path.basename(path):
        first = known.get("path")
        if isinstance(first, str) and os.path.isabs(first):
            return os.path.normpath(first)
    return os.path.abspath(path)
