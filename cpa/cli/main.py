"""The ``cpa`` command line."""

from __future__ import annotations

import os
import sys

import click

from cpa import __version__
from cpa.cli.lazy import LazyGroup
from cpa.cli.legacy import translate

COMMANDS = {
    "serve": ("cpa.cli.serve", "serve", "Run the daemon in the foreground."),
    "init": ("cpa.cli.init", "init", "Write a first configuration."),
    "doctor": ("cpa.cli.doctor", "doctor", "Check the whole set-up and say what to mend."),
    "login": ("cpa.cli.login", "login", "Log in to a provider."),
    "logout": ("cpa.cli.logout", "logout", "Delete a login."),
    "import": ("cpa.cli.import_command", "import_command", "Take logins and settings of other programs."),
    "accounts": ("cpa.cli.accounts", "accounts", "See, try, switch, rename, delete and export accounts."),
    "quota": ("cpa.cli.quota", "quota", "Show how much of each login's allowance is used."),
    "route": ("cpa.cli.route", "route", "Say which account a model's requests go to, and why."),
    "models": ("cpa.cli.models", "models", "List the models that can be asked for."),
    "usage": ("cpa.cli.usage", "usage", "Show requests, tokens and cost."),
    "prices": ("cpa.cli.prices", "prices", "See and set what models cost."),
    "requests": ("cpa.cli.requests", "requests", "Show what was asked and answered, also as it happens."),
    "logs": ("cpa.cli.logs", "logs", "Show the log files, and what comes."),
    "config": ("cpa.cli.config", "config", "Check, show and change the configuration."),
    "env": ("cpa.cli.env", "env", "Print what points a tool at this daemon."),
    "completion": ("cpa.cli.completion", "completion", "Print a shell's completion script."),
    "help": ("cpa.cli.help", "help_command", "Show what a command is for and what it takes."),
}
"""Command -> module, attribute, help. Modules are imported only when their command runs: start-up stays quick."""

SECTIONS = {
    "Run and set up": ("init", "serve", "doctor", "config", "env", "completion", "help"),
    "Accounts": ("login", "logout", "import", "accounts", "quota"),
    "Models and requests": ("models", "route", "requests", "usage", "prices", "logs"),
}
"""How ``cpa --help`` groups the commands."""


class MainGroup(LazyGroup):
    """All commands, in sections; those of plugins are looked for when they are asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            self._add_plugin_commands()
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self._add_plugin_commands()
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][2]) for name in names])
        if self.commands:
            with formatter.section("From plugins"):
                formatter.write_dl(
                    [(name, command.get_short_help_str()) for name, command in sorted(self.commands.items())]
                )

    def _add_plugin_commands(self) -> None:
        from cpa.cli.plugin_commands import add_plugin_commands

        add_plugin_commands(self)


@click.group(cls=MainGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cpa")
def cli() -> None:
    """One local daemon between your coding tools and your own model accounts."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit status: 0 success, 1 failure, 2 wrong usage.

    Whoever reads the output may stop, as ``head`` does: that is nothing to complain of. A full disk is told.
    """
    try:
        translated = translate(sys.argv[1:] if arguments is None else arguments)
    except click.UsageError as fault:
        fault.show()
        sys.exit(2)
    try:
        cli(translated, prog_name="cpa")
    except OSError as fault:
        print(f"Error: {fault.filename or 'output'}: {fault.strerror or fault}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is not written yet shall not fail once more
        sys.exit(1)
