"""What follows a Google login before it serves: projects, onboarding, an enabled service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cpa.errors import LoginError
from cpa_gemini_cli import GeminiCliProvider
from tests.exchange.logging_in import Browser, LoggingIn

GOOGLE = "gemini-cli"
TWO = [{"projectId": "p1", "name": "One"}, {"projectId": "p2", "name": "Two"}]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LoggingIn]:
    world = LoggingIn(tmp_path / "auth")
    await world.start()
    yield world
    await world.close()


def onboarded(world: LoggingIn) -> list[dict[str, Any]]:
    """Bodies sent to ``onboardUser``, without the metadata."""
    bodies = [body for _, path, body in world.provider.asked if path.endswith(":onboardUser")]
    assert all(body["metadata"]["pluginType"] == "GEMINI" for body in bodies)
    return [{name: value for name, value in body.items() if name != "metadata"} for body in bodies]


async def test_the_file_holds_what_gemini_cli_files_hold(world: LoggingIn) -> None:
    stored = await world.login(GOOGLE, project="p1")
    data = stored.file.data
    assert stored.file.name == "gemini-a@b.c-p1.json"
    assert sorted(data) == sorted(["type", "token", "project_id", "email", "auto", "checked", "disabled"])
    assert sorted(data["token"]) == sorted(
        [
            *("access_token", "refresh_token", "token_type", "expiry", "token_uri"),
            *("client_id", "client_secret", "scopes", "universe_domain"),
        ]
    )
    assert (data["type"], data["project_id"], data["auto"], data["checked"]) == ("gemini", "p1", False, True)


async def test_one_of_several_projects_is_chosen(world: LoggingIn) -> None:
    world.provider.projects = TWO
    browser = Browser()
    browser.answers = ["project", "p2"]
    stored = await world.login(GOOGLE, browser)
    assert browser.asked[0][1] == ["project", "GOOGLE_ONE"]
    assert browser.asked[1][1] == ["p1", "p2", "ALL"]
    assert stored.file.name == "gemini-a@b.c-p2.json"
    again = await world.login(GOOGLE)
    assert (again.file.name, again.created) == ("gemini-a@b.c-p1.json", True), "each project has a login of its own"
    with pytest.raises(LoginError, match="no project 'p3'; you have p1, p2"):
        await world.login(GOOGLE, project="p3")


@pytest.mark.parametrize("project", ["found-9", {"id": "found-9"}])
async def test_google_one_takes_the_project_google_has(world: LoggingIn, project: Any) -> None:
    world.provider.code_assist = {"cloudaicompanionProject": project}
    stored = await world.login(GOOGLE, project="google_one")
    assert stored.file.data["project_id"] == "found-9"
    assert onboarded(world) == [{"tierId": "legacy-tier", "cloudaicompanionProject": "found-9"}]


async def test_a_project_that_is_made_during_onboarding_is_waited_for(world: LoggingIn) -> None:
    world.provider.code_assist = {"allowedTiers": [{"id": "x"}, {"id": "free-tier", "isDefault": True}]}
    made = {"done": True, "response": {"cloudaicompanionProject": {"id": "made-1"}}}
    world.provider.onboarding = [(200, {"done": False}), (200, {}), (200, made), (200, made)]
    stored = await world.login(GOOGLE, project="GOOGLE_ONE")
    assert stored.file.data["project_id"] == "made-1"
    assert stored.file.data["tier_id"] == "free-tier"
    assert world.slept == [2.0, 2.0]
    assert onboarded(world) == [{"tierId": "free-tier"}] * 4, "the free tier is sent no project"


@pytest.mark.parametrize(
    ("told", "plan"),
    [
        ({"currentTier": {"id": "standard-tier"}}, "standard"),
        ({"currentTier": {"id": "standard-tier"}, "paidTier": {"id": "g1-pro-tier"}}, "g1-pro"),
        ({"currentTier": "free-tier"}, None),
        ({}, None),
    ],
)
async def test_the_plan_is_what_google_says_at_the_login(
    world: LoggingIn, told: dict[str, Any], plan: str | None
) -> None:
    world.provider.code_assist = told
    stored = await world.login(GOOGLE, project="p1")
    accounts = GeminiCliProvider().accounts_from_file("p.json", stored.file.data)
    assert [account.settings.get("plan_type") for account in accounts or ()] == [plan]


async def test_an_operation_with_a_name_is_asked_for(world: LoggingIn) -> None:
    done = {"done": True, "response": {"cloudaicompanionProject": "backend-1"}}
    world.provider.onboarding = [(200, {"name": "operations/7"}), (200, {"done": False}), (200, done)]
    stored = await world.login(GOOGLE, project="p1")
    assert stored.file.data["project_id"] == "backend-1", "the project that pays is the one Google names"
    asked = [(method, path) for method, path, _ in world.provider.asked if "operations" in path]
    assert asked == [("GET", "/v1internal/operations/7")] * 2
    assert world.slept == [5.0, 5.0]


async def test_onboarding_that_never_ends_is_given_up(world: LoggingIn) -> None:
    world.provider.onboarding = [(200, {"done": False})] * 100
    with pytest.raises(LoginError, match="has not set up p1 within 180 seconds"):
        await world.login(GOOGLE, project="p1")
    assert sum(world.slept) == 180.0
    world.slept.clear()
    with pytest.raises(LoginError, match="choose one with --project"):
        await world.login(GOOGLE, project="GOOGLE_ONE")
    assert sum(world.slept) == 30.0
    assert world.names() == []


async def test_of_all_projects_those_that_fail_are_left_out_and_told(world: LoggingIn) -> None:
    world.provider.projects = [*TWO, {"projectId": "p3"}, {"projectId": 4}]
    world.provider.disabled = {"p2"}
    world.provider.enable_answer = (403, {"error": {"message": "billing is off"}})
    stored = await world.login(GOOGLE, project="all")
    assert stored.file.name == "gemini-a@b.c-all.json"
    assert stored.file.data["project_id"] == "p1,p3"
    assert stored.new.notes == (
        "project: p1, p3",
        "p2 was left out: project activation required: billing is off",
    )
    assert len(world.roster.accounts_of(stored.file.name)) == 3, "a parent and two projects"
    again = await world.login(GOOGLE, project="ALL")
    assert (again.file.name, again.created) == (stored.file.name, False)
    world.provider.disabled = {"p1", "p2", "p3"}
    with pytest.raises(LoginError, match="none of your projects"):
        await world.login(GOOGLE, project="ALL")


@pytest.mark.parametrize(
    ("status", "answer", "refused"),
    [
        (200, {}, ""),
        (201, {}, ""),
        (400, {"error": {"message": "Service already enabled."}}, ""),
        (400, {"error": {"message": "bad project"}}, "project activation required: bad project"),
        (403, {"error": {"message": "no billing\x1b[31m"}}, "project activation required: no billing"),
        (500, {}, "project activation required: status 500"),
    ],
)
async def test_a_service_is_enabled_where_it_is_not(
    world: LoggingIn, status: int, answer: dict[str, Any], refused: str
) -> None:
    world.provider.disabled = {"p1"}
    world.provider.enable_answer = (status, answer)
    if not refused:
        assert (await world.login(GOOGLE, project="p1")).created
    else:
        with pytest.raises(LoginError, match=refused) as caught:
            await world.login(GOOGLE, project="p1")
        assert "\x1b" not in str(caught.value)
    assert ("POST", "/services/projects/p1/services/cloudaicompanion.googleapis.com:enable", {}) in world.provider.asked


async def test_an_enabled_service_is_left_alone(world: LoggingIn) -> None:
    await world.login(GOOGLE, project="p1")
    assert not [path for method, path, _ in world.provider.asked if path.endswith(":enable")]


async def test_a_login_without_an_address_or_a_project_is_none(world: LoggingIn) -> None:
    world.provider.projects = []
    with pytest.raises(LoginError, match="no Google Cloud project"):
        await world.login(GOOGLE)
    world.provider.user = ""
    with pytest.raises(LoginError, match="whose login"):
        await world.login(GOOGLE)
    assert world.names() == []


async def test_without_googles_secret_no_page_opens(world: LoggingIn) -> None:
    from msgspec.structs import replace

    (provider,) = [provider for provider in world.plugins.providers if provider.name == GOOGLE]
    provider.endpoints = replace(provider.endpoints, client_secret="")
    browser = Browser()
    with pytest.raises(LoginError, match="CPA_GEMINI_CLI_CLIENT_SECRET") as caught:
        await world.login(GOOGLE, browser)
    assert caught.value.code == "client_secret_missing"
    assert browser.pages == []
