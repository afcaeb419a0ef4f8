"""``cpa accounts list`` and ``show``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from cpa.cli import account_words as words
from cpa.cli.account_names import complete_account, find_account
from cpa.cli.account_source import Accounts, open_accounts
from cpa.cli.account_words import Words
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option

mask_option = click.option("--mask", is_flag=True, help="Make e-mail addresses unreadable, for screenshots.")


@click.command("list")
@config_option
@click.option("--provider", default="", help="Only accounts of this provider.")
@mask_option
@json_option
@told
def list_accounts(config_path: Path, provider: str, mask: bool, as_json: bool) -> None:
    """List all accounts and how they fare."""
    source = open_accounts(config_path)
    now = words.now()
    entries = [entry for entry in source.entries() if provider.lower() in ("", entry["provider"])]
    if as_json:
        from cpa.cli.output import print_json

        print_json([_plain(entry, now, mask) for entry in entries])
        return
    shown = [entry for entry in entries if not (entry.get("projects") and len(entries) > 1)]
    if not [entry for entry in shown if entry["provider"] != "demo"]:
        click.echo("no accounts yet: cpa login PROVIDER makes one, cpa import takes those of other programs")
        if not shown:
            return
    _print_table(shown, now, mask)
    if not source.running:
        click.echo("\nno daemon runs: this is what it would start with (cpa serve)", err=True)


def _print_table(entries: list[dict[str, Any]], now: float, mask: bool) -> None:
    from cpa.cli.screen import print_rows

    labels = Counter((entry["provider"], entry["label"]) for entry in entries)
    rows = [
        (
            _name(entry, labels, mask),
            entry["provider"],
            words.brief(words.state(entry, now)),
            str(entry.get("priority", "")),
            _quota(entry),
            words.expiry(entry, now),
        )
        for entry in entries
    ]
    print_rows(("ACCOUNT", "PROVIDER", "STATE", "PRIO", "QUOTA USED", "TOKEN"), rows, keep=(1, 3, 5))


def _name(entry: dict[str, Any], labels: Counter[tuple[str, str]], mask: bool) -> str:
    name = entry["label"] if labels[entry["provider"], entry["label"]] == 1 else entry["id"]
    return words.masked(name) if mask else name


def _quota(entry: dict[str, Any]) -> str:
    return ", ".join(
        f"{words.window_name(window)} {words.used(window).text}" for window in words.general(entry["windows"])
    )


def _plain(entry: dict[str, Any], now: float, mask: bool) -> dict[str, Any]:
    shown = {**entry, "state": words.state(entry, now).text, "expires_at": words.iso(entry["expires_at"])}
    return _masked(shown) if mask else shown


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return words.masked(value)
    if isinstance(value, dict):
        return {name: _masked(inner) for name, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value


@click.command()
@click.argument("name", shell_complete=complete_account)
@config_option
@mask_option
@json_option
@told
def show(name: str, config_path: Path, mask: bool, as_json: bool) -> None:
    """Show all there is to know of the account NAME; never a secret."""
    source = open_accounts(config_path)
    entry, now = find_account(source.entries(), name), words.now()
    entry["models_offered"] = source.models(entry)
    if as_json:
        from cpa.cli.output import print_json

        print_json(_plain(entry, now, mask))
        return
    from cpa.cli.screen import print_rows

    facts = [
        (label, fact) for label, fact in _facts(entry, source, now) if (fact.text if isinstance(fact, Words) else fact)
    ]
    if mask:
        facts = [
            (label, Words(words.masked(f.text), f.style) if isinstance(f, Words) else words.masked(f))
            for label, f in facts
        ]
    print_rows(("", ""), facts, keep=(0,))


def _facts(entry: dict[str, Any], source: Accounts, now: float) -> list[tuple[str, str | Words]]:
    expires = entry["expires_at"]
    facts: list[tuple[str, str | Words]] = [
        ("account", entry["label"]),
        ("provider", entry["provider"]),
        ("state", words.state(entry, now)),
        ("address", str(entry.get("email") or "")),
        ("plan", str(entry.get("plan_type") or "")),
        ("project", str(entry.get("project_id") or "")),
        ("from", _origin(entry)),
        ("id", entry["id"]),
        ("index", entry["auth_index"]),
        ("token ends", f"{words.moment(expires, now)} ({_distance(expires - now)})" if expires else ""),
        ("last renewed", _time(entry.get("last_refresh"), now)),
        ("renews next", _time(entry.get("next_refresh_after"), now)),
        ("priority", str(entry.get("priority", 0))),
        ("weight", str(entry["weight"]) if "weight" in entry else ""),
        ("prefix", entry["prefix"]),
        ("proxy", entry["proxy_url"]),
        ("own headers", ", ".join(entry["headers"])),
        ("note", str(entry.get("note") or "")),
        ("excluded", ", ".join(entry["excluded_models"])),
        ("requests", f"{entry['success']} good, {entry['failed']} failed" if source.running else ""),
    ]
    facts += [("quota used", _window(window, now)) for window in entry["windows"]]
    for model, cooldown in entry["models"].items():
        until = words.moment(words.seconds_of(cooldown["until"]), now)
        facts.append(("cooling", f"{model} until {until}: {words.reason(cooldown['reason'])}"))
    offered = entry["models_offered"]
    return [*facts, (f"{len(offered)} models", ", ".join(offered))]


def _origin(entry: dict[str, Any]) -> str:
    if entry["source"] == "config":
        return f"config.yaml: {entry['config_section']}[{entry['config_position']}]"
    return str(entry.get("path") or "built in")


def _window(window: dict[str, Any], now: float) -> Words:
    share = words.used(window)
    resets = window["resets_at"]
    until = f", starts anew {words.moment(resets, now)} (in {words.span(resets - now)})" if resets else ""
    age = f", seen {words.span(now - window['seen_at'])} ago"
    return Words(f"{words.window_name(window)} {share.text}{until}{age}", share.style)


def _distance(seconds: float) -> str:
    return f"in {words.span(seconds)}" if seconds > 0 else f"{words.span(-seconds)} ago"


def _time(text: Any, now: float) -> str:
    from cpa.accounts.file_fields import read_time

    at = read_time(text)
    return words.moment(at, now) if at is not None else ""
