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
import schemathesis
import yaml
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from tests.management.conftest import Managed, Start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import Consenting, login_settings

EXAMPLES = int(os.environ.get("CPA_FUZZ_EXAMPLES", "4"))
PASSWORD = "local-password"
CHECKS = [not_a_server_error]
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


def attack(document: dict[str, Any], url: str) -> int:
    """Send what is made from the description; how many requests."""
    schema = schemathesis.openapi.from_dict(document)
    sent = 0

    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

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
                nonlocal sent
                sent += 1
                headers = {"Authorization": f"Bearer {PASSWORD}"}
                response = case.call(base_url=url, headers=headers, timeout=20, allow_redirects=False)
                case.validate_response(response, checks=CHECKS)

            try:
                send()
            except schemathesis.errors.InvalidSchema:
                raise
    return sent


async def test_no_request_makes_the_daemon_fail(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    vendors = TestServer(Consenting().app, host="127.0.0.1")  # logins are begun there, nowhere else
    await vendors.start_server()
    ports = dict.fromkeys(("claude", "codex", "gemini"), 0)
    plugins = {"plugins": {"configs": login_settings(str(vendors.make_url("")).rstrip("/"), ports)}}
    daemon: Managed = await start(SEEDED + yaml.safe_dump(plugins), local_password=PASSWORD)
    document = (await daemon.call("GET", "/openapi.json", key=PASSWORD)).json
    operations = sum(map(len, document["paths"].values()))
    sent = await asyncio.to_thread(attack, document, daemon.url)
    assert sent >= operations
    assert (await daemon.call("GET", "/config", key=PASSWORD)).status == 200
    await vendors.close()
