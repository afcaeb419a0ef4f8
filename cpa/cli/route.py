"""``cpa route explain MODEL``, which is ``cpa accounts why MODEL``: where requests go, and why."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import click

from cpa.cli import account_words as words
from cpa.cli.account_source import open_accounts
from cpa.cli.account_words import BAD, DOUBTFUL, DULL, GOOD, Words
from cpa.cli.completing import complete_served_model
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option
from cpa.errors import CpaError


@click.group()
def route() -> None:
    """See where requests go."""


@route.command("explain")
@click.argument("model", shell_complete=complete_served_model)
@config_option
@json_option
@told
def explain(model: str, config_path: Path, as_json: bool) -> None:
    """Say which accounts can serve MODEL now, which are skipped and why, and which one would be chosen.

    Nothing is sent, and asking changes nothing. Exit status 1 when no account could serve it.
    """
    _explain(model, config_path, as_json)


@click.command("why")
@click.argument("model", shell_complete=complete_served_model)
@config_option
@json_option
@told
def why(model: str, config_path: Path, as_json: bool) -> None:
    """Say which account a request for MODEL would go to, and why not to the others (as cpa route explain)."""
    _explain(model, config_path, as_json)


def _explain(model: str, config_path: Path, as_json: bool) -> None:
    source = open_accounts(config_path)
    try:
        told_by = source.explain(model)
    except CpaError as fault:
        near = _near(model, source)
        raise type(fault)(f"{fault}{near}") from None
    usable = any(serves(candidate) for candidate in told_by["candidates"])
    if as_json:
        from cpa.cli.output import print_json

        print_json(told_by)
    else:
        _print(told_by, words.now())
    sys.exit(0 if usable else 1)


def _near(model: str, source: Any) -> str:
    names = sorted({name for entry in source.entries() if entry["offers"] for name in source.models(entry)})
    close = difflib.get_close_matches(model, names, 3, 0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _print(told_by: dict[str, Any], now: float) -> None:
    from cpa.cli.screen import print_line, print_rows

    if told_by["route"]:
        print_line(f"{told_by['requested']} is a model route: {' > '.join(told_by['route'])}")
    print_line(Words(told_by["model"], "bold"), f", strategy {told_by['strategy']}\n")
    rows = [_row(candidate, told_by["chosen"], now) for candidate in told_by["candidates"]]
    rows += [
        (Words(left["label"], DULL), left["provider"], Words(left["because"], DULL), "", "")
        for left in told_by["left_out"]
    ]
    print_rows(("ACCOUNT", "PROVIDER", "NOW", "PRIO", "QUOTA USED"), rows, keep=(1, 3))
    print_line("\n", _verdict(told_by))


def _row(candidate: dict[str, Any], chosen: str | None, now: float) -> tuple[str | Words, ...]:
    is_chosen = candidate["account_id"] == chosen
    quota = ", ".join(f"{words.window_name(w)} {words.used(w).text}" for w in words.general(candidate["quota"]))
    return (
        Words(_name(candidate), "bold" if is_chosen else ""),
        candidate["provider"],
        _now(candidate, is_chosen, now),
        str(candidate["priority"] or ""),
        quota,
    )


def _now(candidate: dict[str, Any], is_chosen: bool, now: float) -> Words:
    if candidate["usable"] and candidate["trouble"]:
        return Words(f"{'next' if is_chosen else 'ready'}, but {_trouble(candidate)}", BAD)
    if candidate["usable"]:
        busy = f", {candidate['running']} of {candidate['concurrency']} busy" if candidate["concurrency"] else ""
        return Words(f"{'next' if is_chosen else 'ready'}{busy}", GOOD)
    until = candidate["cooling_until"]
    wait = f" until {words.moment(until, now)}" if until else ""
    return Words(f"skipped{wait}: {candidate['skipped_because']}", DOUBTFUL)


def _trouble(candidate: dict[str, Any]) -> str:
    said = str(candidate["trouble"])
    return f"log in again: {words.over_because(said)}" if said.startswith("log in again") else said


def _verdict(told_by: dict[str, Any]) -> Words:
    candidates = {candidate["account_id"]: candidate for candidate in told_by["candidates"]}
    chosen = candidates.get(told_by["chosen"] or "")
    good = [candidate for candidate in candidates.values() if serves(candidate)]
    if chosen is not None and serves(chosen):
        return Words(f"The next request goes to {_name(chosen)}: {_because(chosen, good, told_by)}.")
    if good:
        over = f"finds that {_name(chosen)} must log in again, and " if chosen is not None else ""
        return Words(f"The next request {over}goes to {_name(good[0])}.")
    if told_by["retry_after"] is not None:
        wait = words.span(told_by["retry_after"])
        return Words(
            f"No account can serve it now; the first one can again in {wait}. Clients get 429 until then.", BAD
        )
    return Words("No account can serve it now, and none says when it can again.", BAD)


def serves(candidate: dict[str, Any]) -> bool:
    """Whether it can be chosen, and its login is not known to be over."""
    return bool(candidate["usable"]) and not candidate["over"]


def _name(candidate: dict[str, Any]) -> str:
    return str(candidate["label"] or candidate["account_id"])


def _because(chosen: dict[str, Any], usable: list[dict[str, Any]], told_by: dict[str, Any]) -> str:
    if len(usable) == 1:
        return "it is the only one that can serve it now"
    peers = [candidate for candidate in usable if candidate["priority"] == chosen["priority"]]
    if len(peers) == 1:
        return f"it has the highest priority ({chosen['priority']})"
    among = f" of the {len(peers)} with priority {chosen['priority']}" if len(peers) < len(usable) else ""
    return {
        "fill-first": f"it is the first{among}, and used until it cannot",
        "quota-aware": f"its quota window{among} starts anew soonest while there is room",
        "weighted-round-robin": f"it is its turn{among} by weight",
    }.get(told_by["strategy"], f"it is its turn{among}")
