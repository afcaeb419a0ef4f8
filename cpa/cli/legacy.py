"""Command lines in the style of CLIProxyAPI (``cpa -config x.yaml``, ``cpa -codex-login``) as the commands of cpa."""

from __future__ import annotations

import click

_LOGINS = {
    "vertex-import": ("vertex",),
    "login": ("gemini-cli",),
    "codex-login": ("codex",),
    "codex-device-login": ("codex", "--device"),
    "claude-login": ("claude",),
    "kimi-login": ("kimi",),
}
"""Flags that ask for a login, the first one given here first, and what they mean."""
_VALUE_FLAGS = {
    "config": "--config",
    "password": "--password",
    "project_id": "--project",
    "oauth-callback-port": "--callback-port",
    "vertex-import": "--key-file",
    "vertex-import-prefix": "--prefix",
}
_SWITCHES = frozenset({"no-browser", *(flag for flag in _LOGINS if flag != "vertex-import")})
_OF_LOGINS = frozenset({"project_id", "oauth-callback-port", "vertex-import", "vertex-import-prefix", "no-browser"})
_OF_SERVE = frozenset({"password"})
_IGNORED_FLAGS = frozenset({"local-model"})
_UNSUPPORTED_FLAGS = frozenset(
    {
        "home",
        "home-password",
        "home-jwt",
        "home-disable-cluster-discovery",
        "tui",
        "standalone",
        "antigravity-login",
        "xai-login",
    }
)
_FALSE = frozenset({"0", "f", "false"})


def translate(arguments: list[str]) -> list[str]:
    """Arguments for click. A line that begins with a flag of the old style means ``serve`` or ``login``.

    Others are kept. Raises click.UsageError for an old flag that cpa does not have.
    """
    if not arguments or not arguments[0].startswith("-") or arguments[0] in ("--help", "-h", "--version"):
        return arguments
    given: dict[str, str] = {}
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-"):
            kept.append(argument)
        elif name == "version":
            return ["--version"]
        elif name in _VALUE_FLAGS:
            if not equals:
                if not rest:
                    raise click.UsageError(f"{argument} needs a value")
                value = rest.pop(0)
            given[name] = value
        elif name in _SWITCHES:
            if value.lower() not in _FALSE:
                given[name] = ""
        elif name in _UNSUPPORTED_FLAGS:
            raise click.UsageError(f"-{name} is not supported by cpa")
        elif name not in _IGNORED_FLAGS:
            kept.append(argument)
    return _command(given, kept)


def _command(given: dict[str, str], kept: list[str]) -> list[str]:
    wanted = next((flag for flag in _LOGINS if flag in given), None)
    foreign = _OF_LOGINS if wanted is None else _OF_SERVE
    translated = ["serve"] if wanted is None else ["login", *_LOGINS[wanted]]
    for name, value in given.items():
        if name in foreign or (name in _LOGINS and name != wanted):
            continue
        if name in _VALUE_FLAGS:
            translated += [_VALUE_FLAGS[name], value]
        elif name == "no-browser":
            translated.append("--no-browser")
    return [*translated, *kept]
