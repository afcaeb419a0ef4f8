"""What logging in and out needs of a configuration: its providers and its auth directory, without a daemon."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
from click.core import ParameterSource

from cpa.accounts.file_fields import provider_of
from cpa.accounts.files import AuthDirectory, AuthFile
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.cli.quiet import Quiet
from cpa.config import Config, load_config
from cpa.config.environment import with_dotenv
from cpa.config.load import load_text
from cpa.errors import ConfigError
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.roster import Roster
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider


def open_room(path: Path) -> LoginRoom:
    """The room of a command's ``--config``. Raises click.ClickException when the file cannot be used.

    A file that nobody named need not be there: somebody may log in before there is a configuration.
    """
    source = click.get_current_context().get_parameter_source("config_path")
    try:
        return LoginRoom(path, optional=source is ParameterSource.DEFAULT)
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None


class LoginRoom:
    """Providers and auth directory of the configuration file ``path``. Raises ConfigError when that cannot be used.

    ``optional``: without such a file everything is at its default.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ, *, optional: bool = False) -> None:
        self.path = path
        self.environ = with_dotenv(environ)
        self.configured = path.exists() or not optional
        """Whether there is a file."""
        loaded = load_config(path, environ=self.environ) if self.configured else load_text("", environ=self.environ)
        self.config: Config = loaded.config
        self.plugins = Plugins(Quiet())
        self.plugins.load(self.config)
        pool = AccountPool()
        self._catalog = Catalog(pool.listed)
        self._roster = Roster(self.plugins, pool, self._catalog, Quiet())
        self._roster.apply_config(self.config)
        self.files = AuthFiles(AuthDirectory(Path(self.config.auth_dir)), self._roster, Quiet())

    def providers(self) -> list[Provider]:
        """Those somebody can log in to, by name."""
        return sorted(
            (provider for provider in self.plugins.providers if provider.login_offer is not None),
            key=lambda provider: provider.name,
        )

    def find(self, name: str) -> Provider:
        """The provider of a name or another name of it. Raises click.UsageError."""
        wanted = name.strip().lower()
        for provider in self.providers():
            offer = provider.login_offer
            if offer is not None and wanted in (provider.name, *offer.aliases):
                return provider
        known = ", ".join(provider.name for provider in self.providers())
        raise click.UsageError(f"there is no login to {name!r}; there is one to {known}")

    def models_of(self, name: str) -> int:
        """How many models the login in a file offers, once it is written by :attr:`files`."""
        accounts = self._roster.accounts_of(name)
        return len({model.id for account in accounts for model in self._catalog.models_of(account.id)})

    def matching(self, name: str) -> list[AuthFile]:
        """The logins a name, an e-mail address or a provider means."""
        wanted = name.strip().lower()
        files = list(self.files.directory.scan())
        exact = [file for file in files if file.name.lower() in (wanted, f"{wanted}.json")]
        if exact:
            return exact
        provider = next((found for found in self.providers() if wanted in _names(found)), None)
        return [
            file
            for file in files
            if wanted in (str(file.data.get(member) or "").lower() for member in ("email", "label"))
            or (provider is not None and provider_of(file.data) == provider.name)
        ]


def _names(provider: Provider) -> tuple[str, ...]:
    offer = provider.login_offer
    return (provider.name, *(offer.aliases if offer is not None else ()))
