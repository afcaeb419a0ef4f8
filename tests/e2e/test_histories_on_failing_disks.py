"""A disk that fails while every request is kept: answers go on, what is missing is told, and it ends by itself."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_model import FakeModel
from histories import MANAGEMENT_KEY
from running import KEY, RunningDaemon, Upstream, base_config, free_port

from cpa.cli.main import cli
from tests.usage.failing_disk import FailingDisk

FOR_EVER = 1 << 40
BURST = 330
"""Requests: more than may wait."""


@pytest.fixture
def disk(tmp_path: Path) -> FailingDisk:
    return FailingDisk(tmp_path, "/usage.sqlite")


@pytest.fixture
def daemon(fake_model: tuple[FakeModel, Upstream], tmp_path: Path, disk: FailingDisk) -> Iterator[RunningDaemon]:
    config = base_config(fake_model[1].url, tmp_path, free_port())
    config |= {"request-log": True, "metrics": {"enable": True}, "remote-management": {"secret-key": MANAGEMENT_KEY}}
    running = RunningDaemon(config, tmp_path, {**disk.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    yield running
    assert running.stop() == 0


def ask(daemon: RunningDaemon, number: int) -> None:
    body = json.dumps({"model": "oc", "messages": [{"role": "user", "content": f"number {number}"}]}).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", "X-Request-Id": f"r{number}"}
    request = urllib.request.Request(daemon.url + "/v1/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert f"number {number}".encode() in answer.read()


def read(daemon: RunningDaemon, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {MANAGEMENT_KEY}"}
    with urllib.request.urlopen(urllib.request.Request(daemon.url + path, headers=headers), timeout=10) as answer:
        return bytes(answer.read())


def state(daemon: RunningDaemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read(daemon, "/v0/management/usage/status"))["histories"]
    return found


def kept(daemon: RunningDaemon) -> set[str]:
    rows = json.loads(read(daemon, "/v0/management/request-histories?limit=1000"))["requests"]
    return {row["request_id"] for row in rows}


def wait_for(daemon: RunningDaemon, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end = time.monotonic() + 25
    while not wanted(found := state(daemon)):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def listed(daemon: RunningDaemon) -> Result:
    """``cpa requests`` beside the daemon."""
    environ = {"XDG_RUNTIME_DIR": str(daemon.directory)}
    return CliRunner().invoke(cli, ["requests", "--config", str(daemon.config_path)], env=environ)


@pytest.mark.parametrize(("error", "words"), [(28, "full"), (30, "readonly|disk I/O error|unable to open")])
def test_answers_go_on_and_histories_are_stored_once_the_disk_works(
    daemon: RunningDaemon, disk: FailingDisk, tmp_path: Path, error: int, words: str
) -> None:
    ask(daemon, 0)
    assert wait_for(daemon, lambda found: found["written"] == 1)["reason"] == ""
    disk.fail(1, FOR_EVER, error)
    for number in range(1, 6):
        ask(daemon, number)
    failing = wait_for(daemon, lambda found: bool(found["reason"]))
    assert re.search(words, failing["reason"])
    assert (failing["waiting"], failing["dropped"]) == (5, 0)
    assert 'cpa_usage_queue_depth{queue="histories"} 5.0' in read(daemon, "/metrics").decode()
    shown = listed(daemon)
    assert "request histories cannot be" in shown.stderr
    assert "; 5 wait in memory" in shown.stderr
    disk.fail(1, 0)
    wait_for(daemon, lambda found: not found["reason"] and found["written"] == 6)
    assert kept(daemon) == {f"r{number}" for number in range(6)}
    assert b"number 3" in read(daemon, "/v0/management/request-log-by-id/r3")
    assert listed(daemon).stderr == ""
    output = daemon.output()
    assert output.count("request histories cannot be stored") == 1
    assert output.count("request histories are stored again") == 1


def test_what_is_too_much_to_wait_is_lost_counted_and_told(daemon: RunningDaemon, disk: FailingDisk) -> None:
    ask(daemon, 0)
    wait_for(daemon, lambda found: found["written"] == 1)
    disk.fail(1, FOR_EVER, 28)
    ask(daemon, 1)
    wait_for(daemon, lambda found: bool(found["reason"]))
    for number in range(2, BURST):
        ask(daemon, number)
    failing = wait_for(daemon, lambda found: found["waiting"] + found["dropped"] == BURST - 1)
    assert failing["waiting"] <= 256 + 1
    lost = f'cpa_usage_dropped_total{{queue="histories"}} {failing["dropped"]}.0'
    assert lost in read(daemon, "/metrics").decode()
    disk.fail(1, 0)
    wait_for(daemon, lambda found: not found["reason"] and not found["waiting"])
    assert len(kept(daemon)) == BURST - failing["dropped"]
    assert "were lost since the daemon started" in listed(daemon).stderr
    assert daemon.output().count("request histories are dropped") == 1
