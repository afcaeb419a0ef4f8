"""Who makes the images of the images routes, and with which model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from oauth_daemon import KEY, auth_file, daemon_over, vendors
from oauth_upstream import jwt

from cpa.daemon import Daemon
from cpa.formats.openai_response.images import generation_request

FREE = {"id_token": jwt({"https://api.openai.com/auth": {"chatgpt_plan_type": "free"}})}


async def ask(daemon: Daemon) -> tuple[int, dict[str, Any]]:
    url = f"http://{daemon.addresses[0]}/v1/images/generations"
    body, headers = {"model": "gpt-image-2", "prompt": "a cat"}, {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_free_login_makes_no_images_and_another_does(tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        logins = [upstream.provider.login("codex", f"u{number}") for number in range(2)]
        files = {"0.json": {**auth_file(logins[0]), **FREE}, "1.json": auth_file(logins[1])}
        async with daemon_over(
            tmp_path, url, files, routing={"strategy": "fill-first"}, **{"gpt-image-2-base-model": "gpt-5.5"}
        ) as daemon:
            await ask(daemon)
            [seen] = upstream.seen
            assert seen.headers["authorization"] == f"Bearer {logins[1].access}"
            assert (seen.body["model"], seen.body["tools"][0]["model"]) == ("gpt-5.5", "gpt-image-2")


async def test_without_any_login_that_makes_images_that_is_said(tmp_path: Path) -> None:
    with vendors() as (upstream, url):
        login = upstream.provider.login("codex", "u")
        async with daemon_over(tmp_path, url, {"a.json": {**auth_file(login), **FREE}}) as daemon:
            status, body = await ask(daemon)
            assert (status, body["error"]["message"]) == (501, "image generation not supported")
            assert upstream.seen == []


@pytest.mark.parametrize(("setting", "model"), [("gpt-5.5", "gpt-5.5"), ("claude-x", "gpt-5.4-mini")])
def test_only_a_gpt_model_carries_images(setting: str, model: str) -> None:
    assert generation_request({"model": "p/gpt-image-2", "prompt": "a"}, setting)["model"] == f"p/{model}"
