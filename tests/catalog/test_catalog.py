"""Which models exist, under which names."""

from __future__ import annotations

from cpa.catalog.builtin import builtin_models
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.catalog.offer import (
    ModelAlias,
    aliases_of,
    glob,
    preferred_aliases,
    with_aliases,
    with_prefix,
    without_excluded,
)
from cpa.catalog.shaping import Shaper


def ids(models: list[Model]) -> list[str]:
    return [model.id for model in models]


def test_exclusions_match_the_upstream_name_with_wildcards_and_without_case() -> None:
    models = [Model(id="gemini-2.5-pro"), Model(id="nice", upstream="Gemini-2.5-Flash"), Model(id="x-preview")]
    assert ids(without_excluded(models, ["*-preview", "GEMINI-2.5-FLASH", " "])) == ["gemini-2.5-pro"]


def test_a_glob_knows_only_the_star() -> None:
    assert glob("a*c").match("abbbc")
    assert glob("*").match("")
    assert not glob("a?c").match("abc")
    assert not glob("[ab]").match("a")
    assert not glob("gpt").match("gpt-5")
    for pattern, name in (
        ("gemini-*", "gemini-x"),
        ("*-preview", "x-preview"),
        ("*flash*", "a-flash-b"),
        ("a*b*c", "axbxc"),
    ):
        assert glob(pattern).match(name)
        assert not glob(pattern).match("other")


def test_an_alias_replaces_the_name_and_a_fork_keeps_it() -> None:
    models = [Model(id="a"), Model(id="b")]
    assert ids(with_aliases(models, [ModelAlias("A", "x")])) == ["x", "b"]
    assert ids(with_aliases(models, [ModelAlias("a", "x", fork=True)])) == ["a", "x", "b"]
    assert with_aliases(models, [ModelAlias("a", "x")])[0].upstream == "a"


def test_an_alias_that_is_taken_is_dropped() -> None:
    assert ids(with_aliases([Model(id="a"), Model(id="b")], [ModelAlias("a", "B")])) == ["a", "b"]


def test_several_aliases_of_one_model_are_all_offered() -> None:
    both = [ModelAlias("a", "x"), ModelAlias("a", "y", force_mapping=True, display_name="Why")]
    offered = with_aliases([Model(id="a", display_name="A")], both)
    assert ids(offered) == ["x", "y"]
    assert [(model.force_mapping, model.display_name) for model in offered] == [(False, "A"), (True, "Why")]


def test_an_alias_never_takes_a_name_that_stays() -> None:
    kept = ModelAlias("a", "x", fork=True)
    for order in (["a", "b"], ["b", "a"]):
        models = [Model(id=name) for name in order]
        assert sorted(ids(with_aliases(models, [kept, ModelAlias("b", "A")]))) == ["a", "b", "x"]
    freed = with_aliases([Model(id="a"), Model(id="b")], [ModelAlias("a", "x"), ModelAlias("b", "a")])
    assert [(model.id, model.upstream) for model in freed] == [("x", "a"), ("a", "b")]


def test_aliases_in_a_file_tolerate_what_people_write() -> None:
    entries = [
        {"name": " a ", "alias": "x", "fork": True, "force-mapping": True, "display-name": "X"},
        {"name": "b", "alias": "X"},
        {"name": "c", "alias": "C"},
        {"name": "d"},
        {"alias": "e"},
        "f",
        None,
    ]
    own = aliases_of(entries)
    assert own == (ModelAlias("a", "x", True, True, "X"),)
    channel = (ModelAlias("A", "other"), ModelAlias("z", "X"), ModelAlias("b", "y"))
    assert preferred_aliases(own, channel) == (*own, ModelAlias("b", "y"))


def test_accounts_with_the_same_models_share_the_result() -> None:
    shaper, models = Shaper(), (Model(id="a"), Model(id="b"))
    first = shaper.shape(models, excluded=("b",), prefix="team")
    assert ids(list(first)) == ["a", "team/a"]
    assert shaper.shape(list(models), excluded=("b",), prefix="team") is first
    assert ids(list(shaper.shape(models, excluded=("b",), prefix="team", force_prefix=True))) == ["team/a"]
    for number in range(2 * Shaper.LIMIT):
        shaper.shape((Model(id=str(number)),))
    assert shaper.shape(models, excluded=("b",), prefix="team") == first


def test_prefixes() -> None:
    assert ids(with_prefix([Model(id="m")], "team", force=False)) == ["m", "team/m"]
    assert ids(with_prefix([Model(id="m")], "team", force=True)) == ["team/m"]
    assert ids(with_prefix([Model(id="team")], "team", force=True)) == ["team"]
    assert with_prefix([Model(id="m")], "team", force=True)[0].upstream == "m"


def test_offers_come_and_go_with_their_accounts() -> None:
    catalog = Catalog()
    catalog.register("a", "p", [Model(id="m"), Model(id="n")])
    catalog.register("b", "p", [Model(id="m")])
    assert set(catalog.offers("m")) == {"a", "b"}
    before = catalog.version("m")
    catalog.register("a", "p", [Model(id="n")])
    assert set(catalog.offers("m")) == {"b"}
    assert catalog.version("m") is not before
    catalog.unregister("b")
    assert catalog.offers("m") == {}
    assert ids(catalog.list_models()) == ["n"]


def test_registering_the_same_again_moves_nothing() -> None:
    catalog = Catalog()
    assert catalog.register("a", "p", [Model(id="m"), Model(id="n")], (0, 1))
    before = {name: catalog.version(name) for name in ("m", "n")}
    assert not catalog.register("a", "p", [Model(id="m"), Model(id="n")], (0, 1))
    assert catalog.register("a", "p", [Model(id="m"), Model(id="o")], (0, 1))
    assert catalog.version("m") is before["m"]
    assert catalog.version("n") is None
    assert catalog.register("a", "p", [Model(id="m"), Model(id="o")], (5, 1))
    assert catalog.version("m") is not before["m"]
    assert catalog.unregister("a")
    assert not catalog.unregister("a")


def test_providers_of_a_name_are_ordered_by_how_many_accounts_they_have() -> None:
    usable = {"x"}
    catalog = Catalog(lambda account, model: account in usable)
    for account, provider in (("x", "few"), ("y", "many"), ("z", "many"), ("w", "also-few")):
        catalog.register(account, provider, [Model(id="m"), Model(id="m")])
    assert catalog.providers("m") == ["many", "also-few", "few"]
    catalog.unregister("y")
    assert catalog.providers("m") == ["also-few", "few", "many"]
    assert catalog.providers("no such model") == []


def test_lists_are_the_caller_s_own() -> None:
    catalog = Catalog()
    catalog.register("a", "p", [Model(id="m")])
    catalog.list_models().clear()
    catalog.models_of("a").clear()
    assert ids(catalog.list_models()) == ids(catalog.models_of("a")) == ["m"]


def test_a_repeated_alias_is_a_pool_in_the_order_given() -> None:
    catalog = Catalog()
    catalog.register("a", "p", [Model(id="fast", upstream="m-a"), Model(id="fast", upstream="m-b")])
    assert [model.upstream for model in catalog.offers("fast")["a"].models] == ["m-a", "m-b"]


def test_lists_show_what_is_routable_sorted() -> None:
    refused = {("a", "n")}
    catalog = Catalog(lambda account, model: (account, model) not in refused)
    catalog.register("a", "p", [Model(id="z"), Model(id="n"), Model(id="b")])
    assert ids(catalog.list_models()) == ["b", "z"]
    assert catalog.get_model("n") is None


def test_auto_is_the_newest_that_answers_text() -> None:
    catalog = Catalog()
    catalog.register(
        "a", "p", [Model(id="old", created=1), Model(id="new", created=2), Model(id="img", created=3, image_only=True)]
    )
    assert catalog.newest() == "new"


def test_builtin_models_have_limits() -> None:
    claude = {model.id: model for model in builtin_models("claude")}
    opus = claude["claude-opus-4-6"]
    assert opus.thinking is not None
    assert opus.thinking.levels == ("low", "medium", "high", "max")
    assert opus.max_output_tokens == 128000
    assert builtin_models("no-such-channel") == ()
    retired = {model.id for model in builtin_models("codex-pro") if model.retired}
    assert "gpt-5.2" in retired
