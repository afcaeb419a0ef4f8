"""The page that Prometheus reads, in a running daemon."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from cpa.accounts.quota import QuotaWindow
from cpa.config import ConfigStore
from cpa.daemon import Daemon

CONFIG = """
host: 127.0.0.1
port: 0
auth-dir: {folder}/auth
usage-database-path: {folder}/data/usage.sqlite
api-keys: [secret-client-key]
metrics: {{enable: true, key: scrape}}
remote-management: {{secret-key: manage}}
prices: [{{model: demo, input: 1, output: 1}}]
usage-statistics-enabled: true
claude-api-key:
  - {{api-key: sk-secret-upstream-key, base-url: "http://127.0.0.1:9", models: [{{name: up, alias: dead}}]}}
"""
CLIENT = {"Authorization": "Bearer secret-client-key"}
SCRAPE = {"Authorization": "Bearer scrape"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    async with Daemon(ConfigStore(path, {}), {}) as running:
        yield running


async def ask(daemon: Daemon, model: str, *, stream: bool = False) -> int:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    url = f"http://{daemon.addresses[0]}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=CLIENT) as answer:
        await answer.read()
        return answer.status


async def page(daemon: Daemon, **headers: str) -> tuple[int, str, str]:
    url = f"http://{daemon.addresses[0]}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url, headers={**SCRAPE, **headers}) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


class Samples:
    """The samples of a page by name."""

    def __init__(self, text: str) -> None:
        self.all = [sample for family in parse(text) for sample in family.samples]
        self.names = {sample.name for sample in self.all}

    def value(self, name: str, **labels: str) -> float:
        """The sum over all series that have these labels."""
        return sum(
            sample.value for sample in self.all if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(sample.labels) for sample in self.all if sample.name == name]


async def samples(daemon: Daemon) -> Samples:
    status, _, text = await page(daemon)
    assert status == 200, text
    return Samples(text)


async def test_every_name_is_there(daemon: Daemon) -> None:
    await ask(daemon, "demo", stream=True)
    account = next(iter(daemon.pool))
    window = QuotaWindow(name="five_hour", used_ratio=0.25, resets_at=4e9, source="headers", seen_at=1.0)
    daemon.pool.note_quota(account.id, [window])
    daemon.pool.fail(account.id, "m", scope="model", reason="quota", seconds=60, message="no")
    await asyncio.sleep(0.3)
    names = (await samples(daemon)).names
    assert not any(name.endswith("_created") for name in names)
    counters = (
        "http_requests requests upstream_attempts tokens cost_usd config_reloads client_disconnects usage_dropped"
    )
    assert {f"cpa_{name}_total" for name in counters.split()} <= names
    gauges = (
        "build_info inflight_requests account_state accounts account_quota_ratio cooldowns_active usage_queue_depth "
        "account_quota_reset_timestamp_seconds config_last_success_timestamp_seconds usage_store_healthy"
    )
    assert {f"cpa_{name}" for name in gauges.split()} <= names
    histograms = "request_duration time_to_first_token overhead event_loop_lag"
    assert {f"cpa_{name}_seconds_count" for name in histograms.split()} <= names
    assert {"process_resident_memory_bytes", "process_open_fds", "python_gc_collections_total"} <= names


async def test_what_is_counted(daemon: Daemon) -> None:
    assert await ask(daemon, "demo") == 200
    assert await ask(daemon, "demo", stream=True) == 200
    assert await ask(daemon, "dead") == 502
    found = await samples(daemon)
    assert found.value("cpa_requests_total", dialect="openai", provider="demo", model="demo", outcome="success") == 2
    assert found.value("cpa_requests_total", stream="true") == 1
    assert found.value("cpa_requests_total", provider="claude", model="up", outcome="failed") == 1
    assert found.value("cpa_upstream_attempts_total", provider="claude", outcome="failed") == 1
    assert found.value("cpa_http_requests_total", route="/v1/chat/completions", code="200") == 2
    assert found.value("cpa_tokens_total", provider="demo", type="output") > 0
    spent = found.value("cpa_tokens_total", type="input") + found.value("cpa_tokens_total", type="output")
    assert found.value("cpa_cost_usd_total", model="demo") == pytest.approx(spent / 1e6)
    assert found.value("cpa_time_to_first_token_seconds_count", provider="demo") == 2
    assert found.value("cpa_overhead_seconds_count", dialect="openai") == 3
    assert found.value("cpa_inflight_requests") == 0
    assert found.value("cpa_accounts", provider="claude", state="cooling") == 1
    assert found.value("cpa_accounts", provider="demo", state="ready") == 1
    assert found.value("cpa_cooldowns_active", reason="network") == 1


async def test_a_client_that_leaves_is_counted_once(daemon: Daemon) -> None:
    body = {"model": "demo-slow", "stream": True, "messages": [{"role": "user", "content": "a long answer " * 20}]}
    url = f"http://{daemon.addresses[0]}/v1/chat/completions"
    async with aiohttp.ClientSession() as session:
        answer = await session.post(url, json=body, headers=CLIENT)
        await answer.content.readany()
        assert (await samples(daemon)).value("cpa_inflight_requests") == 1
        answer.close()
    for _ in range(100):
        found = await samples(daemon)
        if found.value("cpa_inflight_requests") == 0:
            break
        await asyncio.sleep(0.02)
    assert found.value("cpa_client_disconnects_total") == 1
    assert found.value("cpa_stream_aborts_total", side="client") == 1
    assert found.value("cpa_requests_total", outcome="cancelled") == 1


async def test_made_up_models_paths_and_headers_make_no_series(daemon: Daemon) -> None:
    await ask(daemon, "nobody-has-0")
    before = len((await samples(daemon)).all)
    async with aiohttp.ClientSession() as session:
        base = f"http://{daemon.addresses[0]}"
        for number in range(40):
            body = {"model": f"nobody-has-{number}", "messages": [{"role": "user", "content": "hi"}]}
            async with session.post(f"{base}/v1/chat/completions", json=body, headers=CLIENT) as answer:
                assert answer.status == 404
            async with session.get(f"{base}/made/up/{number}", headers=CLIENT) as answer:
                assert answer.status == 404
            path = f"/v1beta/models/nobody-has-{number}:generateContent"
            async with session.post(base + path, json={"contents": []}, headers=CLIENT) as answer:
                assert answer.status in (400, 404)
    found = await samples(daemon)
    # one series more for each new pair of route and status, and those of the Gemini dialect
    assert len(found.all) - before < 60
    assert not any("nobody-has" in value or "/made" in value for s in found.all for value in s.labels.values())
    assert {labels["model"] for labels in found.labels("cpa_requests_total")} == {"none"}


async def test_the_page_tells_no_secret(daemon: Daemon) -> None:
    await ask(daemon, "demo")
    await ask(daemon, "dead")
    _, _, text = await page(daemon)
    for secret in ("secret-client-key", "sk-secret-upstream-key", "sk-s", "scrape", "manage"):
        assert secret not in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer secret-client-key"}, 401),
        ({"Authorization": "Bearer scrape"}, 200),
        ({"Authorization": "Bearer manage"}, 200),
        ({"X-Management-Key": "manage"}, 200),
        ({"Authorization": "Bearer scrape", "Host": "evil.test"}, 421),
        ({"Authorization": "Bearer scrape", "Origin": "https://evil.test"}, 403),
    ],
)
async def test_who_may_read_it(daemon: Daemon, headers: dict[str, str], status: int) -> None:
    url = f"http://{daemon.addresses[0]}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == status


async def test_its_key_opens_nothing_else(daemon: Daemon) -> None:
    async with aiohttp.ClientSession() as session:
        base = f"http://{daemon.addresses[0]}"
        for path in ("/v0/management/config", "/v1/models"):
            async with session.get(base + path, headers=SCRAPE) as answer:
                assert answer.status == 401


async def test_guessing_locks_the_guesser_out(daemon: Daemon) -> None:
    url = f"http://{daemon.addresses[0]}/metrics"
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            async with session.get(url, headers={"Authorization": "Bearer guess"}) as answer:
                assert answer.status == 401
        async with session.get(url, headers=SCRAPE) as answer:
            assert answer.status == 403
            assert "banned" in (await answer.json())["error"]


async def test_openmetrics_for_who_asks_for_it(daemon: Daemon) -> None:
    await ask(daemon, "demo")
    status, kind, text = await page(daemon, Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert kind.startswith("application/openmetrics-text")
    assert "cpa_requests" in {family.name for family in parse_openmetrics(text)}


async def test_switched_on_and_off_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    off = CONFIG.format(folder=tmp_path).replace("enable: true", "enable: false")
    path.write_text(off)
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        assert (await page(daemon))[0] == 404
        await ask(daemon, "demo")
        path.write_text(off.replace("enable: false", "enable: true"))
        daemon.reload()
        await ask(daemon, "demo")
        found = await samples(daemon)
        assert found.value("cpa_requests_total") == 1
        assert found.value("cpa_config_reloads_total", result="success") >= 1
        assert found.value("cpa_config_reloads_total", result="failure") == 0
        path.write_text("port: none of your business\n")
        daemon.reload()
        assert (await samples(daemon)).value("cpa_config_reloads_total", result="failure") == 1
        path.write_text(off + "debug: false\n")
        daemon.reload()
        assert (await page(daemon))[0] == 404


async def test_without_any_key_it_stays_closed_and_says_how_to_open_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = CONFIG.format(folder=tmp_path).replace(", key: scrape", "").replace("{secret-key: manage}", "{}")
    path.write_text(text)
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        status, _, body = await page(daemon)
    assert status == 403
    assert "set metrics.key" in body


async def test_the_client_library_is_not_even_imported_while_metrics_are_off(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {tmp_path}/auth\n")
    program = f"""
import asyncio, sys
from pathlib import Path
from cpa.config import ConfigStore
from cpa.daemon import Daemon

async def main():
    async with Daemon(ConfigStore(Path({str(path)!r}), {{}}), {{}}):
        pass

asyncio.run(main())
print("prometheus_client" in sys.modules, "opentelemetry" in sys.modules)
"""
    process: Any = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "False False"
