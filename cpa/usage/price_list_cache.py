"""What was read of a list of prices last, so that it is not sent again while it is the same."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import decode, encode

from cpa.usage.price import Price
from cpa.usage.price_lists import PriceList
from cpa.usage.synced_prices import write_private


class CachedList(Struct):
    """A list, and what its server calls this state of it."""

    url: str
    etag: str
    source: str
    prices: dict[str, Price]

    def list(self) -> PriceList:
        """The list itself."""
        return PriceList(self.source, self.prices)


class ListCache:
    """One file for each list, beside the usage database. Methods block: call them in a thread."""

    def __init__(self, folder: Path, log: Any) -> None:
        self._folder = folder
        self._log = log

    def read(self, source: str, url: str) -> CachedList | None:
        """What was kept of a list at this address; None when nothing usable was."""
        with contextlib.suppress(OSError, DecodeError, ValidationError):
            kept = decode(self._file(source).read_bytes(), type=CachedList)
            if kept.url == url and kept.source == source and kept.etag and kept.prices:
                return kept
        return None

    def keep(self, kept: CachedList) -> None:
        """Keep a list. A disk that fails is only logged: the list is read again next time."""
        if not kept.etag:
            return
        try:
            write_private(self._file(kept.source), encode(kept))
        except OSError as fault:
            self._log.warning("a list of prices cannot be kept", reason=fault.strerror or str(fault))

    def _file(self, source: str) -> Path:
        return self._folder / f"price-list-{source}.json"
