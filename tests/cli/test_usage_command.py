"""``cpa usage`` over a database that was recorded before."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from cpa.cli.main import cli
from cpa.cli.usage_table import bar, short, usage_table
from cpa.config.client_keys import key_id
from cpa.usage.insert import insert
from cpa.usage.schema import open_database
from tests.usage.conftest import event

NOW = int(time.time() * 1000)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration beside a database: two models, three attempts today, one forty days ago."""
    path = tmp_path / "config.yaml"
    path.write_text("usage-database-path: data/usage.sqlite\n")
    connection = open_database(tmp_path / "data" / "usage.sqlite")
    attempts = [
        event(request_id="a", at_ms=NOW, cost_nanos=1_500_000_000),
        event(request_id="b", at_ms=NOW, attempt=1, final=False, failed=True, status=429),
        event(request_id="b", at_ms=NOW, attempt=2, model="=cmd()"),
        event(request_id="old", at_ms=NOW - 40 * 86_400_000),
    ]
    insert(connection, attempts, NOW)
    connection.close()
    return path


def run(config: Path, *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["usage", "--config", str(config), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_line_for_each_model_and_their_sum(config: Path) -> None:
    output = run(config, "--by", "model")
    lines = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.strip()}
    assert lines["gpt-5"][:4] == ["1", "2", "1", "60"]
    assert "$1.50+" in lines["gpt-5"]
    assert lines["=cmd()"][6] == "-"
    assert lines["total"][:4] == ["2", "3", "1", "90"]
    assert "$1.50+" in lines["total"]
    assert "67% of the tokens have no cost" in output


@pytest.mark.parametrize(("days", "attempts"), [("30", 3), ("0", 4), ("60", 4)])
def test_days_say_how_far_back(config: Path, days: str, attempts: int) -> None:
    rows = json.loads(run(config, "--json", "--days", days))
    assert sum(row["attempts"] for row in rows) == attempts


@pytest.mark.parametrize(("by", "name"), [("account", "me@example.org"), ("key", "key-1"), ("provider", "codex")])
def test_programs_get_json_by_whatever_they_ask(config: Path, by: str, name: str) -> None:
    (row,) = json.loads(run(config, "--json", "--by", by))
    assert (row["name"], row["requests"], row["attempts"], row["cost_usd"]) == (name, 2, 3, 1.5)


@pytest.mark.parametrize("command", [["usage"], ["usage", "--by", "model"], ["prices", "list"], ["requests"]])
def test_longer_ago_than_anything_is_everything(config: Path, command: list[str]) -> None:
    arguments = [*command, "--config", str(config), "--days", "99999999999", "--json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)


def test_keys_go_by_the_names_the_configuration_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "usage-database-path: usage.sqlite\napi-keys:\n- plain\n- {key: k-agent, name: agent}\n"
        "- {key: k-one, name: twin}\n- {key: k-two, name: twin}\n- {key: k-nameless, concurrency: 2}\n"
    )
    keys = ("plain", "k-agent", "k-one", "k-two", "k-nameless", "gone")
    connection = open_database(tmp_path / "usage.sqlite")
    insert(connection, [event(request_id=key, at_ms=NOW, group=key_id(key)) for key in keys], NOW)
    connection.close()
    shown = {line.split()[0] for line in run(path, "--by", "key").splitlines()[1:7]}
    assert shown == {"agent", *(key_id(key) for key in keys if key != "k-agent")}
    rows = json.loads(run(path, "--by", "key", "--json"))
    assert {row["name"] for row in rows} == {key_id(key) for key in keys}, "programs get ids, which do not change"


def test_accounts_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("usage-database-path: usage.sqlite\n")
    accounts = [
        ("me@example.org", "claude", "aaaaaaaaaaaa"),
        ("me@example.org", "codex", "bbbbbbbbbbbb"),
        ("sk-a...wxyz", "claude", "cccccccccccc"),
        ("sk-a...wxyz", "claude", "dddddddddddd"),
        ("router k...", "router", "eeeeeeeeeeee"),
        ("router k...", "router", "ffffffffffff"),
        ("you@example.org", "claude", "111111111111"),
        ("you@example.org", "claude", "222222222222"),
    ]
    connection = open_database(tmp_path / "usage.sqlite")
    made = [
        event(request_id=index, at_ms=NOW, source=source, provider=provider, auth_index=index)
        for source, provider, index in accounts
    ]
    insert(connection, made, NOW)
    connection.close()
    rows = {row["name"]: row["attempts"] for row in json.loads(run(path, "--by", "account", "--json"))}
    assert rows == {
        "me@example.org (claude)": 1,
        "me@example.org (codex)": 1,
        "sk-a...wxyz (claude cccccc)": 1,
        "sk-a...wxyz (claude dddddd)": 1,
        "router k... (eeeeee)": 1,
        "router k... (ffffff)": 1,
        "you@example.org": 2,
    }


def test_every_attempt_comes_out_as_csv_that_no_spreadsheet_runs(config: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(config, "--export", "csv"))))
    assert [row["request_id"] for row in rows] == ["a", "b", "b"]
    assert rows[2]["model"] == "'=cmd()"


def test_every_attempt_comes_out_as_json_lines(config: Path) -> None:
    rows = [json.loads(line) for line in run(config, "--export", "jsonl", "--days", "0").splitlines()]
    assert [row["request_id"] for row in rows] == ["old", "a", "b", "b"]


def test_nothing_recorded_yet_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{}\n")
    result = CliRunner().invoke(cli, ["usage", "--config", str(path)])
    assert result.exit_code == 0
    assert "nothing was recorded yet" in result.stderr
    assert "usage-statistics-enabled: true" in result.stderr
    assert not (tmp_path / "data").exists(), "looking makes no file"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["usage", "--json"], "[]\n"),
        (["usage", "--by", "model", "--json"], "[]\n"),
        (["usage", "--export", "jsonl"], ""),
        (["requests", "--json"], "[]\n"),
    ],
)
def test_programs_get_an_answer_before_anything_was_recorded(tmp_path: Path, command: list[str], told: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("port: 1\n")
    result = CliRunner().invoke(cli, [*command, "--config", str(path)])
    assert (result.exit_code, result.stdout) == (0, told)
    assert "nothing was recorded yet" in result.stderr


@pytest.mark.parametrize(
    ("command", "switch"),
    [("usage", "usage-statistics-enabled"), ("requests", "usage-statistics-enabled"), ("requests", "request-log")],
)
def test_what_is_on_before_the_first_request_is_not_asked_for(tmp_path: Path, command: str, switch: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{switch}: true\n")
    result = CliRunner().invoke(cli, [command, "--config", str(path)])
    assert result.exit_code == 0
    database = tmp_path / "data" / "usage.sqlite"
    assert result.stderr == f"nothing was recorded yet: {database} begins with the first request\n"


def test_a_database_of_the_program_before_is_left_as_it_is(config: Path) -> None:
    path = config.parent / "data" / "usage.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=0")
    connection.close()
    before = path.read_bytes()
    result = CliRunner().invoke(cli, ["usage", "--config", str(config)])
    assert (result.exit_code, path.read_bytes()) == (1, before)
    assert "start the daemon once" in result.output


def test_bars_are_as_long_as_their_share_and_nothing_vanishes() -> None:
    assert [len(bar(value, 1000, 24)) for value in (0, 1, 500, 1000)] == [0, 1, 12, 24]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_190_000_000, "1.19B"),
        (7_163_689_393_000, "7164B"),
    ],
)
def test_numbers_are_shortened_without_becoming_others(number: int, text: str) -> None:
    assert short(number) == text


def row(name: str, **sums: int) -> dict[str, Any]:
    given = {
        "requests": 43_951,
        "attempts": 43_951,
        "failed": 1_293,
        "total_tokens": 1_198_325_740,
        "cache_read_tokens": 1_099_799_763,
        "output_tokens": 32_900_059,
        "cost_nanos": 1_234_567_890_000,
        "priced": 42_658,
        "unpriced_tokens": 0,
    }
    return {"name": name, **given, **sums}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_names_move_nothing_and_steer_no_terminal(width: int) -> None:
    rows = [row("made\nup\x1b[31m\x1b]0;title\x07"), row("模型" * 20), row("short")]
    table = usage_table(rows, "model", width)
    assert {cell_len(line.rstrip()) <= width for line in table.lines} == {True}
    assert not {"\n", "\x1b", "\x07"} & set("".join(table.lines))
    columns = [cell_len(line[: line.index("43,951" if "43,951" in line else "44.0k")]) for line in table.lines]
    assert len(set(columns)) == 1, "numbers stand below one another"


@pytest.mark.parametrize("retried", [0, 5])
@pytest.mark.parametrize("width", [60, 80, 100, 120, 400])
def test_a_table_is_never_wider_than_the_terminal(width: int, retried: int) -> None:
    rows = [
        row("a.name.as.long.as@an.account.example.org"),
        row("short", total_tokens=5, attempts=43_951 + retried, priced=42_658 + retried),
    ]
    table = usage_table(rows, "account", width)
    lines = [table.heading, *table.lines, table.total]
    assert max(len(line.rstrip()) for line in lines) <= width
    assert ("ATTEMPTS" in table.heading) == bool(retried and width > 60)
    assert all("$1,234.57" in line for line in table.lines)
    if width >= 120:
        assert "a.name.as.long.as@an.account.example.org" in table.lines[0]
        assert "█" in table.lines[0]
    if width == 400:
        assert "1,198,325,740" in table.lines[0]
    assert not table.unpriced


@pytest.mark.parametrize(
    ("sums", "text", "unpriced"),
    [
        ({"priced": 0, "cost_nanos": 0, "unpriced_tokens": 1_198_325_740}, " -", "100%"),
        ({"priced": 10, "unpriced_tokens": 119_832_574}, "$1,234.57+", "10%"),
        ({"priced": 10, "unpriced_tokens": 5}, "$1,234.57+", "<1%"),
        ({"priced": 10}, "$1,234.57", ""),
        ({"cost_nanos": 0}, "$0.00", ""),
        ({"cost_nanos": 1_200_000}, "$0.0012", ""),
    ],
)
def test_a_missing_price_is_not_zero(sums: dict[str, int], text: str, unpriced: str) -> None:
    table = usage_table([row("m", **sums)], "model", 80)
    assert table.total.endswith(text)
    assert table.unpriced == unpriced
