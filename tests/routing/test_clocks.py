"""Wall clocks jump, machines sleep: no account is stranded, none is hammered."""

from __future__ import annotations

import email.utils
import time

import pytest
from world import Script, World

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.accounts.selection import Candidate, build_rotation
from cpa.errors import ErrorInfo
from cpa.plugins.faults import classify

HOUR, DAY = 3600.0, 86400.0
jumps = pytest.mark.parametrize("jump", [-DAY, -HOUR, HOUR, DAY])


@jumps
async def test_a_set_clock_neither_frees_nor_jails_an_account(world: World, jump: float) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start(world.account("a", priority=1), "b")
    await world.ask()
    world.skew = jump
    world.ahead += 58
    assert (await world.ask()).by == "b"
    world.ahead += 3
    assert (await world.ask()).by == "a"


@jumps
async def test_a_session_keeps_its_account_when_the_clock_is_set(world: World, jump: float) -> None:
    await world.start("a", "b", routing={"session-affinity": True})
    session = {"X-Session-ID": "s"}
    first = (await world.ask(headers=session)).by
    world.skew = jump
    assert await world.served_by(3, headers=session) == [first] * 3


@jumps
def test_a_date_is_read_by_the_clock_of_its_sender(jump: float) -> None:
    """Ours may be wrong: what counts is how long after the answer's own date the moment is."""
    sent = time.time() + jump
    headers = {
        "Date": email.utils.formatdate(sent, usegmt=True),
        "Retry-After": email.utils.formatdate(sent + 90, usegmt=True),
    }
    failure = classify(429, headers, b"", ErrorInfo(429, "later"))
    assert failure.cooldown == pytest.approx(90, abs=1)


@jumps
def test_windows_of_quota_are_placed_anew_when_the_clock_is_set(jump: float) -> None:
    """A window that was full when the clock was wrong does not put its account last for longer than it lasts."""
    now, skew = 1000.0, jump
    pool = AccountPool(lambda: now, lambda: 1e9 + now + skew)
    accounts = [Account(id=name, provider="p") for name in ("full", "fresh")]
    for account in accounts:
        pool.put(account)
    resets = 1e9 + now + 600  # the vendor's true time

    def see(name: str, used: float, lasts: float) -> None:
        window = QuotaWindow(name="day", used_ratio=used, resets_at=lasts, source="headers", seen_at=pool.wall())
        pool.note_quota(name, [window])

    see("full", 1.0, resets)
    see("fresh", 0.99, resets + 5 * DAY)
    pool.keep_reserve(0.05)
    rotation = build_rotation([Candidate(account, ("m",)) for account in accounts], "v", "quota-aware", pool)
    if jump <= HOUR / 6:
        assert rotation.choose() == "fresh"
    skew = 0.0
    pool.heed_clock()
    now += 601
    assert rotation.choose() == "full", "its window has begun anew, the other one has only its reserve"


async def test_a_machine_that_slept_goes_on_at_once(world: World) -> None:
    """The monotonic clock stood still or went on, eight hours are over by the wall."""
    world.scripts["a"] = [Script(429, {"Retry-After": "3600"})]
    await world.start("a", **{"save-cooldown-status": True})
    assert (await world.ask()).status == 429
    world.ahead += 8 * HOUR
    assert (await world.ask()).by == "a"
