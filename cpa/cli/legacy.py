"""Command lines in the style of CLIProxyAPI (``cpa -config x.yaml``) as the commands of cpa."""

from __future__ import annotations

import click

_VALUE_FLAGS = {"config": "--config", "password": "--password"}
_IGNORED_FLAGS = frozenset({"local-model", "no-browser"})
_UNSUPPORTED_FLAGS = frozenset(
    {"home", "home-password", "home-jwt", "home-disable-cluster-discovery", "tui", "standalone"}
)


def translate(arguments: list[str]) -> list[str]:
    """Arguments for click. A line that begins with a flag of the old style means ``serve``; others are kept.

    Raises click.UsageError for an old flag that cpa does not have.
    """
    if not arguments or not arguments[0].startswith("-") or arguments[0] in ("--help", "-h", "--version"):
        return arguments
    translated = ["serve"]
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-"):
            translated.append(argument)
        elif name == "version":
            return ["--version"]
        elif name in _VALUE_FLAGS:
            if not equals:
                if not rest:
                    raise click.UsageError(f"{argument} needs a value")
                value = rest.pop(0)
            translated += [_VALUE_FLAGS[name], value]
        elif name in _IGNORED_FLAGS:
            continue
        elif name in _UNSUPPORTED_FLAGS:
            raise click.UsageError(f"-{name} is not supported by cpa")
        else:
            translated.append(argument)
    return translated
