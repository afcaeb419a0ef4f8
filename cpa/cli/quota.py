"""``cpa quota``: how much of each subscription's allowance is used, and when it starts anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from cpa.cli import account_words as words
from cpa.cli.account_names import complete_account, find_account
from cpa.cli.account_source import open_accounts
from cpa.cli.account_words import DULL, Words
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option

BAR = 20
"""Characters of a full bar, where there is room."""
ANEW, SEEN = 21, 25
"""Columns for when a window starts anew, and for how it is known and since when."""


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_account)
@click.option("--refresh", is_flag=True, help="Ask the vendors now (each login at most every five minutes).")
@click.option("--mask", is_flag=True, help="Make e-mail addresses unreadable, for screenshots.")
@config_option
@json_option
@told
def quota(names: tuple[str, ...], refresh: bool, mask: bool, config_path: Path, as_json: bool) -> None:
    """Show the quota windows of logins: what is used, when they start anew, where that is known from and since when.

    What vendors say with their answers is shown at no cost; --refresh asks them.
    """
    source = open_accounts(config_path)
    entries = source.entries()
    wanted = [find_account(entries, name) for name in names] if names else entries
    logins = [entry for entry in wanted if entry["kind"] == "oauth" and not entry["disabled"] and entry["offers"]]
    if refresh:
        source.ask_quota(logins)
    known = {account["id"]: account for account in source.quota()}
    shown = [
        {**_nothing(entry), **known.get(entry["id"], {})} for entry in wanted if entry["id"] in known or entry in logins
    ]
    if as_json:
        from cpa.cli.output import print_json

        print_json([_plain(account) for account in shown])
        return
    if not shown:
        click.echo("no logins: keys have no quota that could be asked for")
        return
    _print(shown, words.now(), mask)
    if not refresh and not all(account["windows"] for account in shown):
        click.echo("\ncpa quota --refresh asks the vendors now", err=True)


def _nothing(entry: dict[str, Any]) -> dict[str, Any]:
    named = {name: entry[name] for name in ("auth_index", "id", "provider", "label")}
    if plan := entry.get("plan_type"):
        named["plan_type"] = plan
    return {**named, "login_again": bool(entry.get("login_again")), "windows": []}


def _plain(account: dict[str, Any]) -> dict[str, Any]:
    """For programs: times in RFC 3339, the share that is left beside the one that is used."""
    windows = [
        {
            "name": window["name"],
            "used_ratio": window["used_ratio"],
            "remaining_ratio": None if window["used_ratio"] is None else max(0.0, 1 - window["used_ratio"]),
            "window_seconds": window.get("limit_seconds"),
            "resets_at": words.iso(window["resets_at"]),
            "amount": window.get("amount") or None,
            "source": window["source"],
            "seen_at": words.iso(window["seen_at"]),
        }
        for window in account["windows"]
    ]
    times: dict[str, Any] = {name: words.iso(account[name]) for name in ("asked_at", "not_before") if name in account}
    return {**account, **times, "windows": windows}


def _print(accounts: list[dict[str, Any]], now: float, mask: bool) -> None:
    from cpa.cli.screen import console, print_line

    width = max((len(words.window_name(w)) for account in accounts for w in account["windows"]), default=0)
    layout = layout_of(width, console().width)
    silent: dict[str, list[str]] = {}
    for account in accounts:
        label = words.masked(account["label"]) if mask else account["label"]
        if not account["windows"]:
            silent.setdefault(_silence(account), []).append(f"{label} ({_kind(account)})")
            continue
        print_line(Words(label, "bold"), f" ({_kind(account)})")
        for window in sorted(account["windows"], key=_order):
            print_line(*window_line(window, layout, now))
    for reason, names in silent.items():
        print_line(Words(f"{reason}: ", DULL), ", ".join(names))


def _kind(account: dict[str, Any]) -> str:
    """The provider, and the plan where it is known."""
    return ", ".join(filter(None, (account["provider"], account.get("plan_type"))))


def _order(window: dict[str, Any]) -> tuple[bool, bool, float, str]:
    """Windows for every model first, short ones first; last what is paid for."""
    return bool(window.get("amount")), ":" in window["name"], window.get("limit_seconds") or 0.0, window["name"]


def _silence(account: dict[str, Any]) -> str:
    if account.get("login_again") or "log in again" in account.get("error", "").lower():
        return "Log in again"
    if account.get("error"):
        return f"Not known, {account['error']}"
    return "Their vendors do not tell" if "asked_at" in account else "Nothing heard yet"


class Layout(NamedTuple):
    """What a line has room for."""

    name: int
    """Columns of the longest name of a window."""
    bar: int
    seen: bool
    """Whether it says how the window is known, and since when."""


def layout_of(name: int, columns: int) -> Layout:
    """A terminal that is narrow gets shorter bars, then no ages: a line is never broken for them."""
    rest = columns - len("    100%") - name - ANEW - 2
    if rest >= BAR + SEEN:
        return Layout(name, BAR, seen=True)
    return Layout(name, BAR // 2, seen=rest >= BAR // 2 + SEEN)


def window_line(window: dict[str, Any], layout: Layout, now: float) -> tuple[str | Words, ...]:
    """A line of a window, in pieces. ``now`` in Unix seconds."""
    share, resets, amount = words.used(window), window["resets_at"], window.get("amount") or ""
    anew = f"anew in {words.span(resets - now)}" if resets else amount
    if window["used_ratio"] is None and amount:
        share, shown = Words(""), " " * layout.bar
    else:
        shown = bar(window["used_ratio"], layout.bar)
    seen = f"  {SOURCES[window['source']]} {words.span(now - window['seen_at'])} ago"
    return (
        f"  {words.window_name(window):<{layout.name}}  ",
        Words(f"{shown} {share.text:>4}", share.style),
        f"  {anew:<{ANEW}}",
        Words(seen if layout.seen else "", DULL),
    )


SOURCES = {"headers": "answered", "event": "answered", "query": "asked"}
"""Where a window is known from: an answer to a request, or a question about quota."""


def bar(ratio: float | None, length: int = BAR) -> str:
    """A bar of so many characters, full at 1."""
    full = round(length * min(1.0, max(0.0, ratio or 0.0)))
    if ratio and not full:
        full = 1
    return "█" * full + "░" * (length - full)
