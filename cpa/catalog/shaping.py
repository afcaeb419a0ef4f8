"""Names for the models of thousands of accounts: accounts that offer the same share the result."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from cpa.catalog.model import Model
from cpa.catalog.offer import ModelAlias, with_aliases, with_prefix, without_excluded


class Shaper:
    """Applies exclusions, aliases and prefix, in this order, and remembers the last different results."""

    LIMIT = 512

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], tuple[tuple[Model, ...], tuple[Model, ...]]] = OrderedDict()

    def shape(
        self,
        models: Iterable[Model],
        *,
        excluded: tuple[str, ...] = (),
        aliases: Sequence[ModelAlias] = (),
        prefix: str = "",
        force_prefix: bool = False,
    ) -> tuple[Model, ...]:
        """The models under the names clients use. The same models give the same tuple."""
        given = tuple(models)
        # Identity stands for equality: what is remembered keeps the models alive, so that no id is used again.
        key = (tuple(map(id, given)), excluded, tuple(aliases), prefix, force_prefix)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[1]
        shaped = tuple(
            with_prefix(with_aliases(without_excluded(given, excluded), aliases), prefix, force=force_prefix)
        )
        self._known[key] = (given, shaped)
        if len(self._known) > self.LIMIT:
            self._known.popitem(last=False)
        return shaped
