"""``cpa login`` from the consent page to an answer through the running daemon, for every provider there is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from oauth_upstream import OAuthUpstream
from running import KEY, ROOT, RunningDaemon, Upstream, free_port

from cpa.cli.main import cli

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import Consenting, login_settings

MODELS = {"claude": "claude-sonnet-4-6", "codex": "gpt-5.5", "gemini": "gemini-2.5-pro", "kimi": "kimi-k2.6"}
PLUGINS = {"claude": "claude", "codex": "codex", "gemini": "gemini_cli", "kimi": "kimi"}
BROWSER = """#!{python}
import sys, urllib.request, urllib.error
with open({log!r}, "ab") as log:
    log.write(sys.argv[1].encode() + b"\\n")
    try:
        log.write(urllib.request.urlopen(sys.argv[1], timeout=30).read())
    except urllib.error.HTTPError as fault:
        log.write(fault.read())
"""


class World:
    """Vendors that can be logged in to, a daemon without any account, and a browser whose user agrees."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.provider = Consenting()
        self.vendors = OAuthUpstream(self.provider)
        self.vendors.add_to(self.provider.app)
        self.server = Upstream(self.provider.app)
        self.folder = directory / "auth"
        self.ports = {vendor: free_port() for vendor in ("claude", "codex", "gemini")}
        self.daemon = RunningDaemon(self._config(), directory)
        self.browser_log = directory / "browser.log"
        browser = directory / "browser"
        browser.write_text(BROWSER.format(python=sys.executable, log=str(self.browser_log)))
        browser.chmod(0o700)
        self.environ = {**os.environ, "BROWSER": f"{browser} %s &", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/plugins"}

    def _config(self) -> dict[str, Any]:
        settings = login_settings(self.server.url, self.ports)
        for vendor, plugin in PLUGINS.items():
            settings[plugin]["base-url"] = f"{self.server.url}/api/{vendor}"
        return {
            "host": "127.0.0.1",
            "port": free_port(),
            "auth-dir": str(self.folder),
            "api-keys": [KEY],
            "usage-database-path": str(self.directory / "usage.sqlite"),
            "plugins": {"configs": settings},
        }

    def cpa(self, *arguments: str, environ: dict[str, str] | None = None, typed: str = "") -> Any:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cpa", *arguments, "--config", str(self.daemon.config_path)],
            env={**self.environ, **(environ or {})},
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def login(self, *arguments: str) -> dict[str, Any]:
        """Log in, in this process; what is told to programs."""
        webbrowser._tryorder = None  # type: ignore[attr-defined]  # BROWSER is looked at once
        command = ["login", *arguments, "--json", "--config", str(self.daemon.config_path)]
        ran = CliRunner(env=self.environ).invoke(cli, command)
        assert ran.stdout, ran.output
        told: dict[str, Any] = orjson.loads(ran.stdout)
        assert (ran.exit_code, told["status"]) == (0, "ok"), ran.output
        return told

    def login_elsewhere(self, *arguments: str) -> dict[str, Any]:
        """Log in, in a process of its own."""
        ran = self.cpa("login", *arguments, "--json")
        told: dict[str, Any] = orjson.loads(ran.stdout)
        assert (ran.returncode, told["status"]) == (0, "ok"), ran
        return told

    def see(self, text: str) -> None:
        """Wait until the browser shows a text, which it may do a moment after the command has ended."""
        end = time.monotonic() + 10
        while text not in (shown := self.browser_log.read_text() if self.browser_log.exists() else ""):
            assert time.monotonic() < end, shown
            time.sleep(0.02)
        self.browser_log.unlink()

    def files(self) -> dict[str, dict[str, Any]]:
        return {path.name: orjson.loads(path.read_bytes()) for path in self.folder.glob("*.json")}

    def ask(self, vendor: str) -> tuple[int, bytes]:
        """One request through the daemon."""
        body = {"model": MODELS[vendor], "messages": [{"role": "user", "content": "hello"}]}
        request = urllib.request.Request(
            f"{self.daemon.url}/v1/chat/completions",
            data=orjson.dumps(body),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as fault:
            return fault.code, fault.read()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("login"))
    yield world
    assert world.daemon.stop() == 0, world.daemon.output()
    world.server.stop()


EXPECTED = {
    "claude": ("claude-a@b.c.json", {"email": "a@b.c", "account_uuid": "u-1", "organization_name": "Org"}),
    "codex": ("codex-a@b.c-plus.json", {"email": "a@b.c", "account_id": "acc"}),
    "gemini": ("gemini-a@b.c-p1.json", {"email": "a@b.c", "project_id": "p1", "checked": True}),
}


@pytest.mark.parametrize("vendor", EXPECTED)
def test_a_login_in_a_browser_serves_is_renewed_ends_and_begins_again(world: World, vendor: str) -> None:
    name, members = EXPECTED[vendor]
    told = world.login(vendor)
    assert (told["file"], told["label"], told["created"], told["daemon"]) == (name, "a@b.c", True, True)
    assert told["models"] > 0
    path = world.folder / name
    assert path.stat().st_mode & 0o777 == 0o600
    assert world.folder.stat().st_mode & 0o777 == 0o700
    assert {**members, "type": vendor, "disabled": False}.items() <= world.files()[name].items()
    world.see("You are logged in")

    status, content = world.ask(vendor)
    assert status == 200, content

    before = world.files()[name]
    world.provider.end_tokens()
    status, content = world.ask(vendor)
    assert status == 200, content
    after = world.files()[name]
    assert _refresh_token(after) != _refresh_token(before), "rotated, and on disk"

    for login in world.provider.logins.values():
        login.revoked = True
    status, content = world.ask(vendor)
    assert status in (401, 503), content
    path.write_bytes(orjson.dumps({**world.files()[name], "note": "mine", "weight": 3, "proxy_url": "direct"}))

    again = world.login(vendor)
    assert (again["file"], again["created"]) == (name, False)
    kept = world.files()[name]
    assert (kept["note"], kept["weight"], kept["proxy_url"]) == ("mine", 3, "direct")
    assert _refresh_token(kept) != _refresh_token(after)
    status, content = world.ask(vendor)
    assert status == 200, content


def _refresh_token(data: dict[str, Any]) -> str:
    return str(data.get("token", data)["refresh_token"])


def test_a_login_by_code_serves(world: World) -> None:
    """Both wait five seconds between two questions, as they must: side by side."""
    world.provider.claims = {"sub": "user-7"}
    world.provider.token_members = {}
    (world.folder / "codex-a@b.c-plus.json").unlink(missing_ok=True)
    with ThreadPoolExecutor() as pool:
        codex = pool.submit(world.login_elsewhere, "openai", "--device", "--no-browser")
        kimi = pool.submit(world.login_elsewhere, "kimi", "--no-browser")
        assert codex.result()["file"] == "codex-a@b.c-plus.json"
        assert kimi.result()["file"] == "kimi-user-7.json"
    sent = [call for call in world.provider.calls if call.get("code") == "device"]
    assert sent[-1]["redirect_uri"].endswith("/deviceauth/callback")
    for vendor in ("codex", "kimi"):
        status, content = world.ask(vendor)
        assert status == 200, content


def test_a_refusal_is_said_and_nothing_is_stored(world: World) -> None:
    before = world.files()
    world.provider.denies = True
    try:
        ran = world.cpa("login", "claude")
    finally:
        world.provider.denies = False
    assert ran.returncode == 1
    assert "you did not agree, so the login was cancelled" in ran.stdout
    assert world.files() == before
    world.see("Login cancelled")


def test_trust_row_10_a_port_somebody_else_has_is_not_replaced_and_no_browser_opens(world: World) -> None:
    opened = len(world.provider.authorized)
    with socket.create_server(("127.0.0.1", world.ports["claude"])):
        ran = world.cpa("login", "claude")
    assert ran.returncode == 13
    assert f"port {world.ports['claude']} is in use" in ran.stdout
    assert "--paste" in ran.stdout
    assert len(world.provider.authorized) == opened


def test_the_address_can_be_pasted(world: World) -> None:
    """No browser, no port: the consent page is opened by hand, elsewhere, and its end is pasted."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cpa", "login", "claude", "--paste", "--config", str(world.daemon.config_path)],
        env=world.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    url = next(line.strip() for line in process.stdout if line.startswith("http"))
    process.stdin.write("\nhello\n" + _redirect_of(url) + "\n")
    process.stdin.flush()
    rest = process.stdout.read()
    assert process.wait(20) == 0, rest
    assert "That is no callback URL" in rest
    assert "Logged in as a@b.c" in rest


def _redirect_of(url: str) -> str:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> None:
            return None

    try:
        urllib.request.build_opener(Stay).open(url, timeout=10)
    except urllib.error.HTTPError as fault:
        return str(fault.headers["Location"])
    raise AssertionError("no redirect")


def test_without_a_browser_the_way_through_ssh_is_shown(world: World) -> None:
    """Listens elsewhere than the vendor sends the browser to, which is only of use behind a tunnel; says so."""
    port = free_port()
    opened = len(world.provider.authorized)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cpa", "login", "codex", "--no-browser", "--callback-port", str(port)),
            *("--config", str(world.daemon.config_path)),
        ],
        env={**world.environ, "SSH_CONNECTION": "10.0.0.9 5000 10.0.0.5 2222"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if "paste the address" in line:
            break
    text = "".join(shown)
    assert f"ssh -N -L {world.ports['codex']}:127.0.0.1:{port} " in text
    assert "@10.0.0.5 -p 2222" in text
    url = next(line.strip() for line in shown if line.startswith("http"))
    assert len(world.provider.authorized) == opened, "no browser was opened"
    redirect = _redirect_of(url)
    assert f"localhost:{world.ports['codex']}/auth/callback" in redirect
    with urllib.request.urlopen(redirect.replace(str(world.ports["codex"]), str(port)), timeout=20) as answer:
        assert b"You are logged in" in answer.read()
    assert process.wait(20) == 0


def test_logging_out_ends_the_service(world: World) -> None:
    world.login("claude")
    assert world.ask("claude")[0] == 200
    ran = world.cpa("logout", "claude", "--yes")
    assert ran.returncode == 0, ran
    assert "claude-a@b.c.json" not in world.files()
    assert world.ask("claude")[0] != 200
