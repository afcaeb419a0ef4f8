"""Cooldowns outlive a restart when that is asked for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import structlog

from cpa.accounts.account import Account
from cpa.accounts.persistence import CooldownKeeper
from cpa.accounts.pool import AccountPool


class Running:
    """A pool with its keeper; a new one on the same file is a restart."""

    def __init__(self, path: Path, *, wall: float, clock: float, secrets: dict[str, str]) -> None:
        self.wall, self.clock = wall, clock
        self.pool = AccountPool(lambda: self.clock)
        for name, secret in secrets.items():
            self.pool.put(Account(id=name, provider="p", secret=secret))
        self.keeper = CooldownKeeper(path, self.pool, structlog.get_logger(), lambda: self.wall)

    def cool(self, account: str, seconds: float | None, *, whole: bool = False, reason: str = "quota") -> None:
        scope = "account" if whole else "model"
        self.pool.fail(account, "m", scope=scope, reason=reason, seconds=seconds, message="")  # type: ignore[arg-type]

    def left(self, account: str, model: str = "m") -> float | None:
        cooldown = self.pool.blocked(account, model)
        return cooldown.until - self.clock if cooldown is not None else None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".cooldowns"


SECRETS = {"a": "one", "b": "two", "c": "three"}


async def test_what_runs_is_restored_and_what_is_over_or_orphaned_is_not(path: Path) -> None:
    before = Running(path, wall=1_000_000, clock=50, secrets=SECRETS)
    before.cool("a", 600)
    before.cool("b", 3600, whole=True)
    before.cool("c", 60)
    await before.keeper.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"three" not in path.read_bytes()

    after = Running(path, wall=1_000_100, clock=7, secrets={"a": "one", "c": "three"})
    assert after.keeper.restore() == 1
    assert after.left("a") == pytest.approx(500)
    assert after.left("a", "other") is None
    assert after.left("c") is None
    assert len(after.pool) == 2


async def test_an_account_wide_cooldown_stays_account_wide(path: Path) -> None:
    before = Running(path, wall=0, clock=0, secrets=SECRETS)
    before.cool("b", 3600, whole=True)
    await before.keeper.save()
    after = Running(path, wall=60, clock=1000, secrets=SECRETS)
    after.keeper.restore()
    assert after.left("b", "any other model") == pytest.approx(3540)


async def test_a_refused_credential_is_forgiven_when_it_was_replaced_meanwhile(path: Path) -> None:
    before = Running(path, wall=0, clock=0, secrets=SECRETS)
    for account in ("a", "b"):
        before.cool(account, 1800, whole=True, reason="unauthorized")
    await before.keeper.save()
    after = Running(path, wall=1, clock=0, secrets={**SECRETS, "a": "a new one"})
    after.keeper.restore()
    assert after.left("a") is None
    assert after.left("b") == pytest.approx(1799)


async def test_the_back_off_goes_on_where_it_was(path: Path) -> None:
    before = Running(path, wall=0, clock=0, secrets=SECRETS)
    for _ in range(4):
        before.cool("a", None)
        before.clock += 1000
    before.clock -= 1000
    longest = before.left("a")
    assert longest is not None
    await before.keeper.save()
    after = Running(path, wall=0, clock=0, secrets=SECRETS)
    after.keeper.restore()
    after.clock += 1000
    after.cool("a", None)
    left = after.left("a")
    assert left is not None
    assert left > longest


async def test_nothing_cooling_or_switched_off_leaves_no_file(path: Path) -> None:
    running = Running(path, wall=0, clock=0, secrets=SECRETS)
    await running.keeper.save()
    assert not path.exists()
    running.cool("a", 600)
    await running.keeper.save()
    written = path.stat().st_mtime_ns
    await running.keeper.save()
    assert path.stat().st_mtime_ns == written
    await running.keeper.save(wanted=False)
    assert not path.exists()
    await running.keeper.save()
    assert path.exists()
    running.pool.succeed("a", "m")
    await running.keeper.save()
    assert not path.exists()


async def test_only_cooldowns_that_are_lost_are_worth_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "a-file"
    folder.write_text("")
    running = Running(folder / ".cooldowns", wall=0, clock=0, secrets=SECRETS)
    with structlog.testing.capture_logs() as lines:
        await running.keeper.save(wanted=False)
        await running.keeper.save()
        assert lines == []
        running.cool("a", 600)
        await running.keeper.save()
    assert [line["event"] for line in lines] == ["cooldowns cannot be saved"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":1,"records":[{"account":7}]}', b"\xff"])
def test_a_spoilt_file_is_as_good_as_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    running = Running(path, wall=0, clock=0, secrets=SECRETS)
    assert running.keeper.restore() == 0


async def test_a_clock_that_was_years_ahead_jails_nobody(path: Path) -> None:
    before = Running(path, wall=10**9, clock=0, secrets=SECRETS)
    before.cool("a", 600)
    await before.keeper.save()
    after = Running(path, wall=0, clock=0, secrets=SECRETS)
    assert after.keeper.restore() == 0
