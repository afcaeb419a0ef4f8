"""Where a session id is found."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from cpa.accounts.session import LONGEST, session_ids

UUID = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, {"metadata": {"user_id": f"user_abc_account__session_{UUID}"}}, (f"claude:{UUID}",)),
        ({}, {"metadata": {"user_id": f'{{"session_id":"{UUID}"}}'}}, (f"claude:{UUID}",)),
        ({"x-session-id": "s"}, {}, ("header:s",)),
        ({"session_id": "s"}, {}, ("codex:s",)),
        ({"session-id": "s"}, {}, ("codex:s",)),
        ({"x-amp-thread-id": "s"}, {}, ("amp:s",)),
        ({"x-client-request-id": "s"}, {}, ("clientreq:s",)),
        ({}, {"metadata": {"user_id": "me"}}, ("user:me",)),
        ({}, {"conversation_id": "c"}, ("conv:c",)),
        ({}, {"metadata": "odd", "messages": "odd"}, ("msg:" + "0" * 0,)),
        ({"x-session-id": "s"}, {"metadata": {"user_id": f"a_session_{UUID}"}}, (f"claude:{UUID}",)),
    ],
)
def test_sources_in_their_order(headers: dict[str, str], body: dict[str, object], expected: tuple[str, ...]) -> None:
    found = session_ids(CIMultiDict(headers), body)
    if expected == ("msg:",):
        assert len(found) == 1
    else:
        assert found == expected


SYSTEM_AND_USER = "msg:5bb8ed8189e71eda"
WITH_ASSISTANT = "msg:47d4293ae994fe4a"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": "You are helpful"}, {"role": "user", "content": "Hi"}]},
        {"system": "You are helpful", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {
            "systemInstruction": {"parts": [{"text": "You are helpful"}]},
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        },
        {"instructions": "You are helpful", "input": "Hi"},
        {
            "instructions": "You are helpful",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        },
    ],
)
def test_the_same_words_are_the_same_session_in_every_format(body: dict[str, object]) -> None:
    assert session_ids({}, body) == (SYSTEM_AND_USER,)


def test_the_second_turn_remembers_the_first() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "You are helpful"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "more"},
        ]
    }
    assert session_ids({}, body) == (WITH_ASSISTANT, SYSTEM_AND_USER)


def test_nothing_to_go_by() -> None:
    assert session_ids({}, {}) == ()
    assert session_ids({}, {"messages": [None, 3, {"role": "user"}]}) == ()


@pytest.mark.parametrize("body", [{"conversation_id": "x" * 10**6}, {"metadata": {"user_id": "\ud83d" * 10**6}}])
def test_a_long_id_is_kept_as_its_hash(body: dict[str, object]) -> None:
    (found,) = session_ids(CIMultiDict(), body)
    assert len(found) <= LONGEST
    assert session_ids(CIMultiDict(), dict(body)) == (found,)
    assert session_ids(CIMultiDict(), {"conversation_id": "x" * 10**6 + "y"}) != (found,)
