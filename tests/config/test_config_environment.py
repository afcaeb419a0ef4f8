"""Environment variables over the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpa.config import ConfigStore, load_text
from cpa.config.environment import read_dotenv
from cpa.errors import ConfigError


def test_a_variable_wins_over_the_file() -> None:
    loaded = load_text(
        "port: 1\nrouting: {strategy: rr, session-affinity: true}\n",
        environ={
            "CPA_PORT": "9000",
            "CPA_ROUTING__STRATEGY": "fill-first",
            "CPA_API_KEYS": '["a", "b"]',
            "CPA_TIMEOUTS__FIRST_BYTE": "12.5",
            "CPA_DEBUG": "true",
            "PORT": "1",
        },
    )
    config = loaded.config
    assert (config.port, config.debug, config.api_keys) == (9000, True, ("a", "b"))
    assert (config.routing.strategy, config.routing.session_affinity) == ("fill-first", True)
    assert config.timeouts.first_byte == 12.5
    assert loaded.overridden == ["api-keys", "debug", "port", "routing.strategy", "timeouts.first-byte"]


def test_variables_that_name_no_setting_are_left_alone() -> None:
    loaded = load_text("", environ={"CPA_HOME": "/x", "CPA_PORT__DEEP": "1", "CPA_": "x", "CPA_ROUTING__LUCK": "y"})
    assert loaded.overridden == []
    assert loaded.config.port == 8317


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="environment variable for port: expected a whole number"):
        load_text("port: 1", environ={"CPA_PORT": "many"})


def test_the_file_is_not_touched_by_variables(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("port: 1\n")
    assert ConfigStore(path, {"CPA_PORT": "2"}).current.port == 2
    assert path.read_text() == "port: 1\n"


def test_dotenv_files() -> None:
    text = (
        "\ufeff# comment\nA=1\nexport B = 'two words' # why\nC=\"x#y\"\nD=plain # why\nE=\nnonsense\n=x\nF G=1\nH=a=b\n"
    )
    assert read_dotenv(text) == {"A": "1", "B": "two words", "C": "x#y", "D": "plain", "E": "", "H": "a=b"}
