"""An unmodified web panel at work: its calls in its order, with its headers, and every member that it reads.

The panel is a page of the daemon's own origin. It signs in with the management key, keeps it in the page, and sends it
as a Bearer token. What it writes it has read a moment before.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from cpa.logs.files import MAIN
from tests.management.conftest import KEY, Answer, Managed, Start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import Consenting, login_settings

MODELS = {"object": "list", "data": [{"id": "up-model", "object": "model"}]}
REPLY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "up-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
CONFIG = """\
# before the panel
debug: false   # noise
logging-to-file: true
usage-statistics-enabled: true
api-keys:
  - client-one   # laptop
  - client-two
gemini-api-key:
  - api-key: g-one
    base-url: {url}
    test-model: kept   # the panel's own
    models:
      - name: up-model
        alias: shown
        thinking: {{levels: [low]}}
claude-api-key:
  - {{api-key: c-one, base-url: '{url}'}}
  - {{api-key: c-one, base-url: '{url}/two'}}
openai-compatibility:
  - name: up
    base-url: {url}
    api-key-entries: [{{api-key: o-one}}]
    models: [{{name: up-model, alias: local}}, {{name: painter, image: true}}]
oauth-excluded-models:
  claude: [claude-opus-*]
# after the panel
"""


class Panel:
    """The page: what it sends, and how it reads errors."""

    def __init__(self, daemon: Managed) -> None:
        self.daemon = daemon
        self.key = KEY

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """One call; a page of the same origin names its origin when it writes."""
        headers = {"Accept": "application/json, text/plain, */*", "Sec_Fetch_Site": "same-origin"}
        if method != "GET":
            headers["Origin"] = self.daemon.url
        if body is not None:
            headers["Content_Type"] = "application/json"
        return await self.daemon.call(method, path, body, key=self.key, **headers, **more)

    async def get(self, path: str) -> Any:
        """What is read of a route that must answer."""
        answer = await self.call("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json

    async def write(self, method: str, path: str, body: Any = None) -> Any:
        """A write that must be done."""
        answer = await self.call(method, path, body)
        assert answer.status == 200, (method, path, answer)
        return answer.json

    async def upload(self, **files: dict[str, Any]) -> Answer:
        """Files as a form, field ``file`` repeated."""
        form = aiohttp.FormData()
        for name, data in files.items():
            form.add_field("file", orjson.dumps(data), filename=f"{name}.json", content_type="application/json")
        return await self.call("POST", "/auth-files", data=form)

    @staticmethod
    def error_text(answer: Answer) -> str:
        """``message``, else ``error.message``, else ``error``."""
        body = answer.json
        error = body.get("error")
        return str(body.get("message") or (error.get("message") if isinstance(error, dict) else None) or error)


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """A provider that lists models and answers."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer o-one":
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        return web.json_response(MODELS if request.method == "GET" else REPLY)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


@pytest.fixture
async def panel(start: Start, upstream: str) -> AsyncIterator[Panel]:
    vendors = TestServer(Consenting().app, host="127.0.0.1")
    await vendors.start_server()
    ports = dict.fromkeys(("claude", "codex", "gemini"), 0)
    plugins = {"plugins": {"configs": login_settings(str(vendors.make_url("")).rstrip("/"), ports)}}
    daemon: Managed = await start(CONFIG.format(url=upstream) + yaml.safe_dump(plugins))
    yield Panel(daemon)
    await vendors.close()


async def test_signing_in_and_the_first_page(panel: Panel) -> None:
    panel.key = "wrong"
    refused = await panel.call("GET", "/config")
    assert (refused.status, panel.error_text(refused)) == (401, "invalid management key")
    panel.key = KEY
    answer = await panel.call("GET", "/config")
    assert answer.headers["X-CPA-VERSION"]
    assert answer.headers["X-CPA-BUILD-DATE"]
    config = answer.json
    for name in (
        *("debug", "proxy-url", "request-retry", "quota-exceeded", "request-log", "logging-to-file", "ws-auth"),
        *("logs-max-total-size-mb", "force-model-prefix", "routing", "api-keys", "gemini-api-key", "claude-api-key"),
        *("codex-api-key", "vertex-api-key", "openai-compatibility", "oauth-excluded-models"),
    ):
        assert name in config, name
    assert config["routing"]["strategy"] == "round-robin"
    assert set(config["quota-exceeded"]) >= {"switch-project", "switch-preview-model"}
    assert len(config["claude-api-key"][0]["auth-index"]) == 16
    assert (await panel.get("/latest-version"))["latest-version"]
    for optional in ("/plugins", "/plugin-store", "/interactions-api-key", "/xai-api-key"):
        assert (await panel.call("GET", optional)).status in (200, 404), optional
    async with panel.daemon.session.get(
        f"{panel.daemon.url}/v1/models", headers={"Authorization": f"Bearer {config['api-keys'][0]}"}
    ) as models:
        assert {"shown", "local"} <= {model["id"] for model in (await models.json())["data"]}


async def test_providers_are_read_changed_and_written_back_whole(panel: Panel) -> None:
    before = panel.daemon.file
    config = await panel.get("/config")
    entry = config["gemini-api-key"][0]
    assert (entry["test-model"], entry["models"][0]["thinking"]) == ("kept", {"levels": ["low"]})
    changed = {**entry, "prefix": "team", "priority": 3, "headers": {"X-Team": "a"}, "excluded-models": ["*"]}
    sent = [{name: value for name, value in changed.items() if name != "auth-index"}]
    await panel.write("PUT", "/gemini-api-key", sent)
    now = (await panel.get("/config"))["gemini-api-key"][0]
    assert {**now, "auth-index": ""} == {**changed, "auth-index": ""}
    await panel.write("PUT", "/gemini-api-key", [{k: v for k, v in entry.items() if k != "auth-index"}])
    assert panel.daemon.file == before
    await panel.write("PUT", "/codex-api-key", [{"api-key": "x", "base-url": "https://codex.example", "models": []}])
    base = (await panel.get("/claude-api-key"))["claude-api-key"][1]["base-url"]
    await panel.write("DELETE", f"/claude-api-key?api-key=c-one&base-url={base}")
    assert len((await panel.get("/claude-api-key"))["claude-api-key"]) == 1
    gone = await panel.call("DELETE", f"/claude-api-key?api-key=c-one&base-url={base}")
    assert (gone.status, panel.error_text(gone)) == (404, "item not found")
    await panel.write(
        "PUT", "/vertex-api-key", [{"api-key": "v", "base-url": "", "models": [{"name": "m", "alias": "a"}]}]
    )
    assert (await panel.get("/vertex-api-key"))["vertex-api-key"][0]["auth-index"]
    await panel.write("DELETE", "/vertex-api-key?api-key=v&base-url=")
    assert (await panel.get("/vertex-api-key"))["vertex-api-key"] == []


async def test_compatible_providers_are_switched_changed_and_removed(panel: Panel) -> None:
    shown = (await panel.get("/openai-compatibility"))["openai-compatibility"][0]
    assert shown["api-key-entries"][0]["auth-index"]
    assert shown["models"][1]["image"] is True
    await panel.write("PATCH", "/openai-compatibility", {"index": 0, "value": {"disabled": True}})
    assert (await panel.get("/openai-compatibility"))["openai-compatibility"][0]["disabled"] is True
    await panel.write("PATCH", "/openai-compatibility", {"index": 0, "value": {"disabled": False}})
    added = {"name": "more", "base-url": "https://more.example/v1", "api-key-entries": [{"api-key": "k"}], "models": []}
    keys = [{name: value for name, value in key.items() if name != "auth-index"} for key in shown["api-key-entries"]]
    await panel.write("PUT", "/openai-compatibility", [{**shown, "api-key-entries": keys, "test-model": "m"}, added])
    now = (await panel.get("/openai-compatibility"))["openai-compatibility"]
    assert [entry["name"] for entry in now] == ["up", "more"]
    assert now[0]["test-model"] == "m"
    await panel.write("DELETE", "/openai-compatibility?index=1")
    await panel.write("DELETE", "/openai-compatibility?name=up")
    assert (await panel.get("/openai-compatibility"))["openai-compatibility"] == []


async def test_models_are_discovered_and_a_provider_is_tried(panel: Panel, upstream: str) -> None:
    index = (await panel.get("/openai-compatibility"))["openai-compatibility"][0]["api-key-entries"][0]["auth-index"]
    header = {"Authorization": "Bearer $TOKEN$"}
    asked = {"authIndex": index, "method": "GET", "url": f"{upstream}/models", "header": header}
    told = await panel.write("POST", "/api-call", asked)
    assert (told["status_code"], orjson.loads(told["body"])) == (200, MODELS)
    assert told["header"]["Content-Type"]
    body = orjson.dumps({"model": "up-model", "messages": [{"role": "user", "content": "hi"}]}).decode()
    asked |= {"method": "POST", "url": f"{upstream}/chat/completions", "data": body}
    assert orjson.loads((await panel.write("POST", "/api-call", asked))["body"])["choices"]
    async with panel.daemon.session.post(
        f"{panel.daemon.url}/v1/chat/completions",
        json={"model": "local", "messages": [{"role": "user", "content": "hi"}]},
        headers={"Authorization": "Bearer client-one"},
    ) as answer:
        assert answer.status == 200, await answer.text()
    usage = await panel.get("/api-key-usage")
    counted = next(keys for keys in usage.values() if f"{upstream}|o-one" in keys)[f"{upstream}|o-one"]
    assert (counted["success"], counted["failed"], len(counted["recent_requests"])) == (1, 0, 20)
    events = await panel.get("/usage/events?page=1&page_size=100")
    assert (events["total_count"], events["events"][0]["failed"]) == (1, False)
    assert set(events["events"][0]["tokens"]) >= {"input_tokens", "output_tokens", "total_tokens"}
    usage = (await panel.get("/usage"))["usage"]
    assert (usage["total_requests"], usage["success_count"], usage["total_tokens"]) == (1, 1, 3)
    assert (await panel.get("/usage/events/filters"))["models"]
    exported = await panel.get("/usage/export")
    assert (await panel.write("POST", "/usage/import", exported))["skipped"] == 1


async def test_the_configuration_is_edited_as_text(panel: Panel) -> None:
    text = (await panel.call("GET", "/config.yaml")).text
    edited = text.replace("debug: false   # noise", "debug: true   # noise")
    assert (await panel.call("GET", "/config.yaml")).text == text  # read again before it is saved
    answer = await panel.call("PUT", "/config.yaml", data=edited.encode())
    assert answer.json == {"ok": True, "changed": ["config"]}
    assert (await panel.call("GET", "/config.yaml")).text == edited
    assert (await panel.get("/config"))["debug"] is True
    wrong = await panel.call("PUT", "/config.yaml", data=b"port: many\n")
    assert wrong.status == 422
    assert panel.error_text(wrong) == "line 1: port: expected a whole number"
    await panel.write("PUT", "/request-log", {"value": True})
    assert (await panel.get("/config"))["request-log"] is True


async def test_client_keys_are_edited(panel: Panel) -> None:
    assert await panel.get("/api-keys") == {"api-keys": ["client-one", "client-two"]}
    await panel.write("PATCH", "/api-keys", {"index": 1, "value": "client-2"})
    await panel.write("PUT", "/api-keys", ["client-one", "client-2", "client-3"])
    await panel.write("DELETE", "/api-keys?index=0")
    assert (await panel.get("/api-keys"))["api-keys"] == ["client-2", "client-3"]


LOGIN = {"type": "claude", "access_token": "t", "email": "a@b.c", "expired": "2099-01-01T00:00:00Z"}


async def test_logins_are_uploaded_shown_edited_and_deleted(panel: Panel) -> None:
    assert (await panel.upload(one=LOGIN)).json == {"status": "ok"}
    several = (await panel.upload(two={**LOGIN, "email": "d@e.f"}, three={**LOGIN, "email": "g@h.i"})).json
    assert (several["status"], several["uploaded"], sorted(several["files"])) == ("ok", 2, ["three.json", "two.json"])
    files = (await panel.get("/auth-files"))["files"]
    assert [entry["name"] for entry in files] == ["one.json", "three.json", "two.json"]
    first = files[0]
    for name in (
        *("id", "auth_index", "name", "type", "provider", "label", "status", "status_message", "disabled", "email"),
        *("unavailable", "runtime_only", "source", "size", "success", "failed", "recent_requests", "modtime", "path"),
        *("prefix", "proxy_url", "websockets", "disable_cooling", "excluded_models", "updated_at"),
    ):
        assert name in first, name
    assert len(first["recent_requests"]) == 20
    assert (await panel.get("/auth-files/models?name=one.json"))["models"][0]["id"]
    await panel.write("PATCH", "/auth-files/status", {"name": "one.json", "disabled": True})
    edits = {"prefix": "p", "proxy_url": "direct", "priority": 2, "weight": 3, "note": "n", "using_api": True}
    lists = {"excluded-models": ["a"], "disable-cooling": True, "headers": {"X-A": "1"}, "websockets": False}
    await panel.write("PATCH", "/auth-files/fields", {"name": "one.json", **edits, **lists})
    stored = orjson.loads((await panel.call("GET", "/auth-files/download?name=one.json")).body)
    assert stored["disabled"] is True
    assert stored.items() >= {**edits, "headers": {"X-A": "1"}, "excluded_models": ["a"]}.items()
    first = (await panel.get("/auth-files"))["files"][0]
    assert (first["status"], first["priority"], first["weight"], first["note"]) == ("disabled", 2, 3, "n")
    await panel.write("PATCH", "/auth-files/fields", {"name": "one.json", "expired": "2020-01-01T00:00:00Z"})
    gone = await panel.write("DELETE", "/auth-files", {"names": ["one.json", "two.json"]})
    assert (gone["deleted"], sorted(gone["files"])) == (2, ["one.json", "two.json"])
    assert (await panel.write("DELETE", "/auth-files?all=true"))["deleted"] == 1
    assert (await panel.get("/auth-files"))["files"] == []


async def test_what_logins_offer_is_edited(panel: Panel) -> None:
    for channel in ("claude", "gemini", "vertex", "gemini-cli", "aistudio", "codex", "kimi", "antigravity"):
        models = (await panel.get(f"/model-definitions/{channel}"))["models"]
        assert all(model["id"] and "owned_by" in model and "type" in model for model in models), channel
    assert (await panel.get("/oauth-excluded-models")) == {"oauth-excluded-models": {"claude": ["claude-opus-*"]}}
    await panel.write("PATCH", "/oauth-excluded-models", {"provider": "codex", "models": ["gpt-5.4"]})
    await panel.write("DELETE", "/oauth-excluded-models?provider=codex")
    await panel.write("PUT", "/oauth-excluded-models", {"claude": ["a"]})
    aliases = [{"name": "gpt-5.4", "alias": "five", "fork": True}]
    await panel.write("PATCH", "/oauth-model-alias", {"channel": "codex", "aliases": aliases})
    assert (await panel.get("/oauth-model-alias"))["oauth-model-alias"] == {"codex": aliases}
    await panel.write("PATCH", "/oauth-model-alias", {"channel": "codex", "aliases": []})
    assert (await panel.get("/oauth-model-alias"))["oauth-model-alias"] == {}


@pytest.mark.parametrize("vendor", ["codex", "anthropic", "kimi"])
async def test_a_login_is_begun_watched_and_pasted(panel: Panel, vendor: str) -> None:
    begun = await panel.get(f"/{vendor}-auth-url" + ("" if vendor == "kimi" else "?is_webui=true"))
    assert (begun["status"], begun["url"][:4]) == ("ok", "http")
    assert (await panel.get(f"/get-auth-status?state={begun['state']}"))["status"] == "wait"
    pasted = await panel.call(
        "POST",
        "/oauth-callback",
        {"provider": vendor, "redirect_url": "http://localhost:1455/auth/callback?code=c&state=no"},
    )
    assert pasted.status in (400, 404)
    assert panel.error_text(pasted)
    await panel.write("DELETE", f"/oauth-session?state={begun['state']}")
    assert (await panel.get("/get-auth-status?state=unknown"))["status"] == "error"


LINE = '[2026-01-31 20:14:04] [a1b2c3d4] [info ] [file.py:12] 200 |  23.559s |  127.0.0.1 | POST    "/v1/messages"\n'


async def test_logs_are_followed_and_cleared(panel: Panel) -> None:
    folder = panel.daemon.daemon.log_files.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MAIN).write_text(LINE)
    first = await panel.get("/logs?limit=10000")
    assert set(first) >= {"lines", "line-count", "latest-timestamp", "next-cursor"}
    assert first["lines"] == [LINE.strip()]
    with (folder / MAIN).open("a") as stream:
        stream.write(LINE.replace("200 |", "500 |"))
    later = await panel.get(f"/logs?limit=10000&cursor={first['next-cursor']}")
    assert later["lines"] == [LINE.replace("200 |", "500 |").strip()]
    assert len((await panel.get(f"/logs?limit=10000&after={first['latest-timestamp'] - 1}"))["lines"]) == 2
    assert (await panel.write("DELETE", "/logs"))["success"] is True
    await panel.write("PUT", "/logging-to-file", {"value": False})
    off = await panel.call("GET", "/logs?limit=10000")
    assert (off.status, panel.error_text(off)) == (400, "logging to file disabled")


RULE = {"name": "brief", "enabled": True, "models": [], "target": "system", "action": "inject", "content": "Be brief."}


async def test_what_the_forks_panel_adds(panel: Panel) -> None:
    await panel.write("PUT", "/prompt-rules", [RULE])
    (shown,) = (await panel.get("/prompt-rules"))["prompt-rules"]
    assert shown == {**RULE, "marker": "", "position": "append", "pattern": ""}
    await panel.write("PATCH", "/prompt-rules", {"index": 0, "value": {**shown, "enabled": False}})
    wrong = await panel.call("PATCH", "/prompt-rules", {"index": 0, "value": {**shown, "action": "shout"}})
    assert (wrong.status, wrong.json["index"]) == (400, 0)
    await panel.write("DELETE", "/prompt-rules?name=brief")
    routes = [{"alias": "any", "strategy": "priority", "cooldown-seconds": 5, "models": ["local"]}]
    stored = await panel.write("PUT", "/model-routes", routes)
    assert stored["ok"] is True
    assert stored["model-routes"][0].items() >= routes[0].items()
    refused = await panel.call("PUT", "/model-routes", [{"models": []}])
    assert (refused.status, refused.json["error"]) == (400, "invalid_model_routes")
    assert refused.json["message"]
    assert (await panel.call("PUT", "/model-routes", data=b"{")).json["error"] == "invalid_json"
    assert (await panel.write("PUT", "/model-routes", []))["model-routes"] == []
    await panel.write("PUT", "/ampcode/upstream-url", {"value": "https://amp.example"})
    await panel.write("PUT", "/ampcode/model-mappings", {"value": [{"from": "a", "to": "b"}]})
    await panel.write("PATCH", "/ampcode/upstream-api-keys", {"value": [{"upstream-api-key": "u", "api-keys": ["c"]}]})
    amp = (await panel.get("/ampcode"))["ampcode"]
    assert (amp["upstream-url"], amp["model-mappings"][0]["from"]) == ("https://amp.example", "a")
    for path in ("/force-model-prefix", "/routing/strategy", "/debug"):
        assert await panel.get(path)
    await panel.write("DELETE", "/proxy-url")


async def test_a_whole_session_leaves_what_it_was_not_about(panel: Panel) -> None:
    """Everything around what was edited is still there, comments too."""
    await panel.write("PUT", "/debug", {"value": True})
    await panel.write("PATCH", "/api-keys", {"index": 0, "value": "client-1"})
    await panel.write("PUT", "/oauth-excluded-models", {})
    text = panel.daemon.file
    for line in (
        "# before the panel",
        "debug: true   # noise",
        "- client-1   # laptop",
        "test-model: kept   # the panel's",
    ):
        assert line in text
    assert "# after the panel" in text
