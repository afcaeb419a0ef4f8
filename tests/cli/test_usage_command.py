"""``cpa usage`` over a database that was recorded before."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cpa.cli.main import cli
from cpa.cli.usage import bar
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
    assert "$1.50" in lines["gpt-5"]
    assert lines["=cmd()"][6] == "-"
    assert lines["total"][:4] == ["2", "3", "1", "90"]
    assert "$1.50+" in lines["total"]


@pytest.mark.parametrize(("days", "attempts"), [("30", 3), ("0", 4), ("60", 4)])
def test_days_say_how_far_back(config: Path, days: str, attempts: int) -> None:
    rows = json.loads(run(config, "--json", "--days", days))
    assert sum(row["attempts"] for row in rows) == attempts


@pytest.mark.parametrize(("by", "name"), [("account", "me@example.org"), ("key", "key-1"), ("provider", "codex")])
def test_programs_get_json_by_whatever_they_ask(config: Path, by: str, name: str) -> None:
    (row,) = json.loads(run(config, "--json", "--by", by))
    assert (row["name"], row["requests"], row["attempts"], row["cost_usd"]) == (name, 2, 3, 1.5)


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
    assert result.exit_code == 1
    assert "nothing was recorded yet" in result.output


def test_a_database_of_the_program_before_is_left_as_it_is(config: Path) -> None:
    path = config.parent / "data" / "usage.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=0")
    connection.close()
    before = path.read_bytes()
    result = CliRunner().invoke(cli, ["usage", "--config", str(config)])
    assert (result.exit_code, path.read_bytes()) == (1, before)
    assert "start the daemon once" in result.output


def test_bars_are_as_long_as_their_share() -> None:
    assert [len(bar(value, 100)) for value in (0, 50, 100)] == [0, 12, 24]
