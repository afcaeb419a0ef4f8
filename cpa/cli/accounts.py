"""``cpa accounts``: see the accounts, try them, switch them, name them, take them elsewhere."""

from __future__ import annotations

import click

from cpa.cli.lazy import LazyGroup

COMMANDS = {
    "list": ("cpa.cli.accounts_list", "list_accounts", "List all accounts and how they fare."),
    "show": ("cpa.cli.accounts_list", "show", "Show all there is to know of one account."),
    "test": ("cpa.cli.accounts_trial", "test", "Ask accounts a tiny question and say what happened."),
    "why": ("cpa.cli.route", "why", "Say which account a model's requests go to, and why."),
    "enable": ("cpa.cli.accounts_change", "enable", "Let accounts be used again."),
    "disable": ("cpa.cli.accounts_change", "disable", "Keep accounts, but do not use them."),
    "rename": ("cpa.cli.accounts_change", "rename", "Give a login another label or file name."),
    "delete": ("cpa.cli.accounts_change", "delete", "Delete logins."),
    "export": ("cpa.cli.accounts_export", "export", "Write logins into one private file."),
}
"""Command -> module, attribute, help."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def accounts() -> None:
    """See your accounts, try them, switch them off and on, rename, delete and export them.

    NAME is a label, an e-mail address, a file name, an id or the beginning of an index; a part that only one account
    has will do. Everything works with and without a running daemon.
    """
