"""Accounts and models follow the configuration and the auth files, one by one."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from weakref import ref

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from cpa.accounts.account import Account
from cpa.accounts.files import AuthDirectory, AuthFile
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.exchange.roster import AT_ONCE, Roster
from cpa.plugins import Provider, file_account, hookimpl, project_accounts, split_projects
from cpa.plugins.manager import Plugins

MODELS = (Model(id="big"), Model(id="small-preview"))
PRO = (*MODELS, Model(id="huge"))


class FileProvider(Provider):
    """Serves auth files of type ``files``, several projects too; keys from ``claude-api-key``."""

    name = "files"
    broken = False

    def accounts_from_config(self, config: Config) -> list[Account]:
        if self.broken:
            raise RuntimeError("no")
        return [
            Account(id=f"key:{entry.api_key}", provider="files", secret=entry.api_key)
            for entry in config.claude_api_key
        ]

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> list[Account] | None:
        if data["type"] != "files":
            return None
        if data.get("access_token") == "raise":
            raise RuntimeError("no")
        account = file_account(path, data, secret=str(data.get("access_token", "")))
        return project_accounts(account, split_projects(data.get("project_id")))

    def models(self, account: Account, builtin: Any) -> tuple[Model, ...]:
        return PRO if account.metadata.get("plan") == "pro" else MODELS


class House:
    """A roster with everything around it."""

    def __init__(self, folder: Path) -> None:
        self.log = structlog.get_logger()
        self.plugins = Plugins(self.log)
        self.provider = FileProvider()
        house = self

        class Plugin:
            @hookimpl
            def cpa_providers(self) -> list[Provider]:
                return [house.provider]

        self.plugins.register(Plugin(), "files", Config())
        self.plugins.load(Config(), [])
        self.now = 1000.0
        self.pool = AccountPool(lambda: self.now)
        self.catalog = Catalog(self.pool.listed)
        self.roster = Roster(self.plugins, self.pool, self.catalog, self.log)
        self.directory = AuthDirectory(folder)
        self.roster.apply_config(Config())

    def file(self, name: str, **members: Any) -> AuthFile:
        """An auth file, not on disk."""
        data = {"type": "files", **members}
        return AuthFile(name, self.directory.path / name, data, orjson.dumps(data).hex())

    def put(self, name: str, **members: Any) -> bool:
        return self.roster.apply_file(self.file(name, **members))

    def cool(self, account_id: str, reason: str = "quota", model: str = "big") -> None:
        self.pool.fail(account_id, model, scope="model", reason=reason, seconds=600, message="")

    def cooling(self, account_id: str) -> bool:
        return self.pool.blocked(account_id, "big") is not None


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "auth")


def names(house: House) -> list[str]:
    return [model.id for model in house.catalog.list_models()]


def test_a_file_comes_changes_and_goes_with_its_models(house: House) -> None:
    assert house.put("a.json", access_token="1")
    assert names(house) == ["big", "small-preview"]
    assert house.put("a.json", access_token="1", prefix="team")
    assert names(house) == ["big", "small-preview", "team/big", "team/small-preview"]
    assert house.roster.drop_file("a.json")
    assert names(house) == []
    assert house.pool.get("a.json") is None
    assert not house.roster.drop_file("a.json")


def test_the_same_content_again_changes_nothing(house: House) -> None:
    heard: list[object] = []
    house.roster.subscribe(lambda old, new: heard.append((old, new)))
    assert house.put("a.json", access_token="1")
    assert not house.put("a.json", access_token="1")
    assert len(heard) == 1


def test_a_change_of_one_file_leaves_the_offers_of_others_alone(house: House) -> None:
    house.put("a.json", access_token="1", plan="pro")
    house.put("b.json", access_token="2")
    before = {name: house.catalog.version(name) for name in ("big", "huge")}
    house.put("b.json", access_token="renewed", note="new")
    assert {name: house.catalog.version(name) for name in before} == before
    house.put("b.json", access_token="renewed", priority=5)
    assert house.catalog.version("big") is not before["big"]
    assert house.catalog.version("huge") is before["huge"]


def test_a_note_or_a_renewed_token_keeps_cooldowns(house: House) -> None:
    house.put("a.json", access_token="1", email="a@example.com")
    house.cool("a.json")
    house.put("a.json", access_token="1", email="a@example.com", note="x")
    assert house.cooling("a.json")
    house.put("a.json", access_token="2", email="a@example.com")
    assert house.cooling("a.json")


def test_a_new_login_in_a_file_starts_clean(house: House) -> None:
    house.put("a.json", access_token="1", email="a@example.com")
    house.cool("a.json", "unauthorized")
    house.put("a.json", access_token="2", email="a@example.com")
    assert not house.cooling("a.json")
    house.cool("a.json")
    house.put("a.json", access_token="3", email="other@example.com")
    assert not house.cooling("a.json")


def test_deleted_and_made_again_or_disabled_and_enabled_starts_clean(house: House) -> None:
    house.put("a.json", access_token="1")
    house.cool("a.json")
    house.roster.drop_file("a.json")
    house.put("a.json", access_token="1")
    assert not house.cooling("a.json")
    house.cool("a.json")
    house.put("a.json", access_token="1", disabled=True)
    assert names(house) == []
    house.put("a.json", access_token="1")
    assert not house.cooling("a.json")
    assert names(house) == ["big", "small-preview"]


def test_projects_of_a_file_come_and_go_one_by_one(house: House) -> None:
    house.put("g.json", access_token="1", project_id="p1,p2")
    assert [account.id for account in house.roster.accounts_of("g.json")] == ["g.json", "g.json::p1", "g.json::p2"]
    assert set(house.catalog.offers("big")) == {"g.json::p1", "g.json::p2"}
    house.cool("g.json::p2")
    house.put("g.json", access_token="1", project_id="p2,p3")
    assert set(house.catalog.offers("big")) == {"g.json::p2", "g.json::p3"}
    assert house.cooling("g.json::p2")
    house.put("g.json", access_token="1", project_id="p2,p3", disabled=True)
    assert not house.catalog.offers("big")
    house.put("g.json", access_token="1", project_id="p3")
    assert set(house.catalog.offers("big")) == {"g.json"}


def test_an_unknown_type_is_kept_and_reported_and_serves_nothing(house: House) -> None:
    with capture_logs() as logs:
        house.roster.apply_file(AuthFile("x.json", Path("/auth/x.json"), {"type": "qwen", "email": "x@y.z"}, "d"))
    assert [line["reason"] for line in logs] == ["no plugin serves files of type 'qwen'"]
    account = house.pool.get("x.json")
    assert account is not None
    assert (account.provider, account.label) == ("qwen", "x@y.z")
    assert not house.roster.serving("x.json")
    assert names(house) == []
    assert house.roster.drop_file("x.json")
    assert len(house.pool) == 0


def test_a_file_its_provider_stumbles_over_keeps_its_old_account(house: House) -> None:
    house.put("a.json", access_token="1")
    with capture_logs() as logs:
        house.put("a.json", access_token="raise")
    assert any(line["event"] == "provider cannot read an auth file" for line in logs)
    account = house.pool.get("a.json")
    assert account is not None
    assert account.secret == "1"


def test_a_provider_that_fails_on_reload_keeps_its_accounts(house: House) -> None:
    config = Config.from_plain({"claude-api-key": [{"api-key": "k"}]})
    house.roster.apply_config(config)
    house.provider.broken = True
    house.roster.apply_config(config)
    assert house.pool.get("key:k") is not None


def test_exclusions_aliases_and_prefix_apply_in_this_order(house: House) -> None:
    house.put("a.json", access_token="1", prefix="team", excluded_models=["*-PREVIEW"])
    house.roster.apply_config(
        Config.from_plain(
            {
                "oauth-model-alias": {
                    "files": [{"name": "BIG", "alias": "large", "fork": True, "force-mapping": True}]
                },
                "oauth-excluded-models": {"other": ["big"]},
                "force-model-prefix": True,
            }
        )
    )
    assert names(house) == ["team/big", "team/large"]
    large = house.catalog.get_model("team/large")
    assert large is not None
    assert (large.upstream, large.force_mapping) == ("big", True)
    house.roster.apply_config(Config.from_plain({"oauth-excluded-models": {"files": ["b*g"]}}))
    assert names(house) == []


def test_aliases_and_exclusions_of_a_channel_are_not_for_keys(house: House) -> None:
    house.roster.apply_config(
        Config.from_plain(
            {
                "claude-api-key": [{"api-key": "k"}],
                "oauth-model-alias": {"files": [{"name": "big", "alias": "large"}]},
                "oauth-excluded-models": {"files": ["small*"]},
            }
        )
    )
    assert names(house) == ["big", "small-preview"]


def test_a_file_s_own_aliases_come_before_the_channel_s(house: House) -> None:
    own = [{"name": "big", "alias": "mine", "display-name": "Mine"}, {"name": "", "alias": "x"}, "junk"]
    house.put("a.json", access_token="1", model_aliases=own)
    house.roster.apply_config(
        Config.from_plain(
            {
                "oauth-model-alias": {
                    "files": [{"name": "big", "alias": "theirs"}, {"name": "small-preview", "alias": "small"}]
                }
            }
        )
    )
    assert names(house) == ["mine", "small"]
    mine = house.catalog.get_model("mine")
    assert mine is not None
    assert mine.display_name == "Mine"


def test_another_plan_brings_other_models_and_keeps_running_cooldowns(house: House) -> None:
    house.put("a.json", access_token="1")
    house.cool("a.json")
    house.put("a.json", access_token="1", plan="pro")
    assert "huge" in names(house)
    assert house.cooling("a.json")
    house.cool("a.json", model="huge")
    house.put("a.json", access_token="1")
    assert "huge" not in names(house)
    house.put("a.json", access_token="1", plan="pro")
    assert house.pool.blocked("a.json", "huge") is None
    assert house.cooling("a.json")


def test_every_account_has_an_index_that_stays(house: House) -> None:
    house.roster.apply_config(Config.from_plain({"claude-api-key": [{"api-key": "k"}, {"api-key": "l"}]}))
    before = {account.id: account.index for account in house.pool}
    assert len(set(before.values())) == 2
    assert all(len(index) == 16 for index in before.values())
    house.roster.apply_config(
        Config.from_plain({"claude-api-key": [{"api-key": "l", "priority": 3}, {"api-key": "k"}]})
    )
    assert {account.id: account.index for account in house.pool} == before


def test_many_files_follow_a_configuration_change_in_batches(house: House) -> None:
    count = AT_ONCE + 30
    for number in range(count):
        house.put(f"{number:04}.json", access_token="1")
    house.roster.apply_config(Config.from_plain({"oauth-excluded-models": {"files": ["big"]}}))
    assert house.roster.unsettled.is_set()
    assert len(house.catalog.offers("big")) == 30
    assert house.roster.settle(20)
    house.roster.drop_file(f"{count - 1:04}.json")
    assert not house.roster.settle(20)
    assert not house.roster.unsettled.is_set()
    assert names(house) == ["small-preview"]


def test_accounts_of_a_connection_survive_reloads_and_end_with_it(house: House) -> None:
    house.roster.put_runtime(Account(id="aistudio-1", provider="files", kind="oauth"))
    house.roster.put_runtime(Account(id="aistudio-2", provider="files", kind="oauth"))
    house.roster.apply_config(Config.from_plain({"oauth-excluded-models": {"files": ["small*"]}}))
    assert set(house.catalog.offers("big")) == {"aistudio-1", "aistudio-2"}
    assert names(house) == ["big"]
    house.roster.drop_runtime("aistudio-1")
    assert set(house.catalog.offers("big")) == {"aistudio-2"}


def test_an_id_that_is_taken_is_left_out_and_reported(house: House) -> None:
    house.roster.apply_config(Config.from_plain({"claude-api-key": [{"api-key": "k"}]}))
    with capture_logs() as logs:
        house.put("key:k", access_token="stolen")
    assert any(line["event"] == "account left out, its id is taken" for line in logs)
    account = house.pool.get("key:k")
    assert account is not None
    assert account.secret == "k"


def test_cooling_can_be_switched_on_for_one_file_although_it_is_off_for_all(house: House) -> None:
    house.roster.apply_config(Config.from_plain({"disable-cooling": True}))
    for name, value in (("a.json", None), ("b.json", False), ("c.json", True)):
        house.put(name, access_token="1", disable_cooling=value)
        house.cool(name)
    assert [house.cooling(name) for name in ("a.json", "b.json", "c.json")] == [False, True, False]


def test_a_subscriber_hears_what_came_changed_and_went(house: House) -> None:
    heard: list[tuple[str, str]] = []

    def note(old: Account | None, new: Account | None) -> None:
        heard.append((old.secret if old else "-", new.secret if new else "-"))

    def fail(old: Account | None, new: Account | None) -> None:
        raise RuntimeError("no")

    house.roster.subscribe(fail)
    house.roster.subscribe(note)
    house.put("a.json", access_token="1")
    house.put("a.json", access_token="2")
    house.roster.drop_file("a.json")
    assert heard == [("-", "1"), ("1", "2"), ("2", "-")]


def test_the_whole_directory_can_be_read_at_once(house: House, tmp_path: Path) -> None:
    house.directory.create("a.json", {"type": "files", "access_token": "1"})
    house.directory.create("b.json", {"type": "files", "access_token": "2"})
    config = Config.from_plain({"auth-dir": str(tmp_path / "auth")})
    house.roster.sync(config)
    assert set(house.catalog.offers("big")) == {"a.json", "b.json"}
    house.directory.delete("a.json")
    house.roster.sync(config)
    assert set(house.catalog.offers("big")) == {"b.json"}


def test_an_exclusion_moves_its_own_channel_only(house: House) -> None:
    house.put("a.json", access_token="1")
    before = house.catalog.version("big")
    house.roster.apply_config(Config.from_plain({"oauth-excluded-models": {"somebody": ["big"]}}))
    assert house.catalog.version("big") is before
    house.roster.apply_config(Config.from_plain({"oauth-excluded-models": {"files": ["big"]}}))
    assert "big" not in names(house)


class WatchedModel(Model, weakref=True):
    """One of which it can be told whether it is still there."""


def test_models_of_earlier_configurations_are_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ref[WatchedModel]] = []

    def models(account: Account, builtin: Any) -> list[Model]:
        model = WatchedModel(id="big")
        made.append(ref(model))
        return [model]

    monkeypatch.setattr(house.provider, "models", models)
    for _ in range(20):
        house.roster.apply_config(Config.from_plain({"claude-api-key": [{"api-key": "k"}]}))
    gc.collect()
    assert len(made) == 20
    alive = [number for number, model in enumerate(made) if model() is not None]
    assert alive == [0, 18, 19]  # the first is offered still, being the same as the others
