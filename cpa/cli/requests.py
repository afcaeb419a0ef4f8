"""``cpa requests``: what was asked, of whom, and how it went; one request word for word; requests as they happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from cpa.cli.control import DaemonRefused, DaemonUnreachable, ask_daemon
from cpa.cli.database import reading_database
from cpa.cli.failures import told
from cpa.cli.options import config_option, days_ago_ms, json_option
from cpa.cli.output import print_json

RECORDED_BY = ("usage-statistics-enabled", "request-log")
"""Settings any of which has requests recorded."""


@click.group(invoke_without_command=True)
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="How many.")
@click.option("--days", type=click.IntRange(min=1), help="Not older than so many days.")
@click.option("--model", default="", help="Only requests for this model.")
@click.option("--account", default="", help="Only requests that this account or provider served.")
@click.option("--client", default="", help="Only requests with the client key of this id.")
@click.option("--status", type=int, help="Only requests that ended with this HTTP status.")
@click.option("--failed", is_flag=True, help="Only requests that failed.")
@click.option("--watch", is_flag=True, help="Show requests as they happen, until Ctrl-C.")
@config_option
@json_option
@click.pass_context
@told
def requests(
    context: click.Context,
    limit: int,
    days: int | None,
    model: str,
    account: str,
    client: str,
    status: int | None,
    failed: bool,
    watch: bool,
    config_path: Path,
    as_json: bool,
) -> None:
    """List requests, the newest last; `cpa requests show ID` shows one word for word.

    The list comes from the usage record and from request histories (request-log).
    """
    if context.invoked_subcommand is not None:
        return
    if watch:
        from cpa.cli.requests_watch import watch_requests

        watch_requests(config_path, as_json=as_json, wanted=(model, account, client, status, failed))
        return
    wanted = {
        "limit": limit,
        "start_time": days_ago_ms(days) if days else None,
        "model": model,
        "source": account,
        "client": client,
        "status": status,
        "result": "failed" if failed else "",
    }
    rows = _rows(config_path, {name: value for name, value in wanted.items() if value not in ("", None)})
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no requests were recorded")
        return
    from cpa.cli.requests_list import print_requests

    print_requests(rows[::-1])


@requests.command()
@click.argument("request_id", metavar="ID")
@click.option("--section", default="", help="Only this section, for instance 'API REQUEST 1'.")
@click.option("--text", "as_text", is_flag=True, help="Only the history's text, as the management API gives it.")
@config_option
@json_option
@told
def show(request_id: str, section: str, as_text: bool, config_path: Path, as_json: bool) -> None:
    """Show a request: what came in, what was sent to each account, what came back, what was answered.

    ID is the request id (header X-Request-Id of the answer, or the log), or its beginning.
    """
    shown = _show(config_path, request_id.removesuffix("…"))
    if as_json:
        print_json(shown)
        return
    from cpa.cli.requests_show import print_request, print_section

    if section:
        print_section(shown, section)
    else:
        print_request(shown, only_text=as_text)


def _rows(config_path: Path, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        told: dict[str, Any] = ask_daemon(config_path, "GET", f"/request-histories?{urlencode(wanted)}")
        _warn(told.get("histories") or {})
        rows: list[dict[str, Any]] = told["requests"]
        return rows
    except DaemonUnreachable:
        pass
    from cpa.usage.filters import RequestFilter
    from cpa.usage.requests import list_requests

    chosen = RequestFilter(
        limit=wanted["limit"],
        start_ms=wanted.get("start_time"),
        models=(wanted["model"],) if "model" in wanted else (),
        account=wanted.get("source", ""),
        client=wanted.get("client", ""),
        request_id=wanted.get("request_id", ""),
        status=wanted.get("status"),
        failed=True if "result" in wanted else None,
    )
    with reading_database(config_path, *RECORDED_BY) as connection:
        connection.execute("BEGIN")
        return list_requests(connection, chosen)


def _warn(histories: dict[str, Any]) -> None:
    """Say what is missing from the list, and why."""
    if reason := histories.get("reason"):
        waiting = histories["waiting"]
        click.echo(f"request histories cannot be stored now: {reason}; {waiting} wait in memory", err=True)
    if lost := histories.get("dropped"):
        click.echo(f"{lost} request histories were lost since the daemon started: too many waited", err=True)


def _show(config_path: Path, request_id: str) -> dict[str, Any]:
    found = _find(config_path, request_id)
    if found is None:
        begun = {row["request_id"] for row in _rows(config_path, {"limit": 10, "request_id": request_id})}
        if len(begun) > 1:
            raise click.ClickException(f"several requests begin so: {', '.join(sorted(begun))}")
        found = _find(config_path, begun.pop()) if begun else None
    if found is None:
        raise click.ClickException(f"nothing is known of request {request_id}")
    return found


def _find(config_path: Path, request_id: str) -> dict[str, Any] | None:
    try:
        shown: dict[str, Any] = ask_daemon(config_path, "GET", f"/request-histories/{quote(request_id, safe='')}")
        return shown
    except DaemonUnreachable:
        pass
    except DaemonRefused as refusal:
        if "not found" not in str(refusal):
            raise
        return None
    from cpa.usage.requests import describe_request

    with reading_database(config_path, *RECORDED_BY) as connection:
        return describe_request(connection, request_id)
