"""Which models exist right now, through which accounts, under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec import Struct

from cpa.catalog.model import Model

Listed: TypeAlias = Callable[[str, str], bool]


class Offer(Struct, frozen=True):
    """One account's offer of one model; ``models`` has several entries when an alias is a pool."""

    account_id: str
    provider: str
    models: tuple[Model, ...]


class Catalog:
    """Models by name. Changed account by account; never rebuilt as a whole.

    ``listed`` says whether an account should show a model in lists at the moment (account id, upstream model).
    """

    def __init__(self, listed: Listed = lambda account_id, model: True) -> None:
        self._by_name: dict[str, dict[str, Offer]] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._versions: dict[str, object] = {}
        self._listed = listed

    def register(self, account_id: str, provider: str, models: Iterable[Model]) -> None:
        """Set what an account offers, in the order given; replaces what it offered before."""
        self.unregister(account_id)
        by_name: dict[str, list[Model]] = {}
        for model in models:
            pool = by_name.setdefault(model.id, [])
            if all((known.upstream or known.id) != (model.upstream or model.id) for known in pool):
                pool.append(model)
        for name, pool in by_name.items():
            self._by_name.setdefault(name, {})[account_id] = Offer(account_id, provider, tuple(pool))
            self._versions[name] = object()
        self._names[account_id] = tuple(by_name)

    def unregister(self, account_id: str) -> None:
        """Forget an account."""
        for name in self._names.pop(account_id, ()):
            offers = self._by_name[name]
            offers.pop(account_id, None)
            self._versions[name] = object()
            if not offers:
                del self._by_name[name], self._versions[name]

    def offers(self, name: str) -> dict[str, Offer]:
        """Offers of a model name by account id (read only); empty when nobody has it."""
        return self._by_name.get(name, {})

    def version(self, name: str) -> object:
        """An object that is another one after every change of the name's offers."""
        return self._versions.get(name)

    def models_of(self, account_id: str) -> list[Model]:
        """What one account offers."""
        return [
            model for name in self._names.get(account_id, ()) for model in self._by_name[name][account_id].models[:1]
        ]

    def newest(self) -> str | None:
        """Name of the newest listed model that answers text, for the name ``auto``."""
        candidates = [model for model in self.list_models() if not model.image_only]
        return max(candidates, key=lambda model: (model.created, model.id)).id if candidates else None

    def list_models(self) -> list[Model]:
        """Every model that could be asked for now, sorted by name."""
        found = (self.get_model(name) for name in sorted(self._by_name))
        return [model for model in found if model is not None]

    def get_model(self, name: str) -> Model | None:
        """The model as lists show it, or None when nobody offers it at the moment."""
        for offer in self._by_name.get(name, {}).values():
            for model in offer.models:
                if self._listed(offer.account_id, model.upstream or model.id):
                    return model
        return None
