"""``cpa doctor``: check the whole set-up and say what to mend."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click

from cpa.cli.account_source import RunningAccounts
from cpa.cli.account_words import printable, state
from cpa.cli.control import daemon_listens
from cpa.cli.database import database_of
from cpa.cli.doctor_places import (
    Finding,
    look_at_auth_directory,
    look_at_port,
    look_at_usage_database,
)
from cpa.cli.inspection import Inspection, inspect_config
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_finding, print_json
from cpa.config import Config
from cpa.errors import ConfigError, CpaError, UpstreamError
from cpa.management.account_list import shown_accounts
from cpa.upstream.proxies import choose_proxy
from cpa.upstream.timeouts import Timeouts, timeouts_from

CONNECT_SECONDS = 5.0
PORTS = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}
"""Of addresses that name none."""


def look_at_configuration(inspection: Inspection) -> Iterator[Finding]:
    """Warnings of the file, plugins left out, accounts, models."""
    yield Finding("ok", "the configuration can be used")
    for warning in inspection.loaded.warnings:
        yield Finding("warning", str(warning))
    for status in inspection.plugins.statuses:
        if status.state == "failed":
            yield Finding("problem", f"plugin {status.name} was left out: {status.reason}")
    for name, reason in inspection.unusable_files.items():
        yield Finding("warning", f"auth file {name} {reason}")
    for account in inspection.pool:
        if unserved := account.settings.get("unserved"):
            yield Finding("warning", f"auth file {account.id} serves nothing: {unserved}")
    accounts = [
        account
        for account in inspection.pool
        if not account.disabled and not account.settings.get("unserved") and account.provider != "demo"
    ]
    if accounts:
        providers = sorted({account.provider for account in accounts})
        number = "1 account" if len(accounts) == 1 else f"{len(accounts)} accounts"
        yield Finding("ok", f"{number} of {', '.join(providers)}")
    else:
        demo = any(account.provider == "demo" for account in inspection.pool)
        served = "only the demo models answer" if demo else "nothing can be asked for"
        yield Finding("warning", f"no account yet, {served}: cpa login, cpa import, or a key in the configuration")
        yield from look_for_logins(inspection)
    yield Finding("ok", f"{len(inspection.catalog.list_models())} models can be asked for (cpa models)")


def look_for_logins(inspection: Inspection) -> Iterator[Finding]:
    """Logins of other programs on this machine that could be taken."""
    from cpa.importing.sources import Sources

    sources = Sources(inspection.plugins.providers, Path.home(), os.environ, inspection.loaded.path or Path())
    for name in sources.programs:
        if sources.is_there(name):
            yield Finding(
                "info", f"{sources.title(name)} is logged in on this machine: cpa import {name} takes its login"
            )
    if any(sources.installations()):
        yield Finding("info", "CLIProxyAPI is on this machine: cpa import cliproxyapi takes what it has")


def look_at_safety(config: Config, path: Path) -> Iterator[Finding]:
    """Who can reach the daemon, and who can read its secrets."""
    loopback = config.host in ("127.0.0.1", "::1", "localhost")
    if not config.api_keys and not loopback:
        if config.allow_unauthenticated_remote:
            yield Finding("problem", "every machine that reaches the port may use your accounts: set api-keys")
        else:
            yield Finding("warning", "without api-keys only clients on this machine are let in")
    elif not loopback:
        yield Finding("info", f"listens on {config.host or 'all addresses'}, with client keys")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and inspectable_secrets(config):
        yield Finding("warning", f"{path} can be read by other users (mode {mode:04o}): chmod 600 {path}")


def inspectable_secrets(config: Config) -> bool:
    """Whether the file holds keys of accounts."""
    lists = (config.claude_api_key, config.codex_api_key, config.gemini_api_key, config.vertex_api_key)
    return any(lists) or any(entry.api_key_entries for entry in config.openai_compatibility)


def look_at_logins(inspection: Inspection, path: Path) -> Iterator[Finding]:
    """Logins that are over: as the running daemon knows them, else by their files."""
    try:
        if daemon_listens(path):
            entries = RunningAccounts(path).entries()
        else:
            entries = shown_accounts(inspection.pool, inspection.roster, inspection.catalog)
    except CpaError as fault:
        yield Finding("warning", f"the running daemon does not say how its accounts fare: {printable(str(fault))}")
        return
    now = time.time()
    for entry in entries:
        said = state(entry, now).text
        if said.startswith("log in again"):
            text = f"{entry['label']} ({entry['provider']}): {said} (cpa login {entry['provider']})"
            yield Finding("problem", printable(text))


def look_at_timeouts(config: Config) -> Finding:
    """Every time limit, for the record."""
    limits = timeouts_from(config.timeouts, Timeouts())
    shown = ", ".join(
        f"{name.replace('_', ' ')} {value:g} s" if value else f"{name.replace('_', ' ')} none"
        for name in Timeouts.__struct_fields__
        for value in (getattr(limits, name),)
    )
    return Finding("info", f"time limits: {shown}")


async def look_at_upstreams(inspection: Inspection, environ: Mapping[str, str]) -> list[Finding]:
    """Whether each configured address, or the proxy before it, accepts connections; nothing is sent to it."""
    places = {
        place
        for account in inspection.pool
        if account.base_url and not account.disabled
        for place in _first_place(account.base_url, account.proxy_url, inspection.config, environ)
    }
    return list(await asyncio.gather(*(_connect(*place) for place in sorted(places))))


def _first_place(
    base_url: str, proxy_url: str, config: Config, environ: Mapping[str, str]
) -> Iterator[tuple[str, int]]:
    """Host and port that a request to an address goes to first; nothing where no request could be sent."""
    try:
        target = urlsplit(base_url)
        proxy = choose_proxy(proxy_url, config.proxy_url, target.hostname or "", environ, target.scheme)
        first = urlsplit(proxy) if proxy else target
        if first.hostname:
            yield first.hostname, first.port or PORTS.get(first.scheme, 80)
    except (UpstreamError, ValueError):
        return


async def _connect(host: str, port: int) -> Finding:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else "no answer"
        return Finding("warning", f"{host}:{port} cannot be reached: {reason}")
    return Finding("ok", f"{host}:{port} can be reached")


@click.command()
@config_option
@json_option
@click.option("--offline", is_flag=True, help="Do not try to reach the upstreams.")
def doctor(config_path: Path, as_json: bool, offline: bool) -> None:
    """Check the whole set-up and say what to mend. Exit status 1 when something does not work."""
    findings: list[Finding] = []
    try:
        inspection = inspect_config(config_path, os.environ, logins_needed=False)
    except ConfigError as fault:
        findings.append(Finding("problem", str(fault)))
    else:
        findings += look_at_configuration(inspection)
        findings += look_at_safety(inspection.config, config_path)
        findings += look_at_auth_directory(inspection.config)
        findings += look_at_logins(inspection, config_path)
        if inspection.config.usage_statistics_enabled or inspection.config.request_log:
            findings += look_at_usage_database(database_of(inspection.config, config_path))
        findings.append(look_at_port(inspection.config, config_path))
        findings.append(look_at_timeouts(inspection.config))
        if not offline:
            findings += asyncio.run(look_at_upstreams(inspection, os.environ))
    if as_json:
        print_json([{"level": finding.level, "text": finding.text} for finding in findings])
    else:
        for finding in findings:
            print_finding(finding.level, finding.text)
    sys.exit(any(finding.level == "problem" for finding in findings))
