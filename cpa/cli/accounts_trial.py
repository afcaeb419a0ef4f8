"""``cpa accounts test``: does an account answer?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cpa.cli.account_names import complete_account, find_account
from cpa.cli.account_source import open_accounts
from cpa.cli.account_words import BAD, GOOD, Words
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option

CREDENTIAL = {
    "key": "",
    "valid": "token good",
    "renewed": "token renewed",
    "refused": "token refused",
    "unchecked": "",
}


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_account)
@click.option("--all", "everything", is_flag=True, help="Every account that is not disabled.")
@click.option("--model", default="", help="Ask this model instead of the smallest one.")
@config_option
@json_option
@told
def test(names: tuple[str, ...], everything: bool, model: str, config_path: Path, as_json: bool) -> None:
    """Ask accounts a tiny question and say what happened. It costs some tokens.

    A login's token is renewed first when it has ended. An account that rests is asked all the same, and rests no
    longer when it answers. Exit status 1 when one does not.
    """
    if not names and not everything:
        raise click.UsageError("say which account, or --all")
    source = open_accounts(config_path)
    entries = source.entries()
    wanted = [one for name in names for one in _projects_of(find_account(entries, name), entries)]
    if everything:
        wanted += [entry for entry in entries if not entry["disabled"] and entry["id"] not in {w["id"] for w in wanted}]
    trials = []
    for entry in wanted:
        trial = source.test(entry, model)
        trials.append({**trial, "label": entry["label"], "provider": entry["provider"]})
        if not as_json:
            _print(trials[-1])
    if as_json:
        from cpa.cli.output import print_json

        print_json(trials)
    sys.exit(0 if all(trial["ok"] for trial in trials) else 1)


def _projects_of(entry: dict[str, Any], entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The accounts of a login's projects; the account itself when it has none."""
    return [other for other in entries if other.get("parent") == entry["id"]] or [entry]


def _print(trial: dict[str, Any]) -> None:
    from cpa.cli.screen import print_line

    mark = Words("ok  ", f"bold {GOOD}") if trial["ok"] else Words("FAIL", f"bold {BAD}")
    facts = [CREDENTIAL[trial["credential"]], _answer(trial)]
    said = "; ".join(fact for fact in facts if fact)
    print_line(mark, f"  {trial['label']} ({trial['provider']}): {said}")


def _answer(trial: dict[str, Any]) -> str:
    if trial["ok"] and trial["model"]:
        said = f": {trial['message']!r}" if trial["message"] else ""
        return f"{trial['model']} answered in {trial['seconds']:.1f} s{said}"
    status = f" ({trial['status']})" if trial["status"] else ""
    return f"{trial['model']}{status}: {trial['message']}" if trial["model"] else trial["message"]
