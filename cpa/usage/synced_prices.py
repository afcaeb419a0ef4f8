"""Prices that were read from a list because somebody asked for it, kept in a small file beside the usage database."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from cpa.config.atomic import write_atomically
from cpa.usage.price_rows import PriceRow, WrongPrice, read_stored, shown_row

FILE_NAME = "model-prices.json"


class SyncedPrices:
    """The rows in force, by model, and their file. Methods block: call them in a thread."""

    def __init__(self, path: Path, log: Any) -> None:
        self.path = path
        self.rows: Mapping[str, PriceRow] = MappingProxyType({})
        """Replaced as a whole when anything changes."""
        self._log = log

    def load(self) -> None:
        """Read the file. One that cannot be used is kept under another name, and said so; then there are no rows."""
        try:
            self.rows = MappingProxyType(read_synced(self.path))
        except FileNotFoundError:
            return
        except (OSError, WrongPrice) as fault:
            broken = self.path.with_suffix(".broken")
            with contextlib.suppress(OSError):
                self.path.replace(broken)
            self._log.error(
                "prices from lists cannot be read, they have to be synced again", kept=str(broken), reason=str(fault)
            )

    def save(self, rows: Mapping[str, PriceRow]) -> None:
        """Write the file, readable for its owner only, and put the rows in force. Raises OSError."""
        content = {"prices": {model: shown_row(row) for model, row in sorted(rows.items())}}
        write_private(self.path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        self.rows = MappingProxyType(dict(rows))


def write_private(path: Path, content: bytes) -> None:
    """Replace a file that only its owner can read, its folder made if need be. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, content)


def read_synced(path: Path) -> dict[str, PriceRow]:
    """The rows in a file. Raises OSError, and WrongPrice when it holds something else."""
    try:
        data = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as fault:
        raise WrongPrice(str(fault)) from None
    prices = data.get("prices") if isinstance(data, dict) else None
    if not isinstance(prices, dict):
        raise WrongPrice("there are no prices in it")
    return {model: read_stored(row) for model, row in prices.items()}
