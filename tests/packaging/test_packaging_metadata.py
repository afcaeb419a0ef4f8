"""What is announced exists, and what exists is announced."""

from __future__ import annotations

import configparser
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
    announced = {line.split("=")[1].strip() for line in lines("options.entry_points", "cpa")}
    assert announced == {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}


def test_nothing_imports_what_is_not_required() -> None:
    required = " ".join(lines("options", "install_requires")).lower()
    for name in ("aiohttp", "orjson", "msgspec", "pluggy", "structlog", "watchfiles", "ruamel.yaml", "click"):
        assert name in required
