"""The example file: safe as it is, complete, and right in what it switches off."""

from __future__ import annotations

import re
from pathlib import Path

from cpa.config import Config, load_config, load_text
from cpa.config.notices import UNSUPPORTED
from cpa.config.schema import section_in
from cpa.config.section import Section, fields_of

EXAMPLE = Path(__file__).parents[2] / "config" / "config.example.yaml"


def uncommented() -> str:
    """The file with every setting switched on: prose has one blank behind its ``#``, settings none or several."""
    lines = EXAMPLE.read_text().splitlines()
    text = "\n".join(line[1:] if re.match(r"#(\S|  )", line) else line for line in lines)
    return text.replace("api-keys: []\n", "", 1)


def test_it_loads_without_warnings() -> None:
    assert load_config(EXAMPLE, environ={}).warnings == []


def test_it_listens_on_this_machine_only_and_holds_no_keys() -> None:
    config = load_config(EXAMPLE, environ={}).config
    assert config.host == "127.0.0.1"
    assert config.api_keys == ()
    assert config.remote_management.secret_key == ""
    assert not config.remote_management.allow_remote
    assert not any((config.claude_api_key, config.codex_api_key, config.gemini_api_key, config.openai_compatibility))


def test_its_values_are_the_defaults_save_for_few() -> None:
    example = load_config(EXAMPLE, environ={}).config.plain()
    default = Config().plain()
    different = {name for name in default if example[name] != default[name]}
    assert different == {"host", "plugins", "timeouts", "usage-statistics-enabled"}


def test_what_it_switches_off_loads_without_warnings_too() -> None:
    assert load_text(uncommented(), environ={}).warnings == []


def keys(model: type[Section], path: str = "") -> set[str]:
    found: set[str] = set()
    for key, field in fields_of(model).items():
        here = f"{path}.{key}" if path else key
        if UNSUPPORTED.fullmatch(here) or UNSUPPORTED.fullmatch(f"claude-header-defaults.{key}"):
            continue
        found.add(key)
        if (inner := section_in(field.annotation)) is not None:
            found |= keys(inner, here)
    return found


def test_every_setting_is_in_it() -> None:
    text = EXAMPLE.read_text()
    missing = {key for key in keys(Config) if not re.search(rf"[\s#{{,-]{re.escape(key)}:", text)}
    assert missing == set()
