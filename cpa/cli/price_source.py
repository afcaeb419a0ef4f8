"""The prices a command works on: read from their files, changed through the daemon when one runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem

from cpa.cli.control import ask_daemon, daemon_listens
from cpa.cli.database import database_of, reading_database
from cpa.cli.options import find_config
from cpa.config import load_config
from cpa.config.file import ConfigFile
from cpa.errors import CpaError
from cpa.usage.own_prices import own_prices, write_prices
from cpa.usage.price_rows import PriceRow, WrongPrice, read_row, shown_row
from cpa.usage.prices import PriceTable, price_table
from cpa.usage.synced_prices import FILE_NAME, SyncedPrices, read_synced

SYNC_SECONDS = 60.0
"""How long a daemon may take to read a list."""

REVALUE_SECONDS = 1800.0
"""How long a daemon may take to compute costs anew: millions of attempts take minutes."""


class NoSuchPrice(CpaError):
    """There is no price that could be removed or shown."""


class Prices:
    """Prices of one configuration. Everything may raise CpaError and OSError."""

    def __init__(self, config_path: Path) -> None:
        self._path = config_path
        self.config = load_config(config_path, environ=os.environ).config
        self.database = database_of(self.config, config_path)
        self._file = self.database.with_name(FILE_NAME)
        try:
            self.synced = read_synced(self._file)
        except FileNotFoundError:
            self.synced = {}
        except WrongPrice as fault:
            raise WrongPrice(f"{self._file} is damaged ({fault}); the daemon puts it aside when it starts") from None

    @property
    def table(self) -> PriceTable:
        """The prices in force."""
        return price_table(self.config, self.synced)

    def used(self, start_ms: int | None) -> list[dict[str, Any]]:
        """Sums of usage by model, see :func:`cpa.usage.overview.summary`; none when nothing was ever recorded."""
        from cpa.usage.overview import summary

        if not self.database.exists():
            return []
        with reading_database(self._path) as connection:
            return summary(connection, "model", start_ms)

    def set(self, model: str, members: dict[str, Any]) -> dict[str, Any]:
        """Set members of a price, see :func:`cpa.usage.price_rows.read_row`; the price there is now."""
        if daemon_listens(self._path):
            body = {"model": model, "value": members}
            entry: dict[str, Any] = ask_daemon(self._path, "PATCH", "/model-prices", body)["entry"]
            return entry
        known = self.table.search(model)
        row = read_row(members, known.row if known is not None else None)
        ConfigFile(self._path).edit(lambda data: write_prices(data, {model: row}))
        return shown_row(row)

    def unset(self, model: str) -> dict[str, Any] | None:
        """Remove the price in force of a model; the one that counts now."""
        own = own_prices(self.config)
        if model not in own and model not in self.synced:
            ships = self.table.rows().get(model)
            why = "its price ships with cpa; set another one instead" if ships else "there is none"
            raise NoSuchPrice(f"{model} has no price that could be removed: {why}")
        if daemon_listens(self._path):
            told: dict[str, Any] | None = ask_daemon(
                self._path, "DELETE", f"/model-prices?model={quote(model, safe='')}"
            )["entry"]
            return told
        if model in own:
            ConfigFile(self._path).edit(lambda data: write_prices(data, {}, {model}))
        else:
            self._keep({name: row for name, row in self.synced.items() if name != model})
        found = Prices(self._path).table.rows().get(model)
        return None if found is None else shown_row(found)

    def sync(self, models: Sequence[str], source: str, *, preview: bool, overwrite: bool) -> dict[str, Any]:
        """Take prices from a list; what ``POST /model-prices/sync`` answers."""
        if daemon_listens(self._path):
            body = {"models": models, "source": source, "preview": preview, "overwrite_manual": overwrite}
            told: dict[str, Any] = ask_daemon(self._path, "POST", "/model-prices/sync", body, seconds=SYNC_SECONDS)
            return told
        import asyncio

        return asyncio.run(self._sync(models, source, preview=preview, overwrite=overwrite))

    async def _sync(self, models: Sequence[str], source: str, *, preview: bool, overwrite: bool) -> dict[str, Any]:
        from cpa.cli.quiet import Quiet
        from cpa.exchange.price_fetch import PriceListReader
        from cpa.exchange.price_sync import PriceSync, shown_proposal, used_models
        from cpa.upstream.client import UpstreamClient
        from cpa.usage.price_list_cache import ListCache

        client = UpstreamClient(lambda: self.config.proxy_url, os.environ)
        reader = PriceListReader(client, lambda: self.config, ListCache(self.database.parent, Quiet()), os.environ)
        synced = SyncedPrices(self._file, Quiet())
        synced.rows = self.synced
        sync = PriceSync(reader, lambda: self.table, synced)
        try:
            wanted = models or used_models(self.used(None))
            proposals = await sync.propose(wanted, source, overwrite_manual=overwrite)
            if not preview:
                await sync.take(proposals)
        finally:
            await client.close()
        imported = [each for each in proposals if each.imported]
        gone = {each.before.name for each in imported if each.before is not None} & own_prices(self.config).keys()
        if gone and not preview:
            ConfigFile(self._path).edit(lambda data: write_prices(data, {}, gone))
        return {
            "source": source,
            "imported": len(imported),
            "skipped": len(proposals) - len(imported),
            "preview": preview,
            "models": [shown_proposal(each) for each in proposals],
        }

    def revalue(self, since_ms: int, *, preview: bool) -> dict[str, Any]:
        """Compute the cost of recorded attempts anew; what ``POST /model-prices/revalue`` answers."""
        if daemon_listens(self._path):
            body = {"since": since_ms, "preview": preview}
            told: dict[str, Any] = ask_daemon(
                self._path, "POST", "/model-prices/revalue", body, seconds=REVALUE_SECONDS
            )
            return told
        from cpa.usage import revaluation
        from cpa.usage.schema import open_database, transaction

        prices = self.table
        with reading_database(self._path, "usage-statistics-enabled") as connection:
            if preview or not self.database.exists():
                return revaluation.shown(revaluation.preview(connection, prices, since_ms), dry_run=preview)
        connection = open_database(self.database)
        try:
            done, more = revaluation.begin(connection, since_ms), True
            while more:
                with transaction(connection):
                    more = revaluation.go_on(connection, done, prices, since_ms)
        except sqlite3.Error as fault:
            raise click.ClickException(f"{self.database} cannot be changed: {fault}") from None
        finally:
            connection.close()
        return revaluation.shown(done, dry_run=False)

    def _keep(self, rows: dict[str, PriceRow]) -> None:
        from cpa.cli.quiet import Quiet

        SyncedPrices(self._file, Quiet()).save(rows)


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models in use or with a price, for the shell. Says nothing when something fails."""
    path = context.params.get("config_path")
    try:
        found = Prices(Path(path) if path else find_config())
        rows = found.table.rows()
        names = {row["name"] for row in found.used(None)} | rows.keys()
    except (CpaError, OSError, sqlite3.Error, click.ClickException):
        return []
    return [
        CompletionItem(name, help=rows[name].source if name in rows else "no price")
        for name in sorted(names)
        if name.lower().startswith(incomplete.lower())
    ]
