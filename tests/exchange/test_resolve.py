"""What a model name of a client means."""

from __future__ import annotations

import pytest

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.errors import ApiError
from cpa.exchange.resolve import LONGEST_NAME, resolve_model


def test_a_name_without_end_is_none_that_is_remembered_or_repeated() -> None:
    pool = AccountPool()
    pool.put(Account(id="a", provider="p", secret="s"))
    catalog = Catalog(pool.listed)
    catalog.register("a", "p", (Model(id="m"),), (0, 1))
    assert resolve_model(catalog, "m(high)").name == "m"
    with pytest.raises(ApiError) as caught:
        resolve_model(catalog, f"m({'9' * 10**6})")
    assert caught.value.error.status == 404
    assert len(caught.value.error.message) < 2 * LONGEST_NAME
