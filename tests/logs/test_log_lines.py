"""The short way of a log line masks what the long way masks, and every line can be written."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.logs.redaction import Secrets
from cpa.logs.setup import get_logger, set_level, setup_logging

TOKEN = "ya30-a_long.token~of-some-login"
PIECES = [
    "value-of-a-key", "VALUE-OF-A-KEY", TOKEN, "sk-abcdefgh12", "\u017fk-abcdefgh12", "s\u212a-abcdefgh12", "Bearer ",
    "ba\u017fic ", "A\u0131za", "AIza", "0123456789abcdefghij", "ya29.", "eyJabcdefgh", ".abcdefgh.", "?key=",
    "&TOKEN=", " ", "\0", "é", "word", "=", "-", "a" * 20, "\n", "sk-", "\ud800",
]  # fmt: skip
NAMES = ["event", "path", "error", "api_key", "tokens", "note", "Authorization", "client", "x"]
texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
values = st.one_of(texts, texts, st.integers(), st.none(), st.booleans(), st.binary(max_size=4), st.lists(texts))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=5))
def test_the_short_way_hides_what_the_long_way_hides(event: dict[str, Any]) -> None:
    secrets = Secrets()
    secrets.replace(["value-of-a-key"])
    secrets.tokens.add([TOKEN])
    assert secrets(None, "info", dict(event)) == {name: secrets._mask(name, value, 0) for name, value in event.items()}


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Takes back what a test set up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("value", ["\udc80", "a\ud800b", 2**70, -(2**70), ["\udc80"], {"\udc80": 2**64}])
def test_a_line_with_any_value_is_written(value: Any) -> None:
    stream = io.StringIO()
    setup_logging(Secrets(), stream=stream, environ={})
    get_logger("cpa").info("odd", value=value)
    get_logger("cpa").warning("odd", value=value)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["odd", "odd"]


@pytest.mark.usefixtures("logging_as_before")
def test_lines_of_structlog_loggers_go_the_same_way() -> None:
    stream, secrets = io.StringIO(), Secrets()
    secrets.replace(["value-of-a-key"])
    setup_logging(secrets, stream=stream, environ={})
    structlog.get_logger().bind(part="theirs").error("failed", note="value-of-a-key")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["part"], line["note"]) == ("failed", "error", "theirs", "***")


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("told", ["true", "the exception", "its three parts"])
def test_a_traceback_is_written_without_values_of_variables(told: str) -> None:
    stream = io.StringIO()
    setup_logging(Secrets(), stream=stream, environ={})
    try:
        inside = "value-of-a-variable"
        raise ValueError(f"{len(inside)} letters")
    except ValueError as fault:
        ways = {"true": True, "the exception": fault, "its three parts": (type(fault), fault, fault.__traceback__)}
        get_logger("cpa").error("failed", exc_info=ways[told])
    line = json.loads(stream.getvalue())
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: 19 letters")
    assert "value-of-a-variable" not in line["exception"].replace('inside = "value-of-a-variable"', "")


@pytest.mark.usefixtures("logging_as_before")
def test_debug_lines_are_written_when_wanted() -> None:
    stream = io.StringIO()
    setup_logging(Secrets(), stream=stream, environ={})
    log = get_logger("cpa").bind(part="a")
    log.debug("unseen")
    set_level(debug=True)
    log.debug("%d of %d", 1, 2)
    log.exception("no exception is being handled")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["part"]) for line in lines] == [
        ("1 of 2", "debug", "a"),
        ("no exception is being handled", "error", "a"),
    ]
