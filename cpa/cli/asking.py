"""Ask before something is deleted or taken over."""

from __future__ import annotations

import sys

import click


def ask(question: str, *, yes: bool) -> None:
    """Go on only when somebody agrees; ``yes`` is agreement given beforehand.

    Raises click.UsageError (exit status 2) where there is no terminal to ask on, click.Abort for a no.
    """
    if yes:
        return
    if not has_terminal():
        raise click.UsageError(
            "nothing was done: there is no terminal to ask on; say --yes to go on without being asked"
        )
    click.confirm(question, abort=True, err=True)


def has_terminal() -> bool:
    """Whether somebody can be asked: input that comes from a file, a pipe or nowhere is nobody's answer."""
    return sys.stdin is not None and sys.stdin.isatty()
