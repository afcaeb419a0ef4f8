"""Sections read what files, variables and panels may hold, and say everything that is wrong at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cpa.config.provider_sections import ErrorRule, KeyEntry, TimeoutsSection
from cpa.config.section import InvalidSection
from cpa.config.sections import ClientKey, PayloadRule, Routing, Section
from cpa.config.settings import Config


class Sample(Section, frozen=True):
    """One member of every plain kind."""

    flag: bool = False
    count: int = 0
    share: float = 0.0
    text: str = ""
    folder: Path = Path("a")
    some_names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("data", "member", "value"),
    [
        ({"flag": "Yes"}, "flag", True),
        ({"flag": " off "}, "flag", False),
        ({"flag": 1}, "flag", True),
        ({"flag": 0.0}, "flag", False),
        ({"count": " 12 "}, "count", 12),
        ({"count": "12.0"}, "count", 12),
        ({"count": 3.0}, "count", 3),
        ({"count": True}, "count", 1),
        ({"share": "0.5"}, "share", 0.5),
        ({"share": 2}, "share", 2.0),
        ({"text": 5}, "text", "5"),
        ({"text": 1.5}, "text", "1.5"),
        ({"folder": "/b"}, "folder", Path("/b")),
        ({"some-names": ["a", 5]}, "some_names", ("a", "5")),
        ({"some_names": ("a",)}, "some_names", ("a",)),
        ({"text": None}, "text", ""),
    ],
)
def test_what_means_a_value_is_read_as_one(data: dict[str, Any], member: str, value: Any) -> None:
    found = getattr(Sample.from_plain(data), member)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"flag": "perhaps"}, "expected true or false"),
        ({"flag": 2}, "expected true or false"),
        ({"flag": []}, "expected true or false"),
        ({"count": "many"}, "expected a whole number"),
        ({"count": 1.5}, "expected a whole number"),
        ({"count": float("inf")}, "expected a whole number"),
        ({"count": "1e999"}, "expected a whole number"),
        ({"count": "9" * 5000}, "expected a whole number"),
        ({"count": {}}, "expected a whole number"),
        ({"share": "half"}, "expected a number"),
        ({"share": 10**400}, "expected a number"),
        ({"text": True}, "expected a text"),
        ({"text": ["a"]}, "expected a text"),
        ({"some-names": "a"}, "expected a list"),
        ([], "expected a mapping of keys to values"),
        ("text", "expected a mapping of keys to values"),
    ],
)
def test_what_means_no_value_is_refused(data: Any, expected: str) -> None:
    with pytest.raises(InvalidSection) as caught:
        Sample.from_plain(data)
    assert [fault.expected for fault in caught.value.faults] == [expected]


def test_everything_wrong_is_said_with_its_place() -> None:
    data = {
        "port": 70000,
        "max-body-size": 0,
        "api-keys": ["a", {"concurrency": "b"}, []],
        "claude-api-key": [{"api-key": []}, "c"],
        "routing": {"quota-reserve": 2},
        "timeouts": {"connect": float("nan")},
    }
    with pytest.raises(InvalidSection) as caught:
        Config.from_plain(data)
    assert dict(caught.value.faults) == {
        ("port",): "expected a number of at most 65535",
        ("max-body-size",): "expected a number above 0",
        ("api-keys", 1, "concurrency"): "expected a whole number",
        ("api-keys", 1, "key"): "key is missing",
        ("api-keys", 2): "expected a text or a mapping of keys to values",
        ("claude-api-key", 0, "api-key"): "expected a text",
        ("claude-api-key", 1): "expected a mapping of keys to values",
        ("routing", "quota-reserve"): "expected a number of at most 1",
        ("timeouts", "connect"): "expected a number of at least 0",
    }


def test_a_key_is_not_empty_and_an_action_is_a_known_one() -> None:
    with pytest.raises(InvalidSection, match="a text that is not empty"):
        ClientKey.from_plain({"key": " "})
    with pytest.raises(InvalidSection, match="expected stop, stop-and-cooldown, continue or continue-and-cooldown"):
        ErrorRule.from_plain({"action": "go"})
    with pytest.raises(InvalidSection, match="invalid regular expression"):
        ErrorRule.from_plain({"match-regexr": ["("]})


def test_a_union_takes_the_member_of_the_same_shape() -> None:
    assert PayloadRule.from_plain({"params": {"a.b": 1}}).params == {"a.b": 1}
    assert PayloadRule.from_plain({"params": ["a.b", 5]}).params == ("a.b", "5")
    assert KeyEntry.from_plain({"timeouts": {"idle": "5"}}).timeouts == TimeoutsSection(idle=5.0)
    assert KeyEntry.from_plain({"request-retry": -1}).request_retry is None


def test_what_was_read_is_written_as_it_may_be_read_again() -> None:
    data = {
        "api-keys": ["a", {"key": "b", "models": ["X"]}],
        "claude-api-key": [{"api-key": "c", "headers": {"A": 1}, "own": {"kept": [1]}}],
        "auth-dir": "/somewhere",
        "routing": {"strategy": "RR"},
    }
    config = Config.from_plain(data)
    assert Config.from_plain(config.plain()) == config
    assert config.plain(sparse=True) == {
        "auth-dir": "/somewhere",
        "api-keys": ["a", {"key": "b", "models": ["x"]}],
        "claude-api-key": [{"api-key": "c", "headers": {"A": "1"}, "own": {"kept": [1]}}],
    }
    assert config.routing == Routing()


def test_sections_with_unknown_members_can_be_remembered_by() -> None:
    plain, more = (TimeoutsSection.from_plain({"idle": 1, **extra}) for extra in ({}, {"others": [1]}))
    assert plain != more
    assert {plain: 1, more: 2}[TimeoutsSection(idle=1.0)] == 1
