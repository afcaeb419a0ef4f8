"""``cpa init``: write a first configuration."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from pathlib import Path

import click

from cpa.cli.failures import told
from cpa.cli.options import json_option, user_config
from cpa.cli.output import print_json

FIRST_CONFIG = """\
# Configuration of cpa. It may be edited while cpa runs; `cpa config check` says what is wrong with it, and where.
# `cpa config get` prints every setting; docs/configuration.md and config/config.example.yaml say what each does.

# This machine only.
host: "127.0.0.1"
port: {port}

# What your tools must send; `cpa env TOOL` prints it for them. More keys, with names and limits: docs/client-keys.md.
api-keys:
  - "{client_key}"

# The key of the management API and of panels, as its hash; put another key here, and cpa replaces it by its hash.
remote-management:
  secret-key: "{management_hash}"

# Where logins are (cpa login, cpa import).
auth-dir: "~/.cli-proxy-api"

# Count requests, tokens and cost: `cpa usage`, `cpa requests`.
usage-statistics-enabled: true

# Accounts with a key: take the # away.
#claude-api-key:
#  - api-key: "YOUR-KEY"
#gemini-api-key:
#  - api-key: "YOUR-KEY"
#openai-compatibility:
#  - name: openrouter
#    base-url: https://openrouter.ai/api/v1
#    api-key-entries:
#      - api-key: "YOUR-KEY"
#    models:
#      - {{name: vendor/model-a, alias: model-a}}

# Models named demo that answer without any account. Say false when you have one.
plugins:
  configs:
    demo:
      enabled: true
"""


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=user_config,
    show_default="~/.config/cpa/config.yaml",
    help="The file to write.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8317, show_default=True, help="The port to listen on.")
@json_option
@told
def init(config_path: Path, port: int, as_json: bool) -> None:
    """Write a first configuration that only you can read, with new keys, and say what to do next.

    A file that is there is never changed. The management key is shown once; the file holds its hash.
    """
    from cpa.management.hashing import hash_key

    client_key, management_key = f"cpa-{secrets.token_urlsafe(24)}", secrets.token_urlsafe(24)
    text = FIRST_CONFIG.format(port=port, client_key=client_key, management_hash=hash_key(management_key))
    try:
        write_new(config_path, text)
    except FileExistsError:
        raise click.ClickException(
            f"{config_path} is there already and stays as it is: cpa config edit --config {config_path} opens it, "
            "--config names another file to write"
        ) from None
    if as_json:
        print_json({"config": str(config_path.absolute()), "client-key": client_key, "management-key": management_key})
        return
    click.echo(f"{config_path} is written; only you can read it.\n")
    click.echo(f"client key      {client_key}")
    click.echo("                your tools send it; it is in the file")
    click.echo(f"management key  {management_key}")
    click.echo("                for panels; shown only now\n")
    if _taken(port):
        click.echo(f"Another program has port {port}: stop it, or write another port into the file.\n")
    _say_next(config_path)


def write_new(path: Path, text: str) -> None:
    """Write a file (0600) that must not be there yet, with its folder (0700). Raises FileExistsError, OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(path)
        raise


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _say_next(config_path: Path) -> None:
    """The commands that come next; they name the file where they would not find it by themselves."""
    from cpa.cli.options import find_config

    found = find_config().absolute() == config_path.absolute()
    named = "" if found else f" --config {shlex.quote(str(config_path))}"
    steps = (
        ("an account: codex, gemini, kimi too; or cpa import; or a key in the file", f"cpa login claude{named}"),
        ("run it; as a service: make install-service", f"cpa serve{named}"),
        ("point a tool at it; cpa models names the models", f'eval "$(cpa env claude --model demo{named})"'),
    )
    click.echo("Next:")
    for what, command in steps:
        click.echo(f"  # {what}\n  {command}")
