"""What commands say when something cannot be done."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from cpa.cli.account_words import printable
from cpa.errors import CpaError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def told(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Turn what went wrong into one line on standard error and exit status 1."""

    @functools.wraps(command)
    def run(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        try:
            return command(*arguments, **options)
        except CpaError as fault:
            raise click.ClickException(printable(str(fault))) from None
        except BrokenPipeError:
            raise
        except OSError as fault:
            place = f"{fault.filename}: " if fault.filename else ""
            raise click.ClickException(printable(f"{place}{fault.strerror or fault}")) from None

    return run
