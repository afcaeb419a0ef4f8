"""Every client format over every upstream format: what is asked arrives, what is answered comes back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from answers import ANSWERS, CODECS, FORMATS, MADE_UP, answers, calls, context, read, said, whole, written
from dialogues import asked, conversations
from hypothesis import given
from hypothesis import strategies as st
from invariants import CHECKS, errors_in

from cpa.conversation import events as ev
from cpa.conversation.effort import KEEP
from cpa.conversation.reply import Reply, fold
from cpa.conversation.request import Conversation
from cpa.errors import ErrorInfo
from cpa.formats.codec import Target

every_format = pytest.mark.parametrize("name", FORMATS)
every_pair = pytest.mark.parametrize(
    ("client", "upstream"), [(client, upstream) for client in FORMATS for upstream in FORMATS]
)

# -- requests ------------------------------------------------------------------------------------------------


def _over(name: str, conversation: Conversation) -> Conversation:
    """The conversation written in a format and read again, through JSON."""
    codec = CODECS[name]
    body = codec.encode_request(conversation, Target("m", name, client_format=conversation.format), KEEP).body
    return codec.decode_request(orjson.loads(orjson.dumps(body)), model="m", stream=False)


@every_format
@MADE_UP
@given(conversation=conversations())
def test_a_request_is_read_as_it_was_written(name: str, conversation: Conversation) -> None:
    conversation.format = name
    assert asked(_over(name, conversation)) == asked(conversation)


@every_pair
@MADE_UP
@given(conversation=conversations())
def test_a_request_asks_the_upstream_what_the_client_asked(
    client: str, upstream: str, conversation: Conversation
) -> None:
    conversation.format = client
    assert asked(_over(upstream, _over(client, conversation))) == asked(conversation)


@every_pair
@MADE_UP
@given(conversation=conversations())
def test_the_same_request_is_the_same_bytes(client: str, upstream: str, conversation: Conversation) -> None:
    conversation.format = client
    target = Target("m", upstream, client_format=client)
    bodies = {
        orjson.dumps(CODECS[upstream].encode_request(_over(client, conversation), target, KEEP).body) for _ in range(2)
    }
    assert len(bodies) == 1


# -- answers -------------------------------------------------------------------------------------------------

PLAIN = answers(("text", "reasoning", "tool_call"), choices=1)
IN_TURN = answers(("text", "reasoning", "tool_call"), choices=1, interleaved=False)


def _told(reply: Reply) -> dict[str, Any]:
    """What no pair of formats may lose."""
    usage = reply.usage
    return {
        "text": said(reply),
        "reasoning": "".join(said(reply, "reasoning").split()),
        "calls": calls(reply),
        "tokens": (usage.input_total or 0, usage.output_total or 0) if usage else (0, 0),
        "reason": reply.finishes[0].reason,
    }


_MERGED: dict[str, dict[str, str]] = {
    "openai": {"pause": "stop", "refusal": "content_filter", "malformed_call": "stop", "context_exceeded": "length"},
    "openai-response": {
        "refusal": "content_filter",
        "malformed_call": "stop",
        "context_exceeded": "length",
        "pause": "stop",
    },
    "claude": {"content_filter": "refusal", "malformed_call": "stop"},
    "gemini": {"pause": "stop", "refusal": "content_filter", "context_exceeded": "length"},
}
"""Reasons a format has no word of its own for, and the reason its word stands for."""


@every_pair
@MADE_UP
@given(events=PLAIN)
def test_nothing_said_is_lost_on_the_way(client: str, upstream: str, events: list[ev.Event]) -> None:
    arrived = read(upstream, written(upstream, events), client_format=client, upstream_format=upstream)
    out = written(client, arrived, upstream_format=upstream)
    CHECKS[client](out)
    before, after = _told(fold(arrived)), _told(fold(read(client, out)))
    wanted = before["reason"]
    before["reason"] = _MERGED[client].get(wanted, wanted)
    assert after == before


@every_pair
@MADE_UP
@given(events=IN_TURN)
def test_whole_answers_say_what_streams_say(client: str, upstream: str, events: list[ev.Event]) -> None:
    members = {"client_format": client, "upstream_format": upstream}
    streamed = read(upstream, written(upstream, events), **members)
    at_once = CODECS[upstream].decode_reply(whole(upstream, events), context(**members))
    direct = fold(CODECS[client].decode_reply(whole(client, at_once, upstream_format=upstream), context()))
    assert _told(direct) == _told(fold(read(client, written(client, streamed, upstream_format=upstream))))


@every_pair
@pytest.mark.parametrize("sample", ["thinking, text and a call", "calls by turns"])
def test_bytes_may_come_cut_anywhere_and_with_any_line_end(client: str, upstream: str, sample: str) -> None:
    data = written(upstream, ANSWERS[sample])
    expected = written(client, read(upstream, data))
    for raw in (data, data.replace(b"\n", b"\r\n")):
        for cut in range(0, len(raw), 7):
            assert written(client, read(upstream, raw, cut, cut + 1, cut + 2)) == expected


@every_pair
@MADE_UP
@given(events=PLAIN, data=st.data())
def test_an_upstream_that_goes_away_is_an_error_and_no_end(
    client: str, upstream: str, events: list[ev.Event], data: st.DataObject
) -> None:
    blocks = written(upstream, events).split(b"\n\n")[:-1]
    ending = next(at for at, block in enumerate(blocks) if any(word in block for word in _ENDINGS[upstream]))
    cut = data.draw(st.integers(0, ending))
    raw = b"\n\n".join(blocks[:cut])
    raw = raw + b"\n\n" if data.draw(st.booleans()) else raw
    out = written(client, read(upstream, raw))
    assert len(errors_in(client, out)) == 1
    assert not any(word in out for word in _ENDINGS[client])


_ENDINGS = {
    "openai": (b'"finish_reason":"', b"[DONE]"),
    "openai-response": (b"event: response.completed", b"event: response.incomplete"),
    "claude": (b"event: message_delta", b"event: message_stop"),
    "gemini": (b'"finishReason"',),
}
"""What only a finished stream has."""


MEMBERS = """
    type index delta content content_block choices message usage text finish_reason tool_calls function name arguments
    id item output_index response candidates parts functionCall args usageMetadata input partial_json thinking
    stop_reason error reasoning_content images
"""


@every_format
@MADE_UP
@given(
    frames=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["text", "tool_use", "stop", "x", ""]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(sorted(set(MEMBERS.split()))),
                    inner,
                    max_size=5,
                )
            ),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_no_upstream_can_break_a_decoder(name: str, frames: list[Any]) -> None:
    data = b"".join(b"data: " + orjson.dumps(frame) + b"\n\n" for frame in frames)
    events = read(name, data)
    assert isinstance(events[-1], ev.End | ev.Failure)
    assert sum(isinstance(event, ev.End | ev.Failure) for event in events) == 1
    for client in FORMATS:
        out = written(client, events)
        assert CHECKS[client](out) if isinstance(events[-1], ev.End) else errors_in(client, out)


# -- why an answer ended -------------------------------------------------------------------------------------

ENDED: dict[str, dict[str, str]] = {
    "openai": {
        "stop": "stop",
        "length": "length",
        "max_tokens": "length",
        "content_filter": "content_filter",
        "sensitive": "content_filter",
        "eos": "stop",
        "function_call": "stop",
    },
    "claude": {
        "end_turn": "stop",
        "max_tokens": "length",
        "stop_sequence": "stop_sequence",
        "refusal": "refusal",
        "sensitive": "content_filter",
        "pause_turn": "pause",
        "model_context_window_exceeded": "context_exceeded",
        "something new": "stop",
    },
    "openai-response": {
        "max_output_tokens": "length",
        "max_tokens": "length",
        "content_filter": "content_filter",
        "max_tool_calls": "pause",
    },
    "gemini": {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "LANGUAGE": "stop",
        "MALFORMED_FUNCTION_CALL": "malformed_call",
        "NEW_ONE": "stop",
    },
}
TOLD: dict[str, dict[str, str]] = {
    "openai": {
        "stop": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "pause": "stop",
        "context_exceeded": "length",
        "malformed_call": "stop",
    },
    "openai-response": {
        "stop": "completed",
        "stop_sequence": "completed",
        "length": "max_output_tokens",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "pause": "completed",
        "context_exceeded": "max_output_tokens",
        "malformed_call": "completed",
    },
    "claude": {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "content_filter": "refusal",
        "refusal": "refusal",
        "pause": "pause_turn",
        "context_exceeded": "model_context_window_exceeded",
        "malformed_call": "end_turn",
    },
    "gemini": {
        "stop": "STOP",
        "stop_sequence": "STOP",
        "length": "MAX_TOKENS",
        "content_filter": "SAFETY",
        "refusal": "SAFETY",
        "pause": "STOP",
        "context_exceeded": "MAX_TOKENS",
        "malformed_call": "MALFORMED_FUNCTION_CALL",
    },
}


def _ended(name: str, native: str) -> dict[str, Any]:
    """A whole answer that ended for a reason."""
    body = whole(name, ANSWERS["text"])
    match name:
        case "openai":
            body["choices"][0]["finish_reason"] = native
        case "claude":
            body["stop_reason"] = native
        case "openai-response":
            body |= {"status": "incomplete", "incomplete_details": {"reason": native}}
        case _:
            body["candidates"][0]["finishReason"] = native
    return body


def _reason_told(name: str, body: dict[str, Any]) -> str:
    match name:
        case "openai":
            return str(body["choices"][0]["finish_reason"])
        case "claude":
            return str(body["stop_reason"])
        case "openai-response":
            details = body["incomplete_details"]
            return str(details["reason"] if details else body["status"])
    return str(body["candidates"][0]["finishReason"])


@every_pair
def test_the_reason_an_answer_ended_is_told_in_the_clients_words(client: str, upstream: str) -> None:
    for native, reason in ENDED[upstream].items():
        events = CODECS[upstream].decode_reply(_ended(upstream, native), context())
        assert fold(events).finishes[0].reason == reason or native == "function_call"
        expected = TOLD[client][reason]
        if client == upstream == "gemini" and reason == "content_filter":
            expected = native
        assert _reason_told(client, whole(client, events)) == expected


@every_format
@pytest.mark.parametrize("reason", ["stop", "tool_calls", "pause", "malformed_call"])
def test_a_whole_call_is_to_be_run(name: str, reason: Any) -> None:
    events = [*ANSWERS["calls by turns"][:-3], ev.Finish(reason), ev.End()]
    assert fold(read(name, written(name, events))).finishes[0].reason == "tool_calls"


@every_format
@pytest.mark.parametrize("reason", ["length", "content_filter", "context_exceeded"])
def test_a_call_that_may_be_cut_is_never_said_to_be_ready(name: str, reason: Any) -> None:
    events = [*ANSWERS["calls by turns"][:-3], ev.Finish(reason), ev.End()]
    told = {_reason_told(name, whole(name, events))}
    assert told == {TOLD[name][reason]}


@every_format
def test_calls_that_were_promised_and_never_came_are_a_plain_end(name: str) -> None:
    assert _reason_told(name, whole(name, [ev.Start(), ev.Finish("tool_calls"), ev.End()])) == TOLD[name]["stop"]


# -- errors --------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "openai": {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
    "openai-response": {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
    "claude": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
    "gemini": {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}},
}
KIND = {
    "openai": ("type", "rate_limit_error"),
    "openai-response": ("type", "rate_limit_error"),
    "claude": ("type", "rate_limit_error"),
    "gemini": ("status", "RESOURCE_EXHAUSTED"),
}


@every_pair
def test_an_upstreams_error_is_told_in_the_clients_shape(client: str, upstream: str) -> None:
    error = CODECS[upstream].decode_error(429, orjson.dumps(BODIES[upstream]))
    assert (error.status, error.message) == (429, "slow down")
    body = CODECS[client].encode_error(error)
    assert body["error"]["message"] == "slow down"
    member, kind = KIND[client]
    assert body["error"][member] == kind
    assert ("type" in body) == (client == "claude")
    assert CODECS[client].error_status(error) == 429
    if client == upstream:
        assert body == BODIES[upstream]


STATUSES: dict[int, tuple[str, str, str]] = {
    400: ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    401: ("authentication_error", "authentication_error", "UNAUTHENTICATED"),
    402: ("insufficient_quota", "billing_error", "FAILED_PRECONDITION"),
    403: ("permission_error", "permission_error", "PERMISSION_DENIED"),
    404: ("invalid_request_error", "not_found_error", "NOT_FOUND"),
    408: ("timeout", "timeout_error", "DEADLINE_EXCEEDED"),
    409: ("invalid_request_error", "invalid_request_error", "ABORTED"),
    413: ("invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
    422: ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    429: ("rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    500: ("server_error", "api_error", "INTERNAL"),
    501: ("server_error", "api_error", "UNIMPLEMENTED"),
    502: ("server_error", "api_error", "INTERNAL"),
    503: ("server_error", "api_error", "UNAVAILABLE"),
    504: ("server_error", "timeout_error", "DEADLINE_EXCEEDED"),
    529: ("server_error", "overloaded_error", "UNAVAILABLE"),
}


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_has_its_word_in_every_format(status: int) -> None:
    error = ErrorInfo(status, "no")
    chat, claude, gemini = STATUSES[status]
    assert CODECS["openai"].encode_error(error)["error"]["type"] == chat
    assert CODECS["openai-response"].encode_error(error)["error"]["type"] == chat
    assert CODECS["claude"].encode_error(error)["error"]["type"] == claude
    assert CODECS["gemini"].encode_error(error)["error"]["status"] == gemini
    assert [CODECS[name].error_status(error) for name in FORMATS] == [status] * 3 + [503 if status == 529 else status]


@every_format
@pytest.mark.parametrize(
    "page",
    [
        b"<html><head><title>502 Bad Gateway</title></head><body>" + b"x" * 5000 + b"</body></html>",
        b"<!DOCTYPE html><html>" + b"x" * 5000,
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"gone"',
    ],
)
def test_a_page_instead_of_an_error_is_named_in_a_few_words(name: str, page: bytes) -> None:
    error = CODECS[name].decode_error(502, page)
    assert error.status == 502
    assert error.message
    assert len(error.message) < 200
    assert "<" not in error.message
