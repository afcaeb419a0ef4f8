"""Find the account a person means: by label, address, file, id or the beginning of its index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cpa.cli.account_words import printable
from cpa.cli.options import find_config
from cpa.errors import CpaError

Entry = Mapping[str, Any]
_SHORTEST_INDEX = 4


def find_account(entries: Iterable[Entry], name: str) -> dict[str, Any]:
    """The one account ``name`` stands for. Raises click.UsageError when there is none or more than one.

    What equals a name goes before what only begins with it, and that before what contains it.
    """
    known = [dict(entry) for entry in entries]
    wanted = name.strip().lower()
    for matches in _RANKS:
        found = [entry for entry in known if wanted and any(matches(own, wanted) for own in names_of(entry))]
        whole = [entry for entry in found if entry.get("projects") and _is_all(entry, found)]
        if len(found) == 1 or whole:
            return (whole or found)[0]
        if found:
            rows = (f"  {entry['id']}  ({entry['provider']}, {entry['label']})" for entry in found[:10])
            listed = "\n".join(map(printable, rows))
            raise click.UsageError(f"{name!r} may be any of {len(found)} accounts; say which:\n{listed}")
    raise click.UsageError(f"there is no account {name!r}: cpa accounts list shows what there is")


def _is_all(entry: Entry, found: list[dict[str, Any]]) -> bool:
    """Whether everything that was found is this login with its projects."""
    return all(other is entry or other.get("parent") == entry["id"] for other in found)


def names_of(entry: Entry) -> list[str]:
    """Everything an account may be called, in lower case; its index last."""
    names = (entry["label"], entry.get("email"), entry["name"], entry["id"], entry["name"].removesuffix(".json"))
    own = dict.fromkeys(str(name).lower() for name in names if name)
    return [*own, *(f"{entry['provider']}/{name}" for name in own), str(entry["auth_index"])]


_RANKS: tuple[Callable[[str, str], bool], ...] = (
    lambda own, wanted: own == wanted,
    lambda own, wanted: len(wanted) >= _SHORTEST_INDEX and own.startswith(wanted),
    lambda own, wanted: wanted in own,
)


def complete_account(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of accounts for the shell: labels where they are unique, ids else. Says nothing when something fails."""
    from cpa.cli.account_source import open_accounts

    path = context.params.get("config_path")
    try:
        entries = open_accounts(Path(path) if path else find_config()).entries()
    except (CpaError, OSError):
        return []
    labels = Counter(entry["label"] for entry in entries)
    items = []
    for entry in entries:
        name = entry["label"] if labels[entry["label"]] == 1 else f"{entry['provider']}/{entry['label']}"
        if any(part.lower().startswith(incomplete.lower()) for part in (name, entry["label"])):
            items.append(CompletionItem(name, help=f"{entry['provider']} {entry['id']}"))
    return items
