"""Drive the real command-line tools through cpa, each against upstreams of all four formats.

    npm install @anthropic-ai/claude-code @openai/codex @google/gemini-cli     # in a folder of its own
    python tests/clients/run_clients.py FOLDER [--only claude,codex,gemini] [--upstreams oc,claude,gemini,codex]

Each tool gets a one-shot task that needs a shell command; it passes when the command was run and its output came back
through the upstream into the tool's last answer. Needs node; nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import fake_model
from fake_model import Asked, FakeModel, Said
from running import KEY, RunningDaemon, Upstream, base_config, free_port

MARK = "cpa-proof-4711"
COMMAND = f"echo {MARK}"
SHELLS: dict[str, dict[str, Any]] = {
    "Bash": {"command": COMMAND, "description": "Print a word"},
    "exec_command": {"cmd": COMMAND},
    "shell_command": {"command": COMMAND},
    "shell": {"command": ["bash", "-lc", COMMAND]},
    "run_shell_command": {"command": COMMAND, "description": "Print a word"},
}
"""Shell tools of the clients, with arguments that print the mark."""


def decide(asked: Asked) -> Said:
    """Call the client's shell tool once, then report what it printed."""
    if asked.results:
        return Said(text=f"The command printed: {asked.results[-1][:2000]}")
    for name, arguments in SHELLS.items():
        if name in asked.tools:
            fake_model.ARGUMENTS.clear()
            fake_model.ARGUMENTS.update(arguments)
            return Said(calls=[name], reasoning="I need a shell for this.")
    return Said(text="There is no shell tool.")


def clean_environment(home: Path) -> dict[str, str]:
    """An environment without proxies and credentials of the machine."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    return {**kept, "HOME": str(home), "NO_COLOR": "1", "CI": "1"}


def claude(folder: Path, url: str, model: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """Claude Code."""
    environment = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "API_TIMEOUT_MS": "30000",
    }
    command = [str(folder / "claude"), "-p", f"Run: {COMMAND}", "--model", model, "--allowedTools", "Bash"]
    return command, environment


def codex(folder: Path, url: str, model: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """Codex CLI with a provider of its own."""
    config = home / ".codex"
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.toml").write_text(
        f'model_provider = "proxy"\n[model_providers.proxy]\nname = "proxy"\nbase_url = "{url}/v1"\n'
        'wire_api = "responses"\nenv_key = "PROXY_KEY"\nrequest_max_retries = 0\nstream_max_retries = 0\n'
        "[analytics]\nenabled = false\n"
    )
    command = [str(folder / "codex"), "exec", "--skip-git-repo-check"]
    command += ["--dangerously-bypass-approvals-and-sandbox", "-m", model, f"Run: {COMMAND}"]
    return command, {"CODEX_HOME": str(config), "PROXY_KEY": KEY}


def gemini(folder: Path, url: str, model: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """Gemini CLI."""
    settings = home / ".gemini"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "settings.json").write_text(
        '{"privacy":{"usageStatisticsEnabled":false},"general":{"enableAutoUpdate":false,"disableAutoUpdate":true},'
        '"telemetry":{"enabled":false},"security":{"auth":{"selectedType":"gemini-api-key"}}}'
    )
    environment = {
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_TELEMETRY_ENABLED": "false",
    }
    return [str(folder / "gemini"), "-m", model, "-p", f"Run: {COMMAND}", "--yolo"], environment


CLIENTS = {"claude": claude, "codex": codex, "gemini": gemini}


def run(client: str, folder: Path, daemon: RunningDaemon, model: str) -> tuple[bool, str]:
    """Whether the task was done, and what the tool printed."""
    with tempfile.TemporaryDirectory() as directory:
        home, work = Path(directory, "home"), Path(directory, "work")
        home.mkdir()
        work.mkdir()
        command, extra = CLIENTS[client](folder, daemon.url, model, home)
        try:
            done = subprocess.run(
                command,
                cwd=work,
                env={**clean_environment(home), **extra, "IS_SANDBOX": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=150,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return False, f"no end in sight: {late.stdout!r} {late.stderr!r}"
    printed = done.stdout + done.stderr
    return done.returncode == 0 and "The command printed:" in printed and MARK in done.stdout, printed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where npm installed the tools")
    parser.add_argument("--only", default=",".join(CLIENTS))
    parser.add_argument("--upstreams", default="oc,claude,gemini,codex")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve() / "node_modules" / ".bin"
    fake_model.decide = decide
    upstream = Upstream(FakeModel().app)
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        daemon = RunningDaemon(base_config(upstream.url, Path(directory), free_port()), Path(directory))
        for client in arguments.only.split(","):
            for model in arguments.upstreams.split(","):
                passed, printed = run(client, folder, daemon, model)
                failed += not passed
                print(f"{'pass' if passed else 'FAIL'}  {client} -> {model}", flush=True)
                if not passed:
                    print(printed[-3000:])
                    print(daemon.output()[-2000:])
        daemon.stop()
    upstream.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
