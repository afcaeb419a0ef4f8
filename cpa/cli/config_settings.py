"""``cpa config get``, ``set``, ``unset`` and ``diff``: single settings, written as the management API writes them."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import orjson

from cpa.cli.completing import complete_setting
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json
from cpa.config import Config, load_config
from cpa.config.diff import changed_paths, is_secret, restart_required
from cpa.config.file import ConfigFile, KeyPath
from cpa.config.key_path import parse_key_path, type_at, typed_value, value_at
from cpa.config.notices import new_warnings
from cpa.errors import ConfigError
from cpa.logs.masking import mask_query
from cpa.network import split_userinfo

MASK = "***"


@click.command()
@config_option
@json_option
@click.argument("key", default="", shell_complete=complete_setting)
def get(config_path: Path, as_json: bool, key: str) -> None:
    """Print the setting KEY as it is in force: what the file says, else its default.

    KEY is written like routing.strategy or claude-api-key[0].base-url. Without KEY everything is printed, secrets
    masked.
    """
    with _explained():
        data = _config(config_path).plain()
        path = parse_key_path(key) if key else ()
        if path:
            type_at(path)
        value = value_at(data, path) if path else _masked(data, "")
    if as_json or isinstance(value, dict | list):
        print_json(value)
    else:
        click.echo(_scalar(value))


@click.command()
@config_option
@click.argument("key", shell_complete=complete_setting)
@click.argument("value")
def set(config_path: Path, key: str, value: str) -> None:
    """Set KEY to VALUE in the file; everything else in it stays as it is, comments too.

    VALUE is YAML: true, 5, text, [a, b], {name: x}; - reads it from standard input, so that a secret is in no list of
    processes. A position just behind a list's end appends. A running daemon takes the change at once. What cannot work
    is refused; what may not do what you want is written, with a warning.
    """
    if value == "-":
        value = sys.stdin.read().removesuffix("\n")
    with _explained():
        path = parse_key_path(key)
        typed = typed_value(value, path)
        _write(config_path, key, lambda file: file.set(path, typed), done="set")


@click.command()
@config_option
@click.argument("key", shell_complete=complete_setting)
def unset(config_path: Path, key: str) -> None:
    """Remove KEY from the file, so that its default counts."""
    with _explained():
        path: KeyPath = parse_key_path(key)
        _write(config_path, key, lambda file: file.delete(path), done="removed, its default counts")


@click.command()
@config_option
@json_option
@click.argument("other", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
def diff(config_path: Path, as_json: bool, other: Path | None) -> None:
    """Show which settings differ from their defaults, or from those of the file OTHER. Secrets are masked."""
    with _explained():
        mine = _config(config_path)
        theirs = _config(other) if other is not None else Config()
        rows = [_difference(path, theirs, mine) for path in changed_paths(theirs, mine)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        before, after = (_scalar(row[name]) or '""' for name in ("before", "after"))
        click.echo(f"{row['key']}: {click.style(before, fg='red')} -> {click.style(after, fg='green')}")
    if not rows:
        click.echo("no setting differs")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what is wrong into a sentence and exit status 1."""
    try:
        yield
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        raise click.ClickException(f"{fault.filename or 'the file'}: {fault.strerror or fault}") from None


def _config(path: Path) -> Config:
    return load_config(path, environ=os.environ).config


def _write(config_path: Path, key: str, write: Callable[[ConfigFile], str], *, done: str) -> None:
    before = load_config(config_path, environ=os.environ)
    write(ConfigFile(config_path))
    after = load_config(config_path, environ=os.environ)
    changed = builtins.set(changed_paths(before.config, after.config))
    click.echo(f"{key}: {done if changed else 'nothing changes'}")
    if restart_required(before.config, after.config):
        click.echo("a running daemon takes this after a restart")
    if changed:
        from cpa.cli.plugin_problems import plugin_problems

        known = plugin_problems(before.config)
        for warning in new_warnings(before.warnings, after.warnings):
            click.echo(f"warning: {warning}", err=True)
        for problem in plugin_problems(after.config):
            if problem not in known:
                click.echo(f"warning: {problem}", err=True)
    for path in after.overridden:
        if f"{key}.".startswith(f"{path}."):
            click.echo(f"warning: {path} comes from the environment, what the file says does not count", err=True)


def _difference(path: str, before: Config, after: Config) -> dict[str, Any]:
    keys = parse_key_path(path)
    return {"key": path, "before": _shown(before, keys, path), "after": _shown(after, keys, path)}


def _shown(config: Config, keys: KeyPath, path: str) -> Any:
    """A value without what nobody has said; one that is a default itself as it is, and None where there is none."""
    for sparse in (True, False):
        with suppress(ConfigError):
            return _masked(value_at(config.plain(sparse=sparse), keys), path)
    return None


def _masked(value: Any, path: str) -> Any:
    """The value with everything that must not be shown replaced."""
    if isinstance(value, dict):
        headers = path.endswith("headers")
        return {name: MASK if headers else _masked(inner, f"{path}.{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, path) for inner in value]
    hidden = is_secret(path) or is_secret(path.partition("[")[0]) or path.lstrip(".") == "api-keys"
    if hidden and value not in ("", None) and not isinstance(value, bool):
        return MASK
    return _without_secrets(value) if isinstance(value, str) and "://" in value else value


def _without_secrets(url: str) -> str:
    """An address without the name, the password and the keys in it."""
    address, userinfo = split_userinfo(url)
    return mask_query(address.replace("://", f"://{MASK}@", 1) if userinfo else address)


def _scalar(value: Any) -> str:
    """A value on one line; texts as they are."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
