"""Which models a subscription's plan brings."""

from __future__ import annotations

import pytest

from cpa.accounts.account import Account
from cpa.catalog.builtin import builtin_models
from cpa_codex import CodexProvider


@pytest.mark.parametrize(
    ("plan", "section"),
    [
        ("pro", "codex-pro"),
        ("plus", "codex-plus"),
        ("team", "codex-team"),
        ("business", "codex-team"),
        ("go", "codex-team"),
        ("Free", "codex-free"),
        ("enterprise", "codex-pro"),
        (None, "codex-pro"),
    ],
)
def test_the_plan_of_a_codex_login_decides_its_models(plan: str | None, section: str) -> None:
    account = Account(id="a", provider="codex", kind="oauth", settings={"plan_type": plan})
    expected = [model.id for model in builtin_models(section) if not model.retired]
    builtin = [model.id for model in builtin_models("codex-builtin")]
    offered = [model.id for model in CodexProvider().models(account, builtin_models)]
    assert offered == expected + builtin
    assert "gpt-image-2" in offered
