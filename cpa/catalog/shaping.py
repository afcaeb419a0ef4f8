"""Names for the models of thousands of accounts: accounts that offer the same share the result."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from cpa.catalog.model import Model
from cpa.catalog.offer import ModelAlias, with_aliases, with_prefix, without_excluded

_Results = OrderedDict[tuple[Any, ...], tuple[tuple[Model, ...], tuple[Model, ...]]]
"""Models as they were given and as they are named, by what made the ones of the others."""


class Shaper:
    """Applies exclusions, aliases and prefix, in this order, and remembers the last different results.

    Those that the configuration of now and the one before it asked for: :meth:`renew` begins another one.
    """

    LIMIT = 512

    def __init__(self) -> None:
        self._known: _Results = OrderedDict()
        self._before: _Results = OrderedDict()

    def renew(self) -> None:
        """From now on another configuration asks: its models are others, mostly."""
        self._before, self._known = self._known, OrderedDict()

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
        result = self._before.pop(key, None)
        if result is None:
            shaped = with_prefix(with_aliases(without_excluded(given, excluded), aliases), prefix, force=force_prefix)
            result = given, tuple(shaped)
        self._known[key] = result
        if len(self._known) > self.LIMIT:
            self._known.popitem(last=False)
        return result[1]
