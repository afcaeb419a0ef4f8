"""The examples of embedding run as their documentation says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


PAGES = ("sdk-usage", "sdk-advanced", "sdk-access", "sdk-watcher")


def example(name: str) -> ModuleType:
    path = ROOT / "examples/embedding" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str) -> Any:
    return asyncio.run(example(name).main())


def test_another_program_asks_its_own_daemon(capsys: Any) -> None:
    assert "Hello" in run("embed")
    assert "debug is now True" in capsys.readouterr().out


def test_plugins_of_the_program_decide_count_and_answer(capsys: Any) -> None:
    assert run("plugins") == {"ada": 2}
    assert "stranger 401" in capsys.readouterr().out


def test_a_format_of_its_own_is_reached_from_every_other() -> None:
    whole, stream = run("custom_format")
    assert json.loads(whole)["choices"][0]["message"]["content"] == "You said: hello"
    assert json.loads(whole)["usage"]["total_tokens"] == 7
    assert "event: message_stop" in stream
    assert "You said: hello" in stream


def test_a_provider_of_its_own_serves_every_client() -> None:
    assert run("provider") == "The house heard: hello"


def test_a_program_follows_settings_logins_and_models() -> None:
    lines = run("watcher")
    assert [line for line in lines if "demo" not in line] == [
        "changed: debug",
        "me.json came",
        "me.json offers models: True",
        "me.json went",
    ]


def test_every_example_is_named_in_the_documentation() -> None:
    pages = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in PAGES)
    for path in (ROOT / "examples/embedding").glob("*.py"):
        assert f"examples/embedding/{path.name}" in pages, path.name
