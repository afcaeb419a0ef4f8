"""Take prices of models from a published list: see what that would change, then do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from cpa.exchange.price_fetch import PriceListReader
from cpa.usage.price import Price
from cpa.usage.price_lists import LONGEST_NAME, PriceList
from cpa.usage.price_rows import MANUAL, PriceRow, shown_row
from cpa.usage.prices import Found, PriceTable
from cpa.usage.synced_prices import SyncedPrices

Action = Literal["added", "changed", "unchanged", "manual", "missing"]


class Proposal(Struct, frozen=True):
    """What a list says of one model."""

    model: str
    action: Action
    """``manual``: the user has set a price, which stays. ``missing``: it is not in the list."""
    before: Found | None
    """What counts now."""
    row: PriceRow | None = None
    """What the list says; None when it is ``missing``."""

    @property
    def imported(self) -> bool:
        """Whether the row is taken."""
        return self.action in ("added", "changed", "unchanged")


class PriceSync:
    """Reads lists and takes rows of them. One at a time; the others wait."""

    def __init__(
        self,
        reader: PriceListReader,
        prices: Callable[[], PriceTable],
        synced: SyncedPrices,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``prices`` gives the prices in force, ``now`` Unix seconds."""
        self._reader = reader
        self._prices = prices
        self.synced = synced
        self._now = now
        self._lock = asyncio.Lock()

    async def propose(self, models: Iterable[str], source: str, *, overwrite_manual: bool = False) -> list[Proposal]:
        """What taking these models from a list would do. Raises ListUnreadable."""
        found = await self._reader.read(source)
        table, now_ms = self._prices(), int(self._now() * 1000)
        return await asyncio.to_thread(
            lambda: [_proposal(model, found, table, now_ms, overwrite_manual) for model in dict.fromkeys(models)]
        )

    async def take(self, proposals: Sequence[Proposal]) -> None:
        """Put the rows that are to be imported in force. Raises OSError when the file cannot be written."""
        rows = {each.model: each.row for each in proposals if each.imported and each.row is not None}
        if rows:
            await self.change(lambda known: {**known, **rows})

    async def change(self, change: Callable[[Mapping[str, PriceRow]], Mapping[str, PriceRow]]) -> None:
        """Replace the rows that are kept. Raises OSError when the file cannot be written."""
        async with self._lock:
            rows = change(self.synced.rows)
            if rows != self.synced.rows:
                await asyncio.to_thread(self.synced.save, rows)


def used_models(sums: Iterable[Mapping[str, Any]]) -> list[str]:
    """The models in sums of usage by model, as far as they can have a price."""
    return [name for row in sums if 0 < len(name := row["name"]) <= LONGEST_NAME]


def shown_proposal(each: Proposal) -> dict[str, Any]:
    """The proposal as JSON."""
    before = each.before
    return {
        "model": each.model,
        "action": each.action,
        "before": None if before is None else {"model": before.name, **shown_row(before.row)},
        "after": None if each.row is None else shown_row(each.row),
    }


def _proposal(model: str, found: PriceList, table: PriceTable, now_ms: int, overwrite_manual: bool) -> Proposal:
    before = table.search(model)
    name = found.match(model)
    if name is None:
        return Proposal(model, "missing", before)
    price, known = found.prices[name], before.row if before is not None else None
    if known is not None:
        price = _completed(price, known)
    same = known is not None and known.price == price
    row = PriceRow(
        price,
        found.source,
        name,
        known.updated_at_ms if known is not None and same and known.updated_at_ms else now_ms,
        now_ms,
        known.style if known is not None else "",
    )
    if known is not None and known.source == MANUAL and not overwrite_manual:
        return Proposal(model, "manual", before, row)
    return Proposal(model, "added" if known is None else "unchanged" if same else "changed", before, row)


def _completed(price: Price, known: PriceRow) -> Price:
    """The price with what the list does not tell and what is known: of the same price, and the user's multiplier."""
    before = known.price
    told = {"multiplier": before.multiplier}
    if known.source != MANUAL and (price.input, price.output) == (before.input, before.output):
        names = [name for name in _UNTOLD if getattr(price, name) is None]
        told |= {name: getattr(before, name) for name in names}
    return replace(price, **told)


_UNTOLD = ("cache_read", "cache_write", "cache_write_1h", "above_tokens", "above")
