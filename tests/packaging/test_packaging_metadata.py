"""What is announced exists, and what exists is announced."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(section: str, key: str) -> list[str]:
    return [line.strip() for line in setup()[section][key].splitlines() if line.strip()]


def test_every_package_is_in_the_wheel() -> None:
    found = {
        ".".join(path.parent.relative_to(base).parts)
        for base in (ROOT, ROOT / "plugins")
        for path in (base / "cpa" if base == ROOT else base).rglob("__init__.py")
    }
    assert set(lines("options", "packages")) == found


def test_every_builtin_plugin_has_its_entry_point() -> None:
    announced = {line.split("=")[1].split("[")[0].strip() for line in lines("options.entry_points", "cpa")}
    assert announced == {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}


DISTRIBUTIONS = {
    "aiohttp_socks": "aiohttp-socks",
    "backports": "backports.zstd",
    "prometheus_client": "prometheus-client",
    "re2": "google-re2",
    "yaml": "pyyaml",
}
"""Module -> distribution, where their names differ."""

OPTIONAL = {"opentelemetry", "tiktoken", "brotlicffi", "compression"}
AIOHTTP_USES = {"brotli"}


def imported() -> set[str]:
    """The distributions whose modules the daemon and its plugins import."""
    names: set[str] = set()
    for folder in ("cpa", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    ours = {path.name for path in (ROOT / "plugins").iterdir()} | {"cpa"}
    return {DISTRIBUTIONS.get(name, name) for name in names - ours - sys.stdlib_module_names}


def test_exactly_what_is_imported_is_required() -> None:
    required = {re.split(r"[<>=; ]", line)[0].lower() for line in lines("options", "install_requires")}
    assert imported() - OPTIONAL | AIOHTTP_USES == required
