"""What a failure of one account means for the request, for the account and for the lists of models."""

from __future__ import annotations

import asyncio
import time

import pytest
from world import Script, World

HINT = {"Retry-After": "90"}
TABLE = [
    (Script(400, kind="invalid_request_error"), 400, 0),
    (Script(400, message="FAILED_PRECONDITION"), 400, 0),
    (Script(400, message="hm"), 200, 0),
    (Script(400, message="model is not supported"), 200, 12 * 3600),
    (Script(422, message="not available for your plan"), 200, 12 * 3600),
    (Script(422), 422, 0),
    (Script(401), 200, 1800),
    (Script(402), 200, 1800),
    (Script(403), 200, 1800),
    (Script(404), 200, 12 * 3600),
    (Script(404, message="Item with id 'a' not found: not persisted when `store` is false"), 404, 0),
    (Script(408), 200, 60),
    (Script(429), 200, 1),
    (Script(429, HINT), 200, 90),
    (Script(429, {"retry-after-ms": "1500"}), 200, 1.5),
    (Script(500), 200, 60),
    (Script(500, text='{"error":{"code":500,"message":"?","status": "UNKNOWN"}}'), 500, 0),
    (Script(501), 200, 0),
    (Script(503), 200, 60),
    (Script(503, HINT), 200, 90),
    (Script(524), 200, 60),
    (Script(418), 200, 0),
]


def rest(world: World, key: str) -> float:
    """Seconds that an account still rests for ``m-up``."""
    assert world.daemon is not None
    pool = world.daemon.pool
    account = next(account for account in pool if account.secret == key)
    block = pool.health(account.id).cooling("m-up", pool.clock())
    return block.until - pool.clock() if block is not None else 0.0


@pytest.mark.parametrize(("script", "status", "seconds"), TABLE, ids=lambda value: str(getattr(value, "status", value)))
@pytest.mark.parametrize("stream", [False, True])
async def test_the_table_of_failures(world: World, script: Script, status: int, seconds: float, stream: bool) -> None:
    world.scripts["a"] = script
    await world.start(world.account("a", priority=1), "b")
    answer = await world.ask(stream=stream)
    assert answer.status == status
    assert rest(world, "a") == pytest.approx(seconds, abs=0.9)
    assert world.asked == (["a", "b"] if status == 200 else ["a"])


async def test_lists_hide_what_was_refused_and_show_what_waits(world: World) -> None:
    await world.start(world.account("a", models=[{"name": f"{name}-up", "alias": name} for name in "mn"]))
    assert world.daemon is not None
    daemon = world.daemon

    def shown() -> list[str]:
        return [model.id for model in daemon.catalog.list_models() if model.id in ("m", "n")]

    world.scripts["a:m-up"] = Script(404)
    world.scripts["a:n-up"] = Script(429, HINT)
    assert shown() == ["m", "n"]
    for model in "mn":
        await world.ask(model=model)
    assert shown() == ["n"]
    world.ahead += 12 * 3600 + 1
    assert shown() == ["m", "n"]


async def test_backing_off_doubles_to_half_an_hour_and_success_begins_anew(world: World) -> None:
    await world.start("a")
    waits = []
    for _ in range(13):
        world.scripts["a"] = [Script(429)]
        await world.ask()
        waits.append(round(rest(world, "a")))
        world.ahead += waits[-1] + 0.01
    assert waits == [*(2**n for n in range(11)), 1800, 1800]
    assert (await world.ask()).status == 200
    world.scripts["a"] = [Script(429)]
    await world.ask()
    assert rest(world, "a") <= 1


@pytest.mark.parametrize(
    "settings", [{"disable-cooling": True}, {"own": {"disable-cooling": True}}], ids=["everybody", "one"]
)
async def test_cooling_can_be_switched_off(world: World, settings: dict[str, object]) -> None:
    world.scripts["a"] = Script(429, HINT)
    own = settings.pop("own", {})
    await world.start(world.account("a", priority=1, **own), "b", **settings)  # type: ignore[arg-type]
    assert await world.served_by(3) == ["b"] * 3
    assert world.asked.count("a") == 3
    world.scripts["a"] = Script(400, message="model is not supported")
    await world.served_by(2)
    assert world.asked.count("a") == 4, "a model it does not have stays one"


@pytest.mark.parametrize(("setting", "seconds"), [(0, 60), (5, 5), (-1, 0)])
async def test_passing_failures_cool_for_as_long_as_is_set(world: World, setting: int, seconds: int) -> None:
    world.scripts["a"] = Script(502)
    await world.start(world.account("a", priority=1), "b", **{"transient-error-cooldown-seconds": setting})
    assert (await world.ask()).by == "b"
    assert rest(world, "a") == pytest.approx(seconds, abs=0.9)


@pytest.mark.parametrize(
    ("rule", "status", "seconds"),
    [
        ({"status": 500, "action": "stop"}, 500, 0),
        ({"status": 500, "match": ["odd"], "action": "stop-and-cooldown"}, 500, 60),
        ({"status": 500, "match-regexr": ["o.d$", "^very"], "action": "continue"}, 200, 0),
        ({"match": ["very odd"], "action": "continue-and-cooldown"}, 200, 60),
        ({"status": 500, "match": ["even"], "action": "stop"}, 200, 60),
        ({"status": 400, "action": "stop"}, 200, 60),
    ],
)
async def test_rules_for_errors_judge_otherwise(
    world: World, rule: dict[str, object], status: int, seconds: float
) -> None:
    world.scripts["a"] = Script(500, message="very odd")
    await world.start(world.account("a", priority=1, **{"request-scoped-errors": [rule]}), "b")
    assert (await world.ask()).status == status
    assert rest(world, "a") == pytest.approx(seconds, abs=0.9)


async def test_an_upstreams_own_words_reach_the_client(world: World) -> None:
    await world.start("a")
    world.scripts["a"] = [Script(418, message="short and stout"), Script(418, text="I am a teapot")]
    told = await world.ask()
    assert told.json == {"error": {"message": "short and stout", "type": "scripted", "code": "scripted"}}
    plain = await world.ask()
    assert plain.status == 418
    assert plain.json["error"]["message"] == "I am a teapot"
    assert plain.json["error"]["type"] == "invalid_request_error"


# -- rounds --------------------------------------------------------------------------------------------------------


async def test_no_more_accounts_are_tried_than_is_set(world: World) -> None:
    for key in "abcde":
        world.scripts[key] = Script(500)
    await world.start(*"abcde", **{"max-retry-credentials": 2})
    assert (await world.ask()).status == 500
    assert len(world.asked) == 2


@pytest.mark.parametrize(
    ("hint", "interval", "retries", "calls"),
    [("0.05", 5, 2, 3), ("60", 5, 2, 1), ("0.05", 0, 2, 1), ("0.05", 5, 0, 1)],
)
async def test_another_round_begins_when_the_wait_is_short(
    world: World, hint: str, interval: int, retries: int, calls: int
) -> None:
    world.scripts["a"] = Script(429, {"Retry-After": hint})
    await world.start("a", **{"request-retry": retries, "max-retry-interval": interval})
    assert (await world.ask()).status == 429
    assert len(world.asked) == calls


async def test_an_account_may_ask_for_more_rounds_than_the_others(world: World) -> None:
    for key in "ab":
        world.scripts[key] = Script(429, {"Retry-After": "0.05"})
    await world.start(
        world.account("a", **{"request-retry": 0}),
        world.account("b", **{"request-retry": 2}),
        **{"max-retry-interval": 5},
    )
    assert (await world.ask()).status == 429
    assert world.asked.count("b") == 3


async def test_a_client_that_leaves_ends_the_wait_for_another_round(world: World) -> None:
    world.scripts["a"] = Script(429, {"Retry-After": "1"})
    await world.start("a", **{"request-retry": 3, "max-retry-interval": 5})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await world.ask()
    await asyncio.sleep(1.2)
    assert len(world.asked) == 1


# -- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script", [Script(text=""), Script(text=": ping\n\n"), Script(429)], ids=["empty", "ping", "429"]
)
async def test_a_stream_that_shows_nothing_is_tried_elsewhere(world: World, script: Script) -> None:
    world.scripts["a"] = script
    await world.start(world.account("a", priority=1), "b")
    answer = await world.ask(stream=True)
    assert (answer.status, answer.by, world.asked) == (200, "b", ["a", "b"])


async def test_a_stream_counts_as_a_success_at_its_end_only(world: World) -> None:
    world.upstream.hold.clear()
    await world.start("a")
    running = asyncio.create_task(world.ask(stream=True))
    while not world.asked:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert world.daemon is not None
    [health] = [world.daemon.pool.health(account.id) for account in world.daemon.pool if account.secret == "a"]
    assert health.succeeded == 0
    world.upstream.hold.set()
    await running
    assert (health.succeeded, health.failed) == (1, 0)


@pytest.mark.parametrize(("retries", "status", "calls"), [(0, 503, 1), (1, 200, 2)])
async def test_a_stream_that_fails_before_its_first_byte_is_begun_again(
    world: World, retries: int, status: int, calls: int
) -> None:
    world.scripts["a"] = [Script(503, message="not now")]
    await world.start("a", streaming={"bootstrap-retries": retries}, **{"transient-error-cooldown-seconds": -1})
    answer = await world.ask(stream=True)
    assert (answer.status, len(world.asked)) == (status, calls)
    if status != 200:
        assert answer.json["error"]["message"] == "not now"


async def test_an_account_that_cannot_be_reached_rests_for_a_moment(world: World) -> None:
    dead = world.account("a", priority=1)
    dead["base-url"] = "http://127.0.0.1:9/v1"
    await world.start(dead, "b")
    started = time.monotonic()
    assert await world.served_by(3) == ["b"] * 3
    assert time.monotonic() - started < 5
    assert 3 < rest(world, "a") <= 5


# -- model routes --------------------------------------------------------------------------------------------------


def routed(world: World) -> list[dict[str, object]]:
    return [world.account(key, models=[{"name": f"{key}-up", "alias": key}]) for key in ("one", "two")]


ROUTE = {"alias": "Smart", "models": ["one", "two(high)"]}


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 429, 500, 503])
async def test_a_route_goes_on_with_its_next_model(world: World, status: int) -> None:
    world.scripts["one"] = Script(status)
    await world.start(*routed(world), **{"model-routes": [ROUTE]})
    for stream in (False, True):
        answer = await world.ask(model="smart", stream=stream)
        assert answer.by == "two"
        assert b'"model":"smart"' in answer.body.replace(b": ", b":")
        assert world.upstream.bodies[-1]["reasoning_effort"] == "high"
    assert world.asked == ["one", "two", "two"], "it rests"


@pytest.mark.parametrize("status", [400, 422])
async def test_a_route_stops_where_the_request_is_wrong(world: World, status: int) -> None:
    world.scripts["one"] = Script(status, kind="invalid_request_error")
    await world.start(*routed(world), **{"model-routes": [ROUTE]})
    assert (await world.ask(model="Smart")).status == status
    assert world.asked == ["one"]


async def test_a_route_rests_as_long_as_it_is_told_and_says_until_when(world: World) -> None:
    for key, seconds in (("one", "300"), ("two", "200")):
        world.scripts[key] = Script(429, {"Retry-After": seconds})
    await world.start(*routed(world), **{"model-routes": [{**ROUTE, "cooldown-seconds": 30}]})
    failed = await world.ask(model="smart")
    assert (failed.status, failed.json["error"]["code"]) == (503, "model_route_unavailable")
    assert failed.json["error"]["alias"] == "Smart"
    resting = await world.ask(model="smart")
    assert (resting.status, resting.json["error"]["code"]) == (429, "model_route_cooldown")
    assert 195 <= int(resting.headers["Retry-After"]) <= 200
    assert len(world.asked) == 2


async def test_a_route_is_listed_once(world: World) -> None:
    await world.start(*routed(world), **{"model-routes": [ROUTE]})
    assert world.daemon is not None
    async with world.session.get(f"http://{world.daemon.addresses[0]}/v1/models") as answer:
        listed = [model for model in (await answer.json())["data"] if model["id"] == "Smart"]
    assert [model["owned_by"] for model in listed] == ["cli-proxy-api"]
