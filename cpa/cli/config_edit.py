"""``cpa config edit``: change the file in an editor; it is checked before it is saved."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import click

from cpa.cli.options import config_option
from cpa.cli.output import print_finding
from cpa.config.file import ConfigConflict, ConfigFile
from cpa.config.load import load_bytes
from cpa.errors import ConfigError

FALLBACK = "vi"


@click.command()
@config_option
def edit(config_path: Path) -> None:
    """Open the configuration in $VISUAL or $EDITOR and save it when it is valid.

    The editor works on a copy. What is wrong is said and the copy can be edited again; what somebody else saved
    meanwhile is not overwritten. A running daemon takes the change at once.
    """
    try:
        before = config_path.read_bytes()
    except OSError as fault:
        raise click.ClickException(f"{config_path}: {fault.strerror or fault}") from None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / config_path.name
        copy.touch(mode=0o600)
        copy.write_bytes(before)
        while True:
            _run_editor(copy)
            content = copy.read_bytes()
            if content == before:
                click.echo("nothing was changed")
                return
            if _saved(config_path, before, content):
                return
            if not (sys.stdin.isatty() and click.confirm("Edit again?", default=True)):
                _keep(config_path, content)


def _run_editor(copy: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or FALLBACK
    try:
        status = subprocess.run([*shlex.split(editor), str(copy)], check=False).returncode  # noqa: S603
    except (OSError, ValueError) as fault:
        raise click.ClickException(f"the editor {editor!r} cannot be started ({fault}); set EDITOR") from None
    if status != 0:
        raise click.ClickException(f"the editor ended with status {status}; nothing was saved")


def _saved(config_path: Path, before: bytes, content: bytes) -> bool:
    """Check and save; False, with the reason told, when it cannot be."""
    try:
        loaded = load_bytes(content, config_path, environ={})
        ConfigFile(config_path).replace(content, expected=sha256(before).hexdigest())
    except ConfigConflict:
        print_finding("problem", "somebody else saved the file meanwhile; your text is not saved over it")
        return False
    except ConfigError as fault:
        print_finding("problem", str(fault))
        return False
    except OSError as fault:
        print_finding("problem", f"{config_path}: {fault.strerror or fault}")
        return False
    for warning in loaded.warnings:
        print_finding("warning", str(warning))
    print_finding("ok", f"{config_path} saved")
    return True


def _keep(config_path: Path, content: bytes) -> None:
    """Put the text that could not be saved beside the file, for its owner alone. Ends with status 1."""
    handle, name = tempfile.mkstemp(
        dir=config_path.absolute().parent, prefix=f"{config_path.stem}.unsaved-", suffix=".yaml"
    )
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    raise click.ClickException(f"not saved; your text is in {name}")
