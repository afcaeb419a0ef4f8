"""``cpa import``: take logins, settings and usage of other programs; theirs are never changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cpa.cli.account_words import printable
from cpa.cli.asking import ask
from cpa.cli.completing import complete_source
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option

if TYPE_CHECKING:
    from cpa.cli.import_job import Job


@click.command("import")
@click.argument("names", metavar="[SOURCE]...", nargs=-1, shell_complete=complete_source)
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--email", default="", help="Whose login it is, where the source does not say (Claude Code).")
@click.option("--offline", is_flag=True, help="Do not ask a vendor whose login it is where the source does not say.")
@click.option("--no-settings", is_flag=True, help="Take no keys and settings of a CLIProxyAPI configuration.")
@click.option("--no-usage", is_flag=True, help="Take no usage records.")
@config_option
@json_option
@told
def import_command(
    names: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    email: str,
    offline: bool,
    no_settings: bool,
    no_usage: bool,
    config_path: Path,
    as_json: bool,
) -> None:
    """Take logins of Codex CLI, Claude Code and Gemini CLI, or a whole CLIProxyAPI installation.

    SOURCE is codex, claude, gemini, cliproxyapi, or the path of a configuration, an auth directory, an auth file, an
    export or a program's own credential file. Without one the usual places are looked at.

    The plan is shown first. Sources are only read; what is there already stays; doing it twice does nothing more.
    Exit status 1 when a source cannot be used or something could not be written.
    """
    from cpa.cli.import_job import Job

    job = Job(
        config_path, os.environ, settings=not no_settings, usage=not no_usage, email=email.strip(), offline=offline
    )
    job.look(names)
    if not as_json:
        _show(job)
    if dry_run or not job.has_work or (as_json and not yes):
        _finish(job, as_json, done=False)
        return
    ask("\nDo this?", yes=yes)
    job.do()
    if not as_json:
        click.echo()
        for line in job.outcomes:
            click.echo(printable(line))
    _finish(job, as_json, done=True)


def _finish(job: Job, as_json: bool, *, done: bool) -> None:
    if as_json:
        from cpa.cli.import_story import plain
        from cpa.cli.output import print_json

        print_json({"done": done, **plain(job)})
    elif not job.found and not job.faults:
        click.echo(
            "nothing found: no login of Codex CLI, Claude Code or Gemini CLI, no CLIProxyAPI at its usual places"
        )
        click.echo("name a file or a folder, or log in: cpa login PROVIDER")
    elif not job.has_work and not done:
        click.echo("\nnothing to do")
    sys.exit(1 if job.failed else 0)


def _show(job: Job) -> None:
    from cpa.cli.account_words import BAD, DOUBTFUL, DULL, GOOD, Words
    from cpa.cli.import_story import sections, warnings
    from cpa.cli.screen import print_item, print_line

    marks: dict[str, tuple[str, str]] = {
        "add": ("+", GOOD),
        "renew": ("~", GOOD),
        "keep": ("=", DULL),
        "refused": ("!", BAD),
        "note": (" ", DULL),
        "warning": ("!", DOUBTFUL),
    }
    for heading, lines in sections(job):
        print_line(Words(heading, "bold"))
        for kind, text in lines:
            mark, style = marks[kind]
            print_item(Words(f"  {mark}", style), Words(text, DULL if kind in ("keep", "note") else ""))
    for warning in warnings(job):
        print_line(Words(f"\n{warning}", DOUBTFUL))
