"""One request on a terminal: a summary, its attempts, and its history word for word."""

from __future__ import annotations

import sys
from typing import Any

import click

from cpa.cli.account_words import printable
from cpa.cli.requests_list import clock, count, model_name, seconds, style
from cpa.cli.screen import print_rows


def print_request(shown: dict[str, Any], *, only_text: bool) -> None:
    """Everything that is known."""
    if not only_text:
        _print_summary(shown)
    sections = shown.get("sections", [])
    if not sections:
        click.echo("\nno history was kept of it (request-log was off)", err=True)
    for section in sections:
        _print_section(section)


def print_section(shown: dict[str, Any], title: str) -> None:
    """The text of one section, nothing else: made for pipes. Raises click.ClickException when there is none."""
    sections = shown.get("sections", [])
    for section in sections:
        if section["title"] == title.upper():
            click.echo(_shown(section["text"]))
            return
    if not sections:
        raise click.ClickException("no history was kept of it (request-log was off)")
    known = ", ".join(section["title"] for section in sections)
    raise click.ClickException(f"there is no section {title!r}; there are: {known}")


def _print_section(section: dict[str, Any]) -> None:
    click.secho(f"\n=== {section['title']} ===", bold=True)
    for line in section.get("lines", []):
        click.echo(_shown(line))
    if section["text"]:
        click.echo(_shown(section["text"].rstrip("\n")))


def _shown(text: str) -> str:
    """As it is; on a terminal without what would steer it: anybody may have written it."""
    return "\t".join(map(printable, text.split("\t"))) if sys.stdout.isatty() else text


def _print_summary(shown: dict[str, Any]) -> None:
    facts = shown if "status" in shown else _last(shown)
    pairs = [
        ("request", shown["request_id"]),
        ("status", click.style(str(facts.get("status", "")), fg=style(facts.get("status", 0)))),
        ("model", model_name(facts)),
        ("client", facts.get("client")),
        ("format", facts.get("format")),
        ("first token after", seconds(facts.get("ttft_ms"))),
        ("took", seconds(facts.get("duration_ms"))),
        (
            "tokens",
            " in, ".join(filter(None, (count(facts.get("input_tokens")), count(facts.get("output_tokens"))))) + " out",
        ),
        ("error", facts.get("error")),
    ]
    for name, value in pairs:
        if value and value != " out":
            click.echo(f"{name + ':':18} {value if name == 'status' else printable(value)}")
    attempts = shown.get("attempts") or [_attempt(row) for row in shown.get("recorded", [])]
    if attempts:
        click.echo()
        print_rows(
            ("ATTEMPT", "BEGUN", "ACCOUNT", "MODEL", "STATUS", "ANSWERED AFTER", "TOOK", ""),
            [_cells(attempt) for attempt in attempts],
        )


def _last(shown: dict[str, Any]) -> dict[str, Any]:
    """The last attempt; else whatever was recorded."""
    recorded: list[dict[str, Any]] = shown.get("recorded", [])
    return next((row for row in reversed(recorded) if row["attempts"]), recorded[-1] if recorded else {})


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    """An attempt as the durable record knows it, where no history was kept."""
    return {
        "number": row["attempts"],
        "account": row["account"],
        "model": row["upstream_model"],
        "started_ms": row["started_ms"],
        "answered_ms": None,
        "finished_ms": row["started_ms"] + row["duration_ms"],
        "outcome": row["status"],
        "error": row["error"],
    }


def _cells(attempt: dict[str, Any]) -> tuple[str, ...]:
    answered = attempt["answered_ms"]
    return (
        str(attempt["number"] or "-"),
        clock(attempt["started_ms"]),
        attempt["account"],
        attempt["model"],
        str(attempt["outcome"]),
        seconds(None if answered is None else answered - attempt["started_ms"]),
        seconds(attempt["finished_ms"] - attempt["started_ms"]),
        " ".join((attempt["error"] or "").split())[:100],
    )
