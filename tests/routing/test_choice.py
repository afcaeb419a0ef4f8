"""Which account serves a request, in a running daemon."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from world import Script, World

from cpa.errors import ApiError
from cpa.exchange.call import Call


def named(key: str, *models: str, **more: Any) -> dict[str, Any]:
    """Entry options for an account that offers these models."""
    return {"models": [{"name": f"{model}-up", "alias": model} for model in models], **more}


async def test_turns_are_taken_by_model_and_suffixes_share_them(world: World) -> None:
    await world.start(*(world.account(key, **named(key, "m", "n")) for key in "abc"))
    first = await world.served_by(2)
    assert (await world.ask(model="n")).by == first[0], "another model begins anew"
    assert [(await world.ask(model=model)).by for model in ("m(high)", "m(low)", "m")] == [
        ({*"abc"} - {*first}).pop(),
        *first,
    ]


@pytest.mark.parametrize("strategy", ["weighted-round-robin", "WRR", "heaviest"])
async def test_weights_share_the_load(world: World, strategy: str) -> None:
    accounts = [world.account("a", weight=3), world.account("b", weight=1), world.account("c", weight=0)]
    await world.start(*accounts, routing={"strategy": strategy})
    served = Counter(await world.served_by(8))
    if strategy != "heaviest":
        assert served == {"a": 6, "b": 2}
    else:
        assert set(served) == {"a", "b", "c"}, "an unknown strategy is round-robin"


async def test_the_best_priority_of_all_providers_counts(world: World) -> None:
    await world.start(world.account("a", priority=5), world.account("b", priority=-1), "c")
    assert await world.served_by(3) == ["a"] * 3
    world.scripts["a"] = Script(429, {"Retry-After": "60"})
    assert await world.served_by(3) == ["c"] * 3
    world.scripts["c"] = Script(500)
    assert (await world.ask()).by == "b"


async def test_an_account_serves_no_more_than_its_limit_and_others_wait_their_turn(world: World) -> None:
    world.upstream.hold.clear()
    await world.start(world.account("a", concurrency=1), "b", routing={"account-concurrency": 2})
    running = [asyncio.create_task(world.ask(stream=True)) for _ in range(5)]
    while len(world.asked) < 3:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    assert Counter(world.asked) == {"a": 1, "b": 2}
    world.upstream.hold.set()
    answers = await asyncio.gather(*running)
    assert {answer.status for answer in answers} == {200}
    assert len(world.asked) == 5


async def test_who_waits_too_long_for_a_busy_account_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.exchange.candidates.LONGEST_BUSY_WAIT", 0.05)
    world.upstream.hold.clear()
    await world.start(world.account("a", concurrency=1))
    running = asyncio.create_task(world.ask(stream=True))
    while not world.asked:
        await asyncio.sleep(0.005)
    answer = await world.ask()
    assert (answer.status, answer.json["error"]["code"]) == (429, "accounts_busy")
    assert answer.headers["Retry-After"] == "1"
    world.upstream.hold.set()
    assert (await running).status == 200


async def test_a_client_that_leaves_gives_its_place_back(world: World) -> None:
    world.upstream.hold.clear()
    await world.start(world.account("a", concurrency=1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await world.ask(stream=True)
    world.upstream.hold.set()
    assert (await world.ask()).by == "a"


# -- conversations -----------------------------------------------------------------------------------------------


async def test_a_conversation_sticks_as_long_as_caches_live(world: World) -> None:
    await world.start("a", "b", "c", routing={"conversation-stickiness": "5m"})
    first = (await world.ask(text="about cats")).by
    assert (await world.ask(text="about dogs")).by != first
    assert await world.served_by(3, text="about cats") == [first] * 3
    world.ahead += 299
    assert (await world.ask(text="about cats")).by == first
    world.ahead += 299
    assert (await world.ask(text="about cats")).by == first, "every answer begins the time anew"
    world.ahead += 301
    assert {*await world.served_by(3, text="about cats")} != {first} or len({*world.asked}) == 3


async def test_a_conversation_that_sticks_leaves_for_a_better_priority_and_affinity_does_not(world: World) -> None:
    for routing, stays in (({"conversation-stickiness": "1h"}, False), ({"session-affinity": True}, True)):
        world.scripts["good"] = [Script(500)]
        await world.start(world.account("good", priority=1), "spare", routing=routing)
        assert (await world.ask(text="cats")).by == "spare"
        world.ahead += 61
        assert ((await world.ask(text="cats")).by == "spare") == stays
        await world.stop()


async def test_another_time_of_affinity_forgets_who_served_whom(world: World) -> None:
    await world.start("a", "b", routing={"session-affinity": True})
    session = {"X-Session-ID": "s"}
    first = (await world.ask(headers=session)).by
    assert world.daemon is not None
    path = world.daemon.store.path
    path.write_text(
        path.read_text().replace("session-affinity: true", "session-affinity: true\n  session-affinity-ttl: 9m")
    )
    assert world.daemon.store.reload()
    assert (await world.ask(headers=session)).by != first


async def test_an_idempotency_key_is_no_session(world: World) -> None:
    await world.start("a", "b", routing={"session-affinity": True})
    served = [(await world.ask(text=f"{n}", headers={"Idempotency-Key": "k"})).by for n in range(4)]
    assert len({*served}) == 2


# -- names -------------------------------------------------------------------------------------------------------


async def test_a_prefix_is_for_one_account_and_not_for_the_upstream(world: World) -> None:
    slash = {"models": [{"name": "m-up", "alias": "m"}, {"name": "org/x", "alias": "org/x"}]}
    await world.start(world.account("a", prefix="team", **slash), "b")
    assert await world.served_by(3, model="team/m") == ["a"] * 3
    assert {*await world.served_by(2)} == {"a", "b"}
    assert {body["model"] for body in world.upstream.bodies} == {"m-up"}
    assert (await world.ask(model="org/x")).by == "a"
    assert world.upstream.bodies[-1]["model"] == "org/x"
    assert (await world.ask(model="nobody/m")).status == 404


async def test_a_forced_prefix_hides_the_plain_name(world: World) -> None:
    await world.start(world.account("a", prefix="team"), "b", **{"force-model-prefix": True})
    assert await world.served_by(2) == ["b"] * 2
    assert (await world.ask(model="team/m")).by == "a"


async def test_names_are_understood_in_any_case_and_answers_say_what_was_asked(world: World) -> None:
    await world.start("a")
    answer = await world.ask(model="M(high)")
    assert (answer.status, answer.json["model"]) == (200, "M(high)")
    assert world.upstream.bodies[-1]["model"] == "m-up"


async def test_the_upstreams_own_suffix_wins(world: World) -> None:
    models = [
        {"name": "r-up(high)", "alias": "fixed"},
        {"name": "r-up", "alias": "free"},
        {"name": "other", "alias": "Free"},
    ]
    await world.start(world.account("a", models=models))
    efforts = []
    for model in ("fixed(low)", "free(low)", "free"):
        assert (await world.ask(model=model)).status == 200
        efforts.append((world.upstream.bodies[-1]["model"], world.upstream.bodies[-1].get("reasoning_effort")))
    assert efforts == [("r-up", "high"), ("r-up", "low"), ("r-up", None)]


async def test_a_pinned_account_is_the_only_one(world: World) -> None:
    await world.start("a", "b", world.account("c", disabled=True))
    assert world.daemon is not None
    daemon = world.daemon
    assert daemon._exchange is not None
    ids = {account.secret: account.id for account in daemon.pool}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

    async def pinned(account_id: str) -> int:
        assert daemon._exchange is not None
        call = Call(format="openai", model="m", body=dict(body), account_id=account_id)
        try:
            return (await daemon._exchange.run(call, daemon.store.current)).status
        except ApiError as failure:
            return failure.error.status

    assert [await pinned(ids["b"]) for _ in range(3)] == [200] * 3
    assert world.asked == ["b"] * 3
    assert await pinned("no such account") == 503
    world.scripts["b"] = Script(429, {"Retry-After": "60"})
    assert [await pinned(ids["b"]) for _ in range(2)] == [429] * 2
    assert {*world.asked} == {"b"}
    assert len(world.asked) == 4, "it cools down"


# -- pools of models behind one name --------------------------------------------------------------------------------

POOL = [{"name": name, "alias": "fast"} for name in ("one", "two", "three")]


async def tried(world: World, **options: Any) -> list[str]:
    """The upstream models that one request was sent to."""
    before = len(world.upstream.bodies)
    await world.ask(model="fast", **options)
    return [body["model"] for body in world.upstream.bodies[before:]]


async def test_a_pool_rotates_and_falls_through(world: World) -> None:
    await world.start(world.account("a", models=POOL), **{"disable-cooling": True})
    assert [await tried(world) for _ in range(4)] == [["one"], ["two"], ["three"], ["one"]]
    world.scripts |= {"a:two": Script(500), "a:three": Script(500)}
    assert await tried(world) == ["two", "three", "one"]


async def test_a_pool_stops_where_the_request_is_wrong_and_leaves_out_who_cools_down(world: World) -> None:
    await world.start(world.account("a", models=POOL))
    world.scripts["a:one"] = Script(400, kind="invalid_request_error")
    assert await tried(world) == ["one"]
    world.scripts["a:two"] = Script(429, {"Retry-After": "60"})
    assert await tried(world) == ["two", "three"]
    assert await tried(world) == ["three"]
    assert await tried(world) == ["one"]


async def test_a_stream_without_content_moves_on_within_a_pool(world: World) -> None:
    await world.start(world.account("a", models=POOL))
    world.scripts["a:one"] = Script(text="")
    assert await tried(world, stream=True) == ["one", "two"]


async def test_an_account_whose_pool_is_all_blocked_does_not_count_as_tried(world: World) -> None:
    accounts = [world.account(key, models=POOL, priority=priority) for priority, key in enumerate("cba")]
    await world.start(*accounts, **{"max-retry-credentials": 1})
    for name in ("one", "two", "three"):
        world.scripts[f"a:{name}"] = Script(429, {"Retry-After": "60"})
    assert len(await tried(world)) == 3
    assert (await world.ask(model="fast")).by == "b"


async def test_daemons_in_one_process_share_nothing(world: World, tmp_path: Any) -> None:
    (tmp_path / "other").mkdir()
    other = World(world.upstream, world.url, tmp_path / "other", world.session)
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start("a")
    await other.start("a")
    assert [(await each.ask()).status for each in (world, other, world)] == [429, 200, 429]
    await other.stop()


async def test_another_alias_of_a_model_is_another_offer_at_once(world: World) -> None:
    await world.start("a", "b")
    assert world.daemon is not None
    path = world.daemon.store.path
    path.write_text(path.read_text().replace("alias: m", "alias: other", 1))
    assert world.daemon.store.reload()
    assert await world.served_by(2) == ["b", "b"]
    assert await world.served_by(2, model="other") == ["a", "a"]


async def test_keys_of_the_configuration_are_never_written_to_the_auth_directory(world: World) -> None:
    world.scripts["a"] = [Script(429), Script(500), Script(401)]
    await world.start(world.account("a", **{"disable-cooling": True}), "b")
    await world.served_by(6)
    await world.stop()
    assert [path.name for path in (world.folder / "auth").iterdir() if path.suffix == ".json"] == []
