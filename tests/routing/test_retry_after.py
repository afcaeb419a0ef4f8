"""When all accounts are out every client learns the soonest moment to come back, in its own words."""

from __future__ import annotations

import pytest
from world import ROUTES, Script, World

formats = pytest.mark.parametrize("kind", ROUTES)


@formats
@pytest.mark.parametrize("stream", [False, True])
async def test_the_soonest_of_all_is_told(world: World, kind: str, stream: bool) -> None:
    for key, seconds in (("a", 600), ("b", 90)):
        world.scripts[key] = Script(429, {"Retry-After": str(seconds)}, "used up")
    await world.start("a", "b")
    first = await world.ask(kind, stream=stream)
    assert first.status == 429
    assert 0 < int(first.headers["Retry-After"]) <= 600
    asked = len(world.asked)
    again = await world.ask(kind, stream=stream)
    assert (again.status, len(world.asked)) == (429, asked), "nobody is asked meanwhile"
    assert 85 <= int(again.headers["Retry-After"]) <= 90
    assert again.headers["Content-Type"].startswith("application/json")
    error = again.json["error"]
    assert "cooling down" in error["message"]
    told = {"claude": ("type", "rate_limit_error"), "gemini": ("status", "RESOURCE_EXHAUSTED")}
    name, value = told.get(kind, ("code", "model_cooldown"))
    assert error[name] == value


@formats
async def test_several_reasons_are_named(world: World, kind: str) -> None:
    world.scripts["a"] = Script(401, message="bad key")
    world.scripts["b"] = Script(429, {"Retry-After": "90"}, "used up")
    await world.start("a", "b")
    await world.ask(kind)
    answer = await world.ask(kind)
    assert answer.status == 503
    assert "quota" in answer.json["error"]["message"]
    assert "unauthorized" in answer.json["error"]["message"]
    assert 85 <= int(answer.headers["Retry-After"]) <= 90


async def test_one_provider_is_named_and_the_time_is_in_words(world: World) -> None:
    world.scripts["a"] = Script(429, {"Retry-After": "89.2"}, "used up")
    await world.start("a")
    await world.ask()
    error = (await world.ask()).json["error"]
    assert error["provider"] in ("a", "openai-compatible-a")
    assert error["reset_time"] in ("1m29s", "1m30s")
    assert error["reset_seconds"] in (89, 90)
    assert error["model"] == "m"
