"""What any auth file may say about its account."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from auth_samples import SAMPLES

from cpa.accounts.account import Account, account_id, account_index, same_login, tokens_of
from cpa.accounts.file_fields import expires_at, file_account, last_refresh, provider_of, refresh_interval
from cpa.accounts.projects import project_accounts, split_projects

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
PATH = "/auth/a.json"


def account(**members: Any) -> Account:
    return file_account(PATH, {"type": "claude", **members})


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05+01:00",
        "2026-01-02T03:04:05.000000000Z",
        "2026-01-02 03:04:05",
        " 2026-01-02t03:04:05z ",
        int(MOMENT),
        str(int(MOMENT)),
        int(MOMENT) * 1000,
        str(int(MOMENT) * 1000),
        float(MOMENT),
    ],
)
def test_a_time_is_read_in_every_form_it_is_written_in(value: Any) -> None:
    assert expires_at({"expired": value}) == MOMENT
    assert last_refresh({"last_refresh": value}) == MOMENT


def test_minutes_are_enough_and_fractions_count() -> None:
    assert expires_at({"expired": "2026-01-02 03:04"}) == MOMENT - 5
    assert expires_at({"expired": "2026-01-02T03:04:05.25Z"}) == MOMENT + 0.25


@pytest.mark.parametrize("key", ["expired", "expire", "expires_at", "expiresAt", "expiry", "expires"])
@pytest.mark.parametrize("place", [None, "token", "Token"])
def test_an_expiry_is_found_under_every_name_at_the_top_and_inside_the_token(key: str, place: str | None) -> None:
    inner = {key: "2026-01-02T03:04:05Z"}
    assert expires_at(inner if place is None else {place: inner}) == MOMENT


@pytest.mark.parametrize("value", [None, "", "soon", True, 0, -5, [], {}, "2026-13-40T00:00:00Z", "9" * 400, "nan"])
def test_what_is_no_time_is_no_expiry(value: Any) -> None:
    assert expires_at({"expired": value}) is None
    assert expires_at({"expired": value, "expiry": "2026-01-02T03:04:05Z"}) == MOMENT


@pytest.mark.parametrize(
    ("given", "prefix"),
    [("/team/", "team"), ("team", "team"), (" team ", "team"), ("a/b", ""), (" ", ""), ("/", ""), (7, ""), (None, "")],
)
def test_prefix(given: Any, prefix: str) -> None:
    assert account(prefix=given).prefix == prefix


@pytest.mark.parametrize(
    ("given", "priority"),
    [
        (5, 5),
        ("5", 5),
        (-1, -1),
        (" -1 ", -1),
        ("x", 0),
        (5.0, 5),
        ("5.0", 0),
        (5.5, 0),
        (True, 0),
        (None, 0),
        (1e300, 0),
    ],
)
def test_priority(given: Any, priority: int) -> None:
    assert account(priority=given).priority == priority


def test_text_and_headers_that_cannot_be_used_are_left_out() -> None:
    found = account(
        note="  mine ",
        headers={"X-A": " b ", "": "x", "X-Empty": "", "X-Number": 7, "X-Split": "a\r\nX-Evil: 1"},
        proxy_url=" socks5://127.0.0.1:1 ",
    )
    assert found.note == "mine"
    assert found.headers == {"X-A": "b"}
    assert found.proxy_url == "socks5://127.0.0.1:1"


@pytest.mark.parametrize("key", ["excluded_models", "excluded-models"])
def test_excluded_models_in_both_spellings(key: str) -> None:
    assert account(**{key: ["B*", " a ", "b*", "", 7]}).excluded_models == ("a", "b*")
    assert account(**{key: "a"}).excluded_models == ()


@pytest.mark.parametrize(
    ("given", "value"), [(True, True), ("true", True), (False, False), ("false", False), (1, None)]
)
def test_cooling_can_be_switched_off_and_on_for_one_file(given: Any, value: bool | None) -> None:
    assert account(disable_cooling=given).disable_cooling is value
    assert account(**{"disable-cooling": given}).disable_cooling is value
    assert account().disable_cooling is None


@pytest.mark.parametrize(("given", "retries"), [(0, 0), (3, 3), ("2", 2), (-1, None), ("x", None), (None, None)])
def test_a_negative_retry_count_inherits(given: Any, retries: int | None) -> None:
    assert account(**{"request-retry": given}).request_retry == retries


def test_weight_is_kept_between_zero_and_a_million() -> None:
    assert [account(weight=weight).weight for weight in (None, 0, -3, 7, 10**9)] == [1, 0, 0, 7, 1_000_000]


@pytest.mark.parametrize(
    ("member", "seconds"),
    [
        ({"refresh_interval_seconds": 90}, 90),
        ({"refreshIntervalSeconds": "90"}, 90),
        ({"refresh_interval": "1h30m"}, 5400),
        ({"refreshInterval": "2m"}, 120),
        ({"refresh_interval": "often"}, None),
        ({"refresh_interval": 0}, None),
        ({}, None),
    ],
)
def test_own_refresh_cadence(member: dict[str, Any], seconds: float | None) -> None:
    assert refresh_interval(member) == seconds


def test_error_rules_that_make_no_sense_are_left_out() -> None:
    rules = [{"status": 400, "match": ["nope"], "action": "continue"}, {"status": "x"}, 7]
    (rule,) = account(**{"request-scoped-errors": rules}).settings["request_scoped_errors"]
    assert (rule.status, rule.match, rule.action) == (400, ("nope",), "continue")


def test_gemini_files_are_of_the_gemini_cli_provider() -> None:
    assert provider_of({"type": "gemini"}) == "gemini-cli"
    assert provider_of({"type": "CLAUDE"}) == "claude"
    assert provider_of({}) == ""


def test_every_sample_gives_an_account_named_after_its_file() -> None:
    for name, data in SAMPLES.items():
        found = file_account(f"/auth/{name}", data)
        assert (found.id, found.source, found.metadata) == (name, f"/auth/{name}", data)
        assert found.label == data.get("email", data.get("label", found.provider))
        assert not found.disabled


def test_index_and_id_are_the_same_after_a_restart_and_in_the_program_this_replaces() -> None:
    assert account_id("gemini:apikey", "k", "") == "gemini:apikey:0043df106800"
    assert account_id("claude:apikey", "sk-1", "https://api.example.com") == "claude:apikey:a0f59e712638"
    assert (
        account_id("openai-compatibility:acme", "https://acme.example/v1") == "openai-compatibility:acme:6a8fd5715e7d"
    )
    assert account_index("claude-api-key:https://api.example.com+sk-1") == "131ed90140484854"
    assert account().index == account_index("claude:/auth/a.json")
    assert account(note="x", access_token="new").index == account().index
    assert file_account("/auth/../auth/a.json", {"type": "Claude"}).index == account().index


def test_a_file_for_several_projects_gives_an_account_for_each_that_shares_everything_else() -> None:
    data = {
        **SAMPLES["g@example.com-all.json"],
        "prefix": "team",
        "priority": 3,
        "note": "n",
        "headers": {"X": "y"},
        "proxy_url": "direct",
        "request_retry": 2,
        "disable_cooling": True,
    }
    projects = split_projects(data["project_id"])
    assert projects == ("first-project", "second-project")
    primary, first, second = project_accounts(file_account("/auth/g.json", data, secret="t"), projects)
    assert primary.disabled
    assert primary.settings["children"] == (first.id, second.id) == ("g.json::first-project", "g.json::second-project")
    assert first.label == "g@example.com [first-project]"
    assert not first.disabled
    assert (first.settings["project"], first.settings["parent"]) == ("first-project", "g.json")
    for child in (first, second):
        assert child.secret == "t"
        assert (child.prefix, child.priority, child.note, child.headers) == ("team", 3, "n", {"X": "y"})
        assert (child.proxy_url, child.request_retry, child.disable_cooling) == ("direct", 2, True)
    assert len({primary.index, first.index, second.index}) == 3


def test_unsafe_project_names_single_projects_and_disabled_files() -> None:
    account = file_account("/auth/g.json", {"type": "gemini", "disabled": True})
    accounts = project_accounts(account, split_projects("a/b c\\d, other"))
    assert accounts[1].id == "g.json::a_b_c_d"
    assert all(child.disabled for child in accounts)
    assert project_accounts(account, split_projects(" one , ")) == [account]
    assert split_projects(None) == ()


def test_a_renewed_token_is_the_same_login_and_another_address_is_not() -> None:
    before = account(email="a@example.com", access_token="1")
    assert same_login(before, account(email="a@example.com", access_token="2", refresh_token="3"))
    assert not same_login(before, account(email="b@example.com", access_token="1"))


def test_all_tokens_of_a_file_are_known_as_secret() -> None:
    data = SAMPLES["g@example.com-all.json"]
    assert {"ya29.one", "1//refresh", "secret"} <= set(tokens_of(file_account("/auth/g.json", data, secret="ya29.one")))
