"""One auth file that stands for several cloud projects: one account for each of them."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from cpa.accounts.account import Account
from cpa.accounts.file_fields import file_index

_UNSAFE = re.compile(r"[/\\ ]")


def split_projects(value: Any) -> tuple[str, ...]:
    """The projects of a comma list, trimmed, each once, in order."""
    if not isinstance(value, str):
        return ()
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def project_accounts(primary: Account, projects: tuple[str, ...]) -> list[Account]:
    """``primary`` alone for at most one project; else ``primary``, which then serves nothing, and one for each.

    Project accounts (``settings["project"]``, ``settings["parent"]``) take over everything else, ``disabled`` too.
    They share the file, so a renewed token is written once.
    """
    if len(projects) < 2:
        return [primary]
    children = [_project_account(primary, project) for project in projects]
    ids = tuple(child.id for child in children)
    parent = replace(primary, disabled=True, settings={**primary.settings, "children": ids})
    return [parent, *children]


def _project_account(primary: Account, project: str) -> Account:
    return replace(
        primary,
        id=f"{primary.id}::{_UNSAFE.sub('_', project)}",
        index=file_index(primary.source, primary.metadata, project),
        label=f"{primary.label} [{project}]",
        settings={**primary.settings, "project": project, "parent": primary.id},
    )
