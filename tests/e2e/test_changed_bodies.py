"""What operators change in a body still fits what the upstream takes."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from oauth_daemon import KEY, auth_file, daemon_over, vendors


async def test_a_tool_that_a_rule_forces_goes_without_thinking(tmp_path: Path) -> None:
    rule = {"models": [{"name": "claude-*"}], "params": {"tool_choice.type": "any"}}
    body = {
        "model": "claude-sonnet-4-5-20250929",
        "max_tokens": 5000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "hi"}],
    }
    with vendors() as (upstream, url):
        files = {"a.json": auth_file(upstream.provider.login("claude", "u"))}
        async with daemon_over(tmp_path, url, files, payload={"override": [rule]}) as daemon:
            address, headers = f"http://{daemon.addresses[0]}/v1/messages", {"Authorization": f"Bearer {KEY}"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(address, json=body, headers=headers) as answer,
            ):
                assert answer.status == 200, await answer.text()
    [seen] = upstream.seen
    assert seen.body["tool_choice"] == {"type": "any"}
    assert "thinking" not in seen.body
