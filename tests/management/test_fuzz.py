"""Requests made from the OpenAPI description, right ones and wrong ones: none makes the daemon fail.

``CPA_FUZZ_EXAMPLES`` sets how many requests of each kind every route gets.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, Phase, given, seed, settings
from msgspec import Struct, field
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.management.conftest import ENDLESS, Managed, Start
from tests.management.price_server import price_server

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import Consenting, login_settings

EXAMPLES = int(os.environ.get("CPA_FUZZ_EXAMPLES", "2"))
PASSWORD = "local-password"
HEADERS = {"Authorization": f"Bearer {PASSWORD}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SEEDED = """\
logging-to-file: true
api-keys: [k1, k2]
claude-api-key:
  # first
  - {api-key: sk-one, base-url: 'https://claude.example'}
  - {api-key: sk-two}
openai-compatibility:
  - {name: local, base-url: 'http://127.0.0.1:9/v1', api-key-entries: [{api-key: k}], models: [{name: m}]}
"""


class Sent(Struct):
    """What was tried and what came of it."""

    requests: int = 0
    operations: int = 0
    done: set[str] = field(default_factory=set)
    """Operations that were carried out at least once."""
    unwelcome: list[str] = field(default_factory=list)
    """Operations that were refused for want of a key."""


def attack(document: dict[str, Any], url: str, configuration: bytes) -> Sent:
    """Send what is made from the description; the configuration is put back after every operation."""
    schema = schemathesis.openapi.from_dict(document)
    sent = Sent()
    for result in schema.get_all_operations():
        operation = result.ok()
        sent.operations += 1
        if operation.path.endswith(ENDLESS):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try_operation(operation, mode, url, sent)
        if operation.method != "get":
            requests.put(f"{url}/v0/management/config.yaml", configuration, headers=HEADERS, timeout=20)
    return sent


def try_operation(operation: Any, mode: GenerationMode, url: str, sent: Sent) -> None:
    """Some requests for one operation, right or wrong ones."""

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        sent.requests += 1
        if mode is GenerationMode.POSITIVE:
            case.headers.pop("If-Match", None)
        response = case.call(base_url=url, headers=HEADERS, timeout=20, allow_redirects=False)
        case.validate_response(response, checks=CHECKS)
        if response.status_code < 300:
            sent.done.add(f"{operation.method} {operation.path}")
        elif response.status_code == 401:
            sent.unwelcome.append(operation.path)

    send()


async def test_no_request_makes_the_daemon_fail(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route is tried, with the key, also those that change things; answers are what the description says."""
    monkeypatch.setenv("HOME", str(tmp_path))
    vendors = TestServer(Consenting().app, host="127.0.0.1")  # logins are begun there, nowhere else
    await vendors.start_server()
    ports = dict.fromkeys(("claude", "codex", "gemini"), 0)
    plugins = {"plugins": {"configs": login_settings(str(vendors.make_url("")).rstrip("/"), ports)}}
    async with price_server() as prices:
        daemon: Managed = await start(SEEDED + prices.config + yaml.safe_dump(plugins), local_password=PASSWORD)
        document = (await daemon.call("GET", "/openapi.json", key=PASSWORD)).json
        operations = sum(map(len, document["paths"].values()))
        sent = await asyncio.to_thread(attack, document, daemon.url, daemon.path.read_bytes())
    assert sent.operations == operations
    assert sent.requests >= 2 * operations
    assert not sent.unwelcome
    assert len(sent.done) > 0.7 * operations, sorted(sent.done)
    assert (await daemon.call("GET", "/config", key=PASSWORD)).status == 200
    await vendors.close()
