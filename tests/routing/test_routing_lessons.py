"""What went wrong in other proxies when they chose accounts, and must not go wrong here: one failure a test."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from world import Script, World

from cpa.accounts.account import Account
from cpa.accounts.affinity import Affinity
from cpa.accounts.cooldown import PROBE_INTERVAL, Health
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.accounts.selection import Candidate, Selector
from cpa.config import Config
from cpa.errors import ErrorInfo, UpstreamError
from cpa.exchange.call import Call
from cpa.exchange.exchange import Rounds
from cpa.plugins.faults import classify


def quota(health: Health, now: float, seconds: float | None = None, began: float = float("inf")) -> None:
    health.fail("m", now, scope="model", reason="quota", seconds=seconds, message="429", began=began)


def left(world: World, key: str) -> float:
    """Seconds that an account still rests for ``m-up``."""
    assert world.daemon is not None
    pool = world.daemon.pool
    account = next(account for account in pool if account.secret == key)
    block = pool.health(account.id).cooling("m-up", pool.clock())
    return block.until - pool.clock() if block is not None else 0.0


async def test_lesson_66_a_burst_of_429_escalates_once(world: World) -> None:
    world.scripts["a"] = Script(429)
    await world.start("a")
    await asyncio.gather(*(world.ask() for _ in range(20)))
    assert left(world, "a") <= 1.0
    world.ahead += 2
    await world.ask()
    assert 1.0 < left(world, "a") <= 2.0, "the next window counts"


async def test_lesson_66_who_began_before_the_cooldown_says_nothing_new() -> None:
    health = Health()
    quota(health, 10.0, began=9.0)
    quota(health, 11.5, began=9.5)
    assert health.backoff == {"m": 1}


def test_lesson_67_waiters_do_not_all_wake_at_once_and_none_waits_longer_than_promised() -> None:
    config = Config.from_plain({"request-retry": 3, "max-retry-interval": 10})
    call = Call(format="openai", model="m", body={})

    class Out:
        def cooldowns(self) -> list[Any]:
            return []

    failure = UpstreamError(ErrorInfo(429, "later", retry_after=8.0))
    waits = []
    for step in range(11):
        rounds = Rounds(call, config, uniform=lambda step=step: step / 10)
        wait = rounds.wait_before_next(failure, Out(), AccountPool())  # type: ignore[arg-type]
        assert wait is not None
        waits.append(wait)
    assert len(set(waits)) == 11
    assert 8.0 == min(waits) < max(waits) <= 10.0


async def test_lesson_68_a_cooldown_that_outlives_its_reason_is_found_out_by_one_request(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "86400"})]
    await world.start(world.account("a", priority=1), "b")
    assert await world.served_by(2) == ["b", "b"]
    world.ahead += PROBE_INTERVAL + 1
    assert (await world.ask()).by == "a"
    assert (await world.ask()).by == "a"


@pytest.mark.parametrize("hint", [{"Retry-After": "86400"}, {"Retry-After": "5"}, {}])
async def test_lesson_68_a_probe_that_fails_costs_one_request_once_an_interval(
    world: World, hint: dict[str, str]
) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "86400"}), *[Script(429, hint)] * 20]
    await world.start(world.account("a", priority=1), "b")
    await world.ask()
    world.ahead += PROBE_INTERVAL + 1
    assert await world.served_by(5) == ["b"] * 5
    assert world.asked.count("a") == 2
    world.ahead += PROBE_INTERVAL + 1
    assert await world.served_by(5) == ["b"] * 5
    assert world.asked.count("a") == 3


async def test_lesson_68_one_request_does_not_probe_everybody(world: World) -> None:
    keys = [f"k{number}" for number in range(6)]
    for key in keys:
        world.scripts[key] = Script(429, {"Retry-After": "86400"})
    await world.start(*(world.account(key, priority=1) for key in keys), "b")
    await world.ask()
    world.ahead += PROBE_INTERVAL + 1
    before = len(world.asked)
    assert (await world.ask()).by == "b"
    assert len(world.asked) - before == 2, "one probe and the one that answers"


async def test_lesson_68_probing_can_be_switched_off(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "86400"})]
    await world.start(world.account("a", priority=1), "b", routing={"probe-interval": "0"})
    await world.ask()
    world.ahead += 80_000
    assert (await world.ask()).by == "b"


@pytest.mark.parametrize("signal", ["success", "quota", "reset"])
def test_lesson_68_a_fresher_signal_ends_it(signal: str) -> None:
    pool = AccountPool(lambda: 100.0, lambda: 1e9)
    pool.put(Account(id="a", provider="p"))
    pool.fail("a", "m", scope="model", reason="quota", seconds=1e5, message="429", began=50.0)
    assert not pool.usable("a", "m")
    match signal:
        case "success":
            pool.succeed("a", "m", 100.0)
        case "quota":
            room = QuotaWindow(name="day", used_ratio=0.1, resets_at=2e9, source="query", seen_at=1e9)
            pool.note_quota("a", [room])
        case "reset":
            pool.reset("a")
    assert pool.usable("a", "m")


async def test_lesson_69_a_moment_that_is_past_means_usable(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start("a")
    assert (await world.ask()).status == 429
    world.ahead += 59
    assert (await world.ask()).status == 429
    world.ahead += 2
    assert (await world.ask()).by == "a"


@pytest.mark.parametrize(("status", "rests"), [(401, True), (402, True), (429, False), (404, False), (500, False)])
async def test_lesson_70_the_scope_is_the_signals(world: World, status: int, rests: bool) -> None:
    """A refused credential holds for every model, a limit or a fault of one model for that one."""
    models = [{"name": "m-up", "alias": "m"}, {"name": "n-up", "alias": "n"}]
    world.scripts["a"] = [Script(status)]
    await world.start(world.account("a", models=models))
    await world.ask()
    answer = await world.ask(model="n")
    assert (answer.status != 200) == rests


@pytest.mark.parametrize(
    "mistake",
    [
        Script(400, message="temperature", kind="invalid_request_error"),
        Script(400, message="no idea"),
        Script(413, message="too large"),
        Script(422, message="what is that"),
        Script(404, message="Item with id 'x' not found. Items are not persisted when `store` is set to false."),
    ],
    ids=lambda script: f"{script.status} {script.message[:8]}",
)
async def test_lesson_71_a_clients_mistake_cools_nobody(world: World, mistake: Script) -> None:
    world.scripts["a"] = [mistake] * 3
    await world.start("a")
    for _ in range(3):
        assert (await world.ask()).status == mistake.status
    assert left(world, "a") == 0.0
    assert (await world.ask()).by == "a"


@pytest.mark.parametrize("stream", [False, True])
async def test_lesson_71_a_client_that_leaves_cools_nobody(world: World, stream: bool) -> None:
    world.upstream.hold.clear()
    await world.start("a")
    assert world.daemon is not None
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    url = f"http://{world.daemon.addresses[0]}/v1/chat/completions"
    if not stream:
        world.upstream.delay = 5.0
    for _ in range(3):
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            async with asyncio.timeout(0.2), world.session.post(url, json=body) as answer:
                await answer.read()
    world.upstream.delay = 0.0
    world.upstream.hold.set()
    account = next(iter(account for account in world.daemon.pool if account.secret == "a"))
    health = world.daemon.pool.health(account.id)
    assert (health.failed, health.models, health.account) == (0, {}, None)
    assert (await world.ask()).by == "a"


async def test_lesson_72_a_model_the_key_does_not_have_is_asked_elsewhere(world: World) -> None:
    world.scripts["a"] = Script(400, message="The requested model is not supported")
    await world.start(world.account("a", priority=1), "b")
    assert (await world.ask()).by == "b"
    assert left(world, "a") == pytest.approx(12 * 3600, abs=5)


async def test_lesson_72_a_bad_request_is_not_tried_on_everybody(world: World) -> None:
    keys = [f"k{number}" for number in range(5)]
    for key in keys:
        world.scripts[key] = Script(400, message="no idea what you mean")
    await world.start(*keys)
    assert (await world.ask()).status == 400
    assert len(world.asked) == 2, "a second account has the last word"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"cf-mitigated": "challenge"}, b"<html>Just a moment</html>"),
        ({}, b'<html><script src="/cdn-cgi/challenge-platform/x"></script></html>'),
        ({}, b"<!DOCTYPE html><HTML><title>Attention Required! | Cloudflare</title></HTML>"),
    ],
)
def test_lesson_73_a_challenge_page_is_no_dead_login(headers: dict[str, str], body: bytes) -> None:
    failure = classify(403, headers, body, ErrorInfo(403, "challenge"))
    assert (failure.reason, failure.retryable) == ("challenge", True)
    assert failure.cooldown is not None
    assert 10.0 <= failure.cooldown <= 60.0


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        (401, "rate limit exceeded, too many requests", "unauthorized"),
        (429, "unauthorized: invalid api key", "quota"),
        (503, "insufficient_quota", "transient"),
    ],
)
def test_lesson_74_the_status_counts_before_the_words(status: int, words: str, reason: str) -> None:
    assert classify(status, {}, words.encode(), ErrorInfo(status, words)).reason == reason


async def test_lesson_75_a_long_retry_after_is_no_reason_to_sleep(world: World) -> None:
    for key in ("a", "b"):
        world.scripts[key] = Script(429, {"Retry-After": "7200"})
    await world.start("a", "b", **{"request-retry": 3, "max-retry-interval": 30})
    started = time.monotonic()
    answer = await world.ask()
    assert time.monotonic() - started < 5
    assert sorted(world.asked) == ["a", "b"], "fail over now"
    assert (answer.status, int(answer.headers["Retry-After"]) > 7000) == (429, True)


def test_lesson_76_turns_go_on_when_the_list_is_built_anew() -> None:
    pool = AccountPool()
    accounts = [Account(id=name, provider="p") for name in "abcd"]
    for account in accounts:
        pool.put(account)
    selector = Selector(pool)
    chosen = []
    for _ in range(8):  # every choice sees a new list
        candidates = [Candidate(account, ("m",)) for account in accounts]
        chosen.append(selector.rotation("m", object(), "round-robin", lambda found=candidates: found).choose())
    assert chosen == list("abcdabcd")


async def test_lesson_77_a_session_leaves_a_broken_account_and_stays_with_the_next(world: World) -> None:
    await world.start("a", "b", routing={"session-affinity": True})
    session = {"X-Session-ID": "s"}
    first = (await world.ask(headers=session)).by
    world.scripts[first] = [Script(500)]
    other = (await world.ask(headers=session)).by
    assert other != first
    world.ahead += 61
    assert await world.served_by(4, headers=session) == [other] * 4
    assert world.daemon is not None
    bound = next(account.id for account in world.daemon.pool if account.secret == other)
    world.daemon.pool.fail(bound, "m-up", scope="model", reason="quota", seconds=60, message="by somebody else")
    asked = len(world.asked)
    assert await world.served_by(2, headers=session) == [first] * 2
    assert world.asked[asked:] == [first] * 2


def test_lesson_77_an_old_failure_does_not_end_a_newer_binding() -> None:
    affinity = Affinity(lambda: 0.0)
    affinity.bind("s", "m", "new", 60)
    affinity.release("s", "m", "old")
    assert affinity.get("s", "m") == "new"


async def test_lesson_77_suffixes_of_a_model_are_one_session(world: World) -> None:
    await world.start("a", "b", "c", routing={"session-affinity": True})
    session = {"X-Session-ID": "s"}
    names = {(await world.ask(model=model, headers=session)).by for model in ("m(high)", "m", "m(low)", "m(1024)")}
    assert len(names) == 1


@pytest.mark.parametrize("header", ["X-Session-ID", "Session_id", "Session-Id", "X-Client-Request-Id", "x-session-id"])
@pytest.mark.parametrize("kind", ["openai", "openai-response", "claude", "gemini"])
async def test_lesson_78_a_session_header_reaches_the_choice_on_every_route(
    world: World, header: str, kind: str
) -> None:
    await world.start("a", "b", "c", routing={"session-affinity": True})
    served = [(await world.ask(kind, text=f"{number}", headers={header: "s"})).by for number in range(4)]
    assert len(set(served)) == 1, served
    assert served[0] in ("a", "b", "c")


async def test_lesson_79_nothing_of_a_replaced_choice_goes_on(world: World) -> None:
    """What changes of strategy, affinity and its time leave behind: no task, no binding."""
    await world.start("a", "b", routing={"session-affinity": True})
    assert world.daemon is not None
    session = {"X-Session-ID": "s"}
    await world.served_by(2, headers=session)
    before = len(asyncio.all_tasks())
    path = world.daemon.store.path
    text = path.read_text()
    for number in range(10):
        path.write_text(text + f"\n# {number}\n" + ("" if number % 2 else "request-retry: 1\n"))
        world.daemon.store.reload()
    path.write_text(text.replace("session-affinity: true", "session-affinity: true\n  session-affinity-ttl: 5m"))
    assert world.daemon.store.reload()
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= before
    assert world.daemon._exchange is not None
    assert len(world.daemon._exchange._router.affinity) == 0
    await world.served_by(2, headers=session)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
async def test_lesson_80_an_upstream_that_answers_with_5xx_is_not_healthy(world: World, status: int) -> None:
    world.scripts["a"] = Script(status)
    await world.start(world.account("a", priority=1), "b")
    assert await world.served_by(3) == ["b", "b", "b"]
    assert world.asked.count("a") == 1


@pytest.mark.parametrize("late", [429, 503])
async def test_lesson_81_an_error_late_in_a_stream_cools_the_account(world: World, late: int) -> None:
    world.scripts["a"] = [Script(late=late, message="overloaded")]
    await world.start(world.account("a", priority=1), "b")
    answer = await world.ask(stream=True)
    assert b"overloaded" in answer.body
    assert left(world, "a") > 0
    assert (await world.ask(stream=True)).by == "b"


@pytest.mark.parametrize("script", [Script(cut=True), Script(late=503)], ids=["cut", "error"])
async def test_lesson_82_nothing_is_repeated_once_the_client_has_seen_a_word(world: World, script: Script) -> None:
    world.scripts["a"] = script
    await world.start(world.account("a", priority=1), "b", streaming={"bootstrap-retries": 3}, **{"request-retry": 3})
    answer = await world.ask(stream=True)
    assert world.asked == ["a"]
    assert answer.body.count(b"by a") == 1
    assert b"by b" not in answer.body
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
