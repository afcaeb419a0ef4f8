"""What a login's end looks like, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cpa.cli.output import print_json
from cpa.errors import CpaError, LoginError

if TYPE_CHECKING:
    from rich.console import Console

    from cpa.cli.login_room import LoginRoom
    from cpa.exchange.login_flow import StoredLogin
    from cpa.plugins.provider import Provider

_ADVICE: dict[str, str] = {
    "port_in_use": "Close that program, or log in without the port: --paste.",
    "callback_timeout": "No browser here? --no-browser shows how to use one elsewhere.",
    "invalid_state": "The address was of another login. Nothing was stored.",
    "network": "A proxy may be needed: --proxy URL.",
}
"""What to do about a failure, by its code."""


def report(room: LoginRoom, provider: Provider, stored: StoredLogin, console: Console, as_json: bool) -> None:
    """Say who is logged in, where that is stored, and what serves it."""
    models, daemon = _served(room, stored)
    disabled = bool(stored.file.data.get("disabled"))
    if as_json:
        print_json(
            {
                "status": "ok",
                "provider": provider.name,
                "label": stored.new.label,
                "file": stored.file.name,
                "path": str(stored.file.path),
                "created": stored.created,
                "disabled": disabled,
                "models": models,
                "daemon": daemon == "serves",
                "notes": list(stored.new.notes),
            }
        )
        return
    from rich.markup import escape

    console.print(f"[bold green]✓[/bold green] Logged in as [bold]{escape(stored.new.label)}[/bold]")
    for note in stored.new.notes:
        console.print(f"  {escape(note)}")
    kept = "" if stored.created else " (was there: tokens replaced, your settings kept)"
    console.print(f"  file: {escape(str(stored.file.path))}{kept}", soft_wrap=True)
    if disabled:
        console.print(f"  [yellow]It is disabled: cpa accounts enable {escape(stored.file.name)}[/yellow]")
        return
    if daemon == "serves":
        console.print(f"  The running daemon serves it now: {models} models (cpa models)")
    elif daemon == "elsewhere":
        console.print("  [yellow]The running daemon uses another auth directory: is auth-dir relative?[/yellow]")
    elif not room.configured:
        folder = escape(str(room.files.directory.path))
        console.print(f"  {models} models. A daemon whose auth-dir is {folder} serves it at once.", soft_wrap=True)
    else:
        console.print(f"  {models} models (cpa models). Start the daemon: cpa serve --config {escape(str(room.path))}")


def _served(room: LoginRoom, stored: StoredLogin) -> tuple[int, Literal["serves", "elsewhere", "absent"]]:
    """How many models the login offers, and what the running daemon has of it."""
    from cpa.cli.control import DaemonUnreachable, ask_daemon

    offered = room.models_of(stored.file.name)
    try:
        told = ask_daemon(room.path, "POST", "/auth-files/check", {"name": stored.file.name}, environ=room.environ)
        if told["known"]:
            return int(told["models"]), "serves"
        return offered, "elsewhere"
    except DaemonUnreachable:
        return offered, "absent"
    except (CpaError, KeyError, TypeError, ValueError):  # of another version: it follows the directory all the same
        return offered, "serves"


def report_failure(console: Console, provider: Provider, fault: LoginError, as_json: bool) -> None:
    """Say why nobody is logged in, and what helps."""
    if as_json:
        print_json({"status": "error", "provider": provider.name, "error": fault.code, "message": str(fault)})
        return
    from rich.markup import escape

    console.print(f"[bold red]✗[/bold red] Not logged in: {escape(str(fault))}")
    if advice := _ADVICE.get(fault.code):
        console.print(f"  {advice}")
