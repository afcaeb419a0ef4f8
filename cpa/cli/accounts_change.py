"""``cpa accounts enable``, ``disable``, ``rename`` and ``delete``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cpa.cli.account_names import complete_account, find_account
from cpa.cli.account_source import file_of, open_accounts
from cpa.cli.account_words import printable
from cpa.cli.asking import ask
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_account)
@config_option
@json_option
@told
def enable(names: tuple[str, ...], config_path: Path, as_json: bool) -> None:
    """Let accounts be used again."""
    _switch(names, config_path, as_json, disabled=False)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_account)
@config_option
@json_option
@told
def disable(names: tuple[str, ...], config_path: Path, as_json: bool) -> None:
    """Keep accounts, but do not use them. Requests that are under way end as they began."""
    _switch(names, config_path, as_json, disabled=True)


def _switch(names: tuple[str, ...], config_path: Path, as_json: bool, *, disabled: bool) -> None:
    source = open_accounts(config_path)
    entries = source.entries()
    wanted = [find_account(entries, name) for name in names]
    for entry in wanted:
        source.set_disabled(entry, disabled)
    word = "disabled" if disabled else "enabled"
    _tell(as_json, wanted, word, {"disabled": disabled})


@click.command()
@click.argument("name", shell_complete=complete_account)
@click.argument("label", required=False)
@click.option("--file", "file", metavar="NEW.json", help="Rename the file, too; usage records stay with the account.")
@config_option
@json_option
@told
def rename(name: str, label: str | None, file: str | None, config_path: Path, as_json: bool) -> None:
    """Give the login NAME the label LABEL ("" takes the address again), or its file another name."""
    if label is None and file is None:
        raise click.UsageError("say the new LABEL, or --file NEW.json")
    source = open_accounts(config_path)
    entry = find_account(source.entries(), name)
    source.rename(entry, label, file)
    known = " and ".join(
        part for part in (repr(label) if label else "its address" if label == "" else "", file or "") if part
    )
    if as_json:
        _tell(as_json, [entry], "", {"label": label, "file": file or file_of(entry)})
    else:
        click.echo(printable(f"{entry['label']} is now {known}"))


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_account)
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@config_option
@json_option
@told
def delete(names: tuple[str, ...], yes: bool, config_path: Path, as_json: bool) -> None:
    """Delete the auth files of logins. They are gone: log in again, or export them first."""
    source = open_accounts(config_path)
    entries = source.entries()
    wanted = [find_account(entries, name) for name in names]
    files = {file_of(entry): entry for entry in wanted}
    if not yes:
        for file, entry in files.items():
            others = [other for other in entries if other.get("parent") == file]
            more = f" with all its {len(others)} projects" if others else ""
            click.echo(printable(f"delete {entry['label']} ({entry['provider']}, {file}){more}"), err=True)
    ask("Really?", yes=yes)
    for entry in files.values():
        source.delete(entry)
    _tell(as_json, list(files.values()), "deleted", {"deleted": True})


def _tell(as_json: bool, entries: list[dict[str, Any]], word: str, facts: dict[str, Any]) -> None:
    if as_json:
        from cpa.cli.output import print_json

        print_json([{"id": entry["id"], "auth_index": entry["auth_index"], **facts} for entry in entries])
        return
    for entry in entries:
        click.echo(printable(f"{entry['label']} ({entry['provider']}) {word}"))
