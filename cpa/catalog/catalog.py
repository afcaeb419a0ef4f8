"""Which models exist right now, through which accounts, under which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec import Struct

from cpa.catalog.model import Model

Listed: TypeAlias = Callable[[str, str], bool]


class Offer(Struct, frozen=True, gc=False):
    """One account's offer of one model; ``models`` has several entries when an alias is a pool."""

    account_id: str
    provider: str
    models: tuple[Model, ...]


class _Given(Struct, frozen=True, gc=False):
    """What an account was registered with."""

    provider: str
    models: tuple[Model, ...]
    standing: tuple[int, ...]


def _upstream(model: Model) -> tuple[str, str | None]:
    return model.upstream or model.id, model.suffix


def _pools(models: Iterable[Model]) -> dict[str, list[Model]]:
    """Models by name; a repeated name is a pool of different upstream models."""
    pools: dict[str, list[Model]] = {}
    for model in models:
        pool = pools.setdefault(model.id, [])
        if all(_upstream(known) != _upstream(model) for known in pool):
            pool.append(model)
    return pools


class Catalog:
    """Models by name. Changed account by account; never rebuilt as a whole.

    ``listed`` says whether an account should show a model in lists at the moment (account id, upstream model).
    """

    def __init__(self, listed: Listed = lambda account_id, model: True) -> None:
        self._by_name: dict[str, dict[str, Offer]] = {}
        self._given: dict[str, _Given] = {}
        self._versions: dict[str, object] = {}
        self._listed = listed
        self._routes: dict[str, Model] = {}

    def register(self, account_id: str, provider: str, models: Iterable[Model], standing: tuple[int, ...] = ()) -> bool:
        """Set what an account offers, in the order given; replaces what it offered before. Whether that differs.

        Names whose offer stays the same are left alone, their versions too. ``standing`` (priority, weight) is what
        else of the account a version depends on.
        """
        given = _Given(provider, tuple(models), standing)
        known = self._given.get(account_id)
        if known == given:
            return False
        pools = _pools(given.models)
        for name in _pools(known.models) if known is not None else ():
            if name not in pools:
                self._withdraw(name, account_id)
        moved = known is None or known.standing != standing
        for name, pool in pools.items():
            offers = self._by_name.setdefault(name, {})
            offer = Offer(account_id, provider, tuple(pool))
            if moved or offers.get(account_id) != offer:
                offers[account_id] = offer
                self._versions[name] = object()
        self._given[account_id] = given
        return True

    def unregister(self, account_id: str) -> bool:
        """Forget an account; whether it was known."""
        known = self._given.pop(account_id, None)
        if known is None:
            return False
        for name in _pools(known.models):
            self._withdraw(name, account_id)
        return True

    def _withdraw(self, name: str, account_id: str) -> None:
        offers = self._by_name[name]
        offers.pop(account_id, None)
        self._versions[name] = object()
        if not offers:
            del self._by_name[name], self._versions[name]

    def name_routes(self, routes: Iterable[Model]) -> None:
        """Names that stand for several models, to be shown in lists; no account offers them."""
        self._routes = {model.id: model for model in routes}

    def offers(self, name: str) -> dict[str, Offer]:
        """Offers of a model name by account id (read only); empty when nobody has it."""
        return self._by_name.get(name, {})

    def spelled(self, name: str) -> str | None:
        """A name that is this one but for upper and lower case; None when nobody offers one."""
        wanted = name.lower()
        return next((known for known in self._by_name if known.lower() == wanted), None)

    def version(self, name: str) -> object:
        """An object that is another one after every change of the name's offers."""
        return self._versions.get(name)

    def providers(self, name: str) -> list[str]:
        """Provider keys that offer a name, the one with the most accounts first, whether or not any is usable."""
        counts = Counter(offer.provider for offer in self._by_name.get(name, {}).values())
        return sorted(counts, key=lambda provider: (-counts[provider], provider))

    def models_of(self, account_id: str) -> list[Model]:
        """What one account offers."""
        known = self._given.get(account_id)
        return [pool[0] for pool in _pools(known.models).values()] if known is not None else []

    def newest(self) -> str | None:
        """Name of the newest listed model that answers text, for the name ``auto``."""
        candidates = [model for model in self.list_models() if not model.image_only and model.id not in self._routes]
        return max(candidates, key=lambda model: (model.created, model.id)).id if candidates else None

    def list_models(self) -> list[Model]:
        """Every model that could be asked for now, sorted by name."""
        found = (self.get_model(name) for name in sorted({*self._by_name, *self._routes}))
        return [model for model in found if model is not None]

    def get_model(self, name: str) -> Model | None:
        """The model as lists show it, or None when nobody offers it at the moment."""
        if name in self._routes:
            return self._routes[name]
        for offer in self._by_name.get(name, {}).values():
            for model in offer.models:
                if self._listed(offer.account_id, model.upstream or model.id):
                    return model
        return None
