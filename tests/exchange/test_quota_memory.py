"""What is known of quota outlives the daemon, as long as it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from msgspec.structs import replace

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.exchange.quota_memory import QuotaMemory
from cpa.exchange.state_file import StateFile

NOW = 1_800_000_000.0
WINDOW = QuotaWindow(
    name="five_hour",
    used_ratio=1.0,
    resets_at=NOW + 600,
    limit_seconds=18_000.0,
    source="query",
    seen_at=NOW,
    plan="pro",
)
UNTOLD = replace(WINDOW, name="day:m", resets_at=None, limit_seconds=86_400.0, used_ratio=None)


def pool_of(now: float = NOW, label: str = "me@example.org") -> AccountPool:
    pool = AccountPool(wall=lambda: now)
    pool.put(Account(id="a.json", provider="claude", kind="oauth", label=label))
    return pool


def file(path: Path, pool: AccountPool) -> StateFile:
    return StateFile(path, QuotaMemory(pool), structlog.get_logger(), what="what is known of quota", seconds=60.0)


async def remembered(path: Path, pool: AccountPool) -> list[str]:
    await file(path, pool).load()
    return [window.name for window in pool.quota("a.json")]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    pool, path = pool_of(), tmp_path / "data" / "quota.json"
    pool.note_quota("a.json", [WINDOW, UNTOLD])
    await file(path, pool).save()
    return path


async def test_windows_are_known_again(path: Path) -> None:
    pool = pool_of(NOW + 60)
    assert await remembered(path, pool) == ["day:m", "five_hour"]
    assert pool.quota("a.json")[1] == WINDOW
    assert pool.rank("a.json") > pool_of().rank("a.json"), "and nobody is sent to an account that is used up"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("later", "known"), [(601, ["day:m"]), (86_401, []), (-60, [])], ids=["anew", "a day later", "clock put back"]
)
async def test_what_does_not_hold_any_more_is_left_out(path: Path, later: int, known: list[str]) -> None:
    assert await remembered(path, pool_of(NOW + later)) == known


async def test_another_login_in_the_place_of_one_has_its_own_quota(path: Path) -> None:
    assert await remembered(path, pool_of(label="you@example.org")) == []


async def test_nothing_is_written_while_nothing_is_heard(tmp_path: Path) -> None:
    await file(tmp_path / "quota.json", pool_of()).save()
    assert not (tmp_path / "quota.json").exists()


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {"a.json": None},
        {"a.json": {"label": "me@example.org"}},
        {"a.json": {"label": "me@example.org", "windows": [{"name": 1}]}},
        {"a.json": {"label": "me@example.org", "windows": {}}},
        {"gone.json": {"label": "me@example.org", "windows": []}},
    ],
)
async def test_what_has_another_shape_is_left_out(tmp_path: Path, state: Any) -> None:
    (tmp_path / "quota.json").write_bytes(orjson.dumps(state))
    assert await remembered(tmp_path / "quota.json", pool_of()) == []
