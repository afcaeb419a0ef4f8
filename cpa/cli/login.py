"""``cpa login``: log in to a provider and store the login in the auth directory.

It needs no running daemon. One that runs serves the new login at once: it follows the auth directory.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cpa.cli.completing import complete_provider
from cpa.cli.login_outcome import report, report_failure
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json
from cpa.errors import PORT_IN_USE, LoginError

if TYPE_CHECKING:
    from rich.console import Console

    from cpa.cli.login_room import LoginRoom
    from cpa.exchange.login_flow import StoredLogin
    from cpa.plugins.login import LoginOptions
    from cpa.plugins.provider import Provider

LARGEST_KEY_FILE = 1024 * 1024


@click.command()
@click.argument("provider", default="", shell_complete=complete_provider)
@config_option
@click.option("--no-browser", is_flag=True, help="Open no browser: print the page's address.")
@click.option("--paste", is_flag=True, help="Do not listen for the browser: paste the address it ends at.")
@click.option("--device", is_flag=True, help="Log in with a code that is typed in on another device.")
@click.option(
    "--callback-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Listen here for the browser. Claude and Codex still send it to the port they know (54545, 1455): for use"
    " behind a port forward.",
)
@click.option(
    "--proxy",
    default="",
    metavar="URL",
    envvar="CPA_LOGIN_PROXY",
    help="For this login and its account; 'direct' for none. CPA_LOGIN_PROXY keeps a password out of process lists.",
)
@click.option("--project", default="", metavar="ID", help="Google Cloud project (Gemini CLI); ALL or GOOGLE_ONE, too.")
@click.option("--prefix", default="", help="Goes before the names of the account's models.")
@click.option("--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Key file (Vertex AI).")
@click.option("--location", default="", help="Region (Vertex AI), us-central1 unless told.")
@json_option
def login(
    provider: str,
    config_path: Path,
    no_browser: bool,
    paste: bool,
    device: bool,
    callback_port: int,
    proxy: str,
    project: str,
    prefix: str,
    key_file: Path | None,
    location: str,
    as_json: bool,
) -> None:
    """Log in to PROVIDER, e.g. claude, codex, gemini or kimi; without one the providers are listed.

    Logging in again replaces the tokens and keeps everything you have set. Exit status: 0 when logged in, 13 when the
    callback port is taken, 1 for every other failure.
    """
    from cpa.accounts.directory_fault import directory_fault
    from cpa.cli.login_room import open_room
    from cpa.plugins.login import LoginOptions

    room = open_room(config_path)
    if not provider:
        _list(room, as_json)
        return
    chosen = room.find(provider)
    options = LoginOptions(
        method=_method(chosen, device=device, key_file=key_file),
        project=project,
        location=location,
        prefix=prefix,
        proxy=_checked_proxy(proxy),
        callback_port=callback_port,
        key_file=_content(key_file) if key_file is not None else b"",
    )
    if unusable := directory_fault(room.files.directory.path):
        raise click.ClickException(f"the login could not be stored: {unusable}")
    sys.exit(_run(room, chosen, options, browser=not (no_browser or paste), listen=not paste, as_json=as_json))


def _list(room: LoginRoom, as_json: bool) -> None:
    """What can be logged in to."""
    offers = [(provider.name, provider.login_offer) for provider in room.providers()]
    rows = [
        {"provider": name, "title": offer.title, "methods": list(offer.methods), "aliases": list(offer.aliases)}
        for name, offer in offers
        if offer is not None
    ]
    if as_json:
        print_json(rows)
        return
    click.echo("Log in with  cpa login PROVIDER:\n")
    width = max((len(str(row["provider"])) for row in rows), default=0)
    for row in rows:
        ways = ", ".join(str(method) for method in row["methods"])
        click.echo(f"  {click.style(str(row['provider']).ljust(width), bold=True)}  {row['title']}  ({ways})")


def _method(provider: Provider, *, device: bool, key_file: Path | None) -> str:
    """The method that was asked for, or the provider's first. Raises click.UsageError for one it does not have."""
    offer = provider.login_offer
    assert offer is not None
    method = "device" if device else "key-file" if key_file is not None else offer.methods[0]
    if method not in offer.methods:
        flags = {"device": "--device", "key-file": "--key-file FILE"}
        raise click.UsageError(f"{provider.name} has no login with {flags[method]}: it has {', '.join(offer.methods)}")
    if method == "key-file" and key_file is None:
        raise click.UsageError(f"{provider.name} takes a key file: --key-file FILE")
    return method


def _content(key_file: Path) -> bytes:
    """The key file, as far as one can be long."""
    try:
        with key_file.open("rb") as stream:
            return stream.read(LARGEST_KEY_FILE)
    except OSError as fault:
        raise click.ClickException(f"{key_file} cannot be read: {fault.strerror or fault}") from None


def _checked_proxy(proxy: str) -> str:
    from cpa.errors import UpstreamError
    from cpa.upstream.proxies import choose_proxy

    try:
        choose_proxy(proxy, "", "example.com", {}, "https")
    except UpstreamError:
        raise click.UsageError("--proxy needs a http, https, socks5 or socks5h URL, or 'direct'") from None
    return proxy.strip()


def _run(
    room: LoginRoom, provider: Provider, options: LoginOptions, *, browser: bool, listen: bool, as_json: bool
) -> int:
    """Log in; the exit status."""
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False, emoji=False)
    try:
        stored = asyncio.run(_log_in(room, provider, options, console, browser=browser, listen=listen))
    except LoginError as fault:
        report_failure(console, provider, fault, as_json)
        return PORT_IN_USE if fault.status == PORT_IN_USE else 1
    except KeyboardInterrupt:
        report_failure(console, provider, LoginError("cancelled", "the login was given up"), as_json)
        return 130
    report(room, provider, stored, console, as_json)
    return 0


async def _log_in(
    room: LoginRoom, provider: Provider, options: LoginOptions, console: Console, *, browser: bool, listen: bool
) -> StoredLogin:
    from cpa.cli.login_terminal import Terminal, TerminalOptions
    from cpa.exchange.login_flow import LoginFlow
    from cpa.upstream.client import UpstreamClient

    assert provider.login_offer is not None
    console.print(f"[bold]Log in to {provider.login_offer.title}[/bold]\n")
    terminal = Terminal(
        console, TerminalOptions(browser=browser, listen=listen, callback_port=options.callback_port), room.environ
    )
    client = UpstreamClient(lambda: room.config.proxy_url, room.environ)
    try:
        flow = LoginFlow(provider, options, http=client, host=terminal, files=room.files, plugins=room.plugins)
        return await flow.run()
    finally:
        terminal.close()
        await client.close()
