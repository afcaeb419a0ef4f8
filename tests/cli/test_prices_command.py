"""``cpa prices``, with a daemon and without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cpa.cli.main import cli
from cpa.cli.price_words import dollars, share
from cpa.conversation.usage import Usage
from cpa.usage.insert import insert
from cpa.usage.schema import open_database
from cpa.usage.tokens import Tokens
from tests.cli.conftest import printed_json
from tests.management.conftest import Managed, Start, start
from tests.management.price_server import PriceServer, price_server
from tests.usage.conftest import event

__all__ = ["start"]

NOW = int(time.time() * 1000)


@pytest.fixture
async def server() -> AsyncIterator[PriceServer]:
    async with price_server() as prices:
        yield prices


@pytest.fixture
def config(tmp_path: Path, server: PriceServer) -> Path:
    """A configuration beside a database: one model with a cost, one without, one whose price came later."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"usage-database-path: data/usage.sqlite\n{server.config}prices: [{{model: own, input: 7, output: 7}}]\n"
    )
    connection = open_database(tmp_path / "data" / "usage.sqlite")
    attempts = [
        event(request_id="a", model="own", at_ms=NOW, cost_nanos=10**9, tokens=tokens(1000)),
        event(request_id="b", model="gpt-5", at_ms=NOW, tokens=tokens(2000)),
        event(request_id="c", model="claude-sonnet-4-5-20250929", at_ms=NOW, cost_nanos=1, tokens=tokens(3000)),
        event(request_id="d", model="claude-sonnet-4-5-20250929", at_ms=NOW, tokens=tokens(1000)),
        event(request_id="n", model="misspelt", at_ms=NOW, tokens=Tokens(), failed=True),
        event(request_id="e", model="old", at_ms=NOW - 40 * 86_400_000, tokens=tokens(5)),
    ]
    insert(connection, attempts, NOW)
    connection.close()
    return path


def tokens(count: int) -> Tokens:
    return Tokens(input=count, total=count, uncached=count)


async def run(config: Path, *arguments: str, status: int = 0) -> str:
    options = ["prices", *arguments, "--config", str(config)]
    result = await asyncio.to_thread(CliRunner().invoke, cli, options, terminal_width=120)
    assert result.exit_code == status, result.output
    return result.output


async def run_json(config: Path, *arguments: str) -> Any:
    return printed_json(await run(config, *arguments, "--json"))


async def test_models_in_use_are_listed_with_price_and_what_has_none(config: Path) -> None:
    lines = {line.split()[0]: line.split()[1:] for line in (await run(config, "list")).splitlines() if line.strip()}
    assert lines["own"] == ["$7.00", "$7.00", "config.yaml", "1,000"]
    assert lines["gpt-5"] == ["-", "-", "no", "price", "2,000", "100%"]
    assert lines["claude-sonnet-4-5-20250929"] == ["$3.00", "$15.00", "$0.30", "$3.75", "cpa", "4,000", "25%"]
    assert lines["43%"] == ["of", "the", "tokens", "have", "no", "cost", "in", "the", "record"]
    assert not {"old", "misspelt"} & lines.keys()


async def test_programs_get_the_list_as_json(config: Path) -> None:
    rows = {row["model"]: row for row in await run_json(config, "list", "--days", "0")}
    assert rows["gpt-5"]["price"] is None
    assert (rows["gpt-5"]["unpriced_tokens"], rows["gpt-5"]["unpriced_share"]) == (2000, 1)
    assert rows["claude-sonnet-4-5-20250929"]["priced_as"] == "claude-sonnet-4-5"
    assert rows["own"]["price"]["prompt"] == 7
    assert "old" in rows
    every = {row["model"] for row in await run_json(config, "list", "--all", "haiku")}
    assert "claude-haiku-4-5" in every
    assert all("haiku" in name for name in every)


async def test_one_price_is_shown_with_its_story(config: Path) -> None:
    config.write_text(
        config.read_text() + "price-factors: [{factor: 2, service-tier: priority}, {factor: 3, model: x}]\n"
    )
    shown = await run(config, "show", "anthropic/claude-sonnet-4-5-20250929")
    assert "cpa (prices of 20" in shown
    assert "under the name" in shown
    assert "times 2" in shown
    assert "times 3" not in shown
    assert "$0.045" in shown
    assert (await run_json(config, "show", "own"))["price"]["source"] == "manual"
    assert "cpa prices sync" in await run(config, "show", "unknown", status=1)


async def test_a_price_is_set_and_removed_in_the_file(config: Path) -> None:
    config.write_text("# mine\n" + config.read_text())
    said = await run(config, "set", "new/model", "--input", "1.25", "--output", "10", "--cache-read", "0.125")
    assert said == "new/model: $1.25 in, $10.00 out, $0.125 cached (USD per million tokens)\n"
    assert (await run_json(config, "set", "new/model", "--output", "11"))["price"]["prompt"] == 1.25
    assert "model: new/model" in config.read_text()
    assert config.read_text().startswith("# mine\n")
    assert "removed, it has no price now" in await run(config, "unset", "new/model")
    assert "new/model" not in config.read_text()
    await run(config, "set", "claude-haiku-4-5", "--input", "0")
    assert "now $1.00 in" in await run(config, "unset", "claude-haiku-4-5")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("set", "m"), 2, "--input USD"),
        (("set", "m", "--input", "1"), 1, "completion is required"),
        (("set", "m", "--input", "-1", "--output", "1"), 2, "x>=0"),
        (("set", "m", "--input", "nan", "--output", "1"), 1, "prompt must be a number"),
        (("set", "m", "--input", "inf", "--output", "1"), 1, "prompt must be a number"),
        (("unset", "m"), 1, "there is none"),
        (("unset", "claude-haiku-4-5"), 1, "ships with cpa"),
    ],
)
async def test_what_cannot_be_is_said(config: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    before = config.read_text()
    assert said in await run(config, *arguments, status=status)
    assert config.read_text() == before


async def test_prices_are_taken_without_a_daemon(config: Path, server: PriceServer) -> None:
    before = config.read_text()
    shown = await run(config, "sync", "--dry-run")
    assert "nothing was changed" in shown
    assert not (config.parent / "data" / "model-prices.json").exists()
    told = await run_json(config, "sync")
    actions = {each["model"]: each["action"] for each in told["models"]}
    assert actions == {
        "claude-sonnet-4-5-20250929": "missing",
        "gpt-5": "added",
        "own": "missing",
        "old": "missing",
        "misspelt": "missing",
    }
    assert (told["imported"], told["skipped"]) == (1, 4)
    assert [request.headers.get("If-None-Match") is None for request in server.asked] == [True, False]
    assert config.read_text() == before
    assert "litellm as gpt-5, read 20" in await run(config, "show", "gpt-5")
    assert "removed, it has no price now" in await run(config, "unset", "gpt-5")
    assert "from models.dev" not in await run(config, "sync", "gpt-5", "--source", "models.dev")
    assert (await run_json(config, "show", "gpt-5"))["price"]["sourceModelId"] == "openai/gpt-5"


async def test_own_prices_are_replaced_when_asked(config: Path, server: PriceServer) -> None:
    server.litellm["own"] = server.litellm["gpt-5"]
    assert "yours, kept" in await run(config, "sync", "own")
    assert (await run_json(config, "sync", "own", "--overwrite-manual"))["imported"] == 1
    assert "model: own" not in config.read_text()
    assert (await run_json(config, "show", "own"))["price"]["prompt"] == 1.25


async def test_what_was_recorded_gets_a_cost_without_a_daemon(config: Path) -> None:
    assert "cpa prices revalue" in await run(config, "list")
    said = await run(config, "revalue", "--dry-run")
    assert "3 of 5 attempts get another cost: $1.00 before, $0.02 now" in said
    assert "2 have none, because their model has no price" in said
    assert "nothing was changed" in said
    assert (await run_json(config, "revalue", "--dry-run"))["after_nanos"] == 7_000_000 + 12_000_000
    today = f"{time.strftime('%Y-%m-%d')}"
    told = await run_json(config, "revalue", "--since", today)
    assert (told["attempts"], told["changed"], told["preview"]) == (4, 3, False)
    assert (await run_json(config, "revalue"))["changed"] == 0
    assert "cpa prices revalue" not in await run(config, "list")


async def test_a_list_that_cannot_be_read_is_one_line(config: Path, server: PriceServer) -> None:
    server.bad = "html"
    said = await run(config, "sync", status=1)
    assert said.startswith("Error: what 127.0.0.1 sent is no list of prices")
    assert len(said.splitlines()) == 1


async def test_nothing_in_use_is_said(tmp_path: Path, server: PriceServer) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(server.config)
    assert "no model was used in the last 30 days" in await run(path, "list")
    assert "no model was used yet" in await run(path, "sync")
    assert await run_json(path, "list") == []


async def test_a_running_daemon_takes_changes_at_once(
    start: Start, server: PriceServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    daemon: Managed = await start(server.config, environ={"XDG_RUNTIME_DIR": str(tmp_path / "run")})

    def cost(model: str) -> int | None:
        return daemon.daemon.prices().cost(Usage(input_total=10**6, output_total=0), model=model)

    await run(daemon.path, "set", "m/1", "--input", "1", "--output", "2")
    assert cost("m/1") == 10**9
    await run(daemon.path, "sync", "gpt-5")
    assert cost("gpt-5") == 1_250_000_000
    await run(daemon.path, "unset", "m/1")
    await run(daemon.path, "unset", "gpt-5")
    assert cost("m/1") is cost("gpt-5") is None
    server.bad = "error"
    assert "answered 503" in await run(daemon.path, "sync", "gpt-5", status=1)


def test_models_are_completed(config: Path) -> None:
    words = f"cpa prices show --config {config} claude-sonnet-4-5-2"
    environ = {"_CPA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "5"}
    shown = CliRunner().invoke(cli, [], env=environ, prog_name="cpa").output
    assert shown.splitlines() == ["plain,claude-sonnet-4-5-20250929"]


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, ""),
        (0, "$0.00"),
        (1.25, "$1.25"),
        (10, "$10.00"),
        (0.075, "$0.075"),
        (1e-9, "$0.000000001"),
        (1234.5, "$1,234.50"),
    ],
)
def test_prices_are_written_out(usd: float | None, text: str) -> None:
    assert dollars(usd) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, ""), (1, 1000, "<1%"), (999, 1000, "99%"), (5, 5, "100%"), (1, 8, "12%"), (0, 0, "")],
)
def test_shares_say_what_is_there_and_what_is_missing(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text
