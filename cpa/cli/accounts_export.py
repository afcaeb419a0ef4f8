"""``cpa accounts export``: logins as one private file, for another machine or for safe keeping."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from cpa.cli.account_names import complete_account, find_account
from cpa.cli.account_source import file_of, open_accounts
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option

FORMAT = "cpa-accounts"
VERSION = 1


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_account)
@click.option("--all", "everything", is_flag=True, help="Every login that has a file.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write; - for output."
)
@click.option("--force", is_flag=True, help="Replace the file, or print tokens on a terminal.")
@config_option
@json_option
@told
def export(
    names: tuple[str, ...], everything: bool, output: Path | None, force: bool, config_path: Path, as_json: bool
) -> None:
    """Write logins, tokens and all, into one file that only you can read (0600).

    One login gives an auth file, several give a bundle; cpa import takes either. Two places that use one login renew
    its token in turn and may lock each other out: delete it here when you move it.
    """
    source = open_accounts(config_path)
    entries = source.entries()
    wanted = [find_account(entries, name) for name in names]
    if everything:
        wanted += [entry for entry in entries if entry["source"] == "file"]
    if not wanted:
        raise click.UsageError("say which login, or --all")
    files: dict[str, Any] = {}
    for entry in wanted:
        files.setdefault(file_of(entry), source.content(entry))
    content = orjson.dumps(_document(files), option=orjson.OPT_INDENT_2) + b"\n"
    if output is None or str(output) == "-":
        if sys.stdout.isatty() and not force:
            raise click.UsageError("tokens are not printed on a terminal: say --output FILE (or --force)")
        sys.stdout.buffer.write(content)
        return
    _write(output, content, force)
    if as_json:
        from cpa.cli.output import print_json

        print_json({"file": str(output), "logins": sorted(files)})
    else:
        click.echo(
            f"{len(files)} login{'s' if len(files) != 1 else ''} written to {output}: whoever has it can use them"
        )


def _document(files: dict[str, Any]) -> Any:
    """One login as its auth file; several with their names."""
    if len(files) == 1:
        return next(iter(files.values()))
    return {"format": FORMAT, "version": VERSION, "files": files}


def _write(path: Path, content: bytes, force: bool) -> None:
    if path.exists() and not force:
        raise click.UsageError(f"{path} is there already: another name, or --force")
    from cpa.config.atomic import write_atomically

    if path.exists():
        os.chmod(path, 0o600)
    write_atomically(path, content)
