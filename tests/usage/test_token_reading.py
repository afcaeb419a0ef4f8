"""What each vendor's counts become, read from a stream in two ways and from a whole answer."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.conversation.usage import Usage
from cpa.exchange.relay import PassingRelay, TranslatingRelay
from cpa.formats.codec import ReplyContext
from cpa.usage.queue_item import breakdown
from cpa.usage.tokens import Tokens, tokens_of
from tests.usage.vendor_streams import CODECS, buckets, claude, gemini, openai, responses, sse

STREAM_OF = {"openai": openai, "openai-response": responses, "gemini": gemini}


def passed(name: str, *chunks: bytes) -> PassingRelay:
    """After chunks of a stream that passed to a client of its own format."""
    codec, context = CODECS[name], ReplyContext(created=1, include_usage=True)
    relay = PassingRelay(codec.native_relay(context, codec.framing(context)))
    for chunk in chunks:
        relay.feed(chunk)
    return relay


def translated(name: str, *chunks: bytes) -> TranslatingRelay:
    """After chunks of a stream that was translated for a client of another format."""
    other = CODECS["claude" if name != "claude" else "openai"]
    context = ReplyContext(created=1)
    encoder = other.stream_encoder(context, other.framing(context))
    relay = TranslatingRelay(CODECS[name].stream_decoder(context), encoder)
    for chunk in chunks:
        relay.feed(chunk)
    return relay


def read(name: str, *chunks: bytes) -> Tokens:
    """The tokens after a stream, whole or not, by whatever way it goes."""
    one = tokens_of(passed(name, *chunks).usage, name)
    other = tokens_of(translated(name, *chunks).usage, name)
    assert one == other
    return one


def counted(name: str, usage: dict[str, Any]) -> Tokens:
    """The tokens of a complete answer with these counts, streamed or whole."""
    stream = claude(usage, usage) if name == "claude" else STREAM_OF[name](usage)
    streamed = read(name, stream)
    whole = CODECS[name].read_usage({"usageMetadata" if name == "gemini" else "usage": usage})
    assert tokens_of(whole, name) == streamed
    return streamed


# -- which member is which count -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", "openai-response"])
@pytest.mark.parametrize(
    "usage",
    [
        {
            "prompt_tokens": 130,
            "completion_tokens": 50,
            "total_tokens": 180,
            "prompt_tokens_details": {"cached_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        {
            "input_tokens": 130,
            "output_tokens": 50,
            "total_tokens": 180,
            "input_tokens_details": {"cached_tokens": 100},
            "output_tokens_details": {"reasoning_tokens": 30},
        },
    ],
)
def test_openai_counts_have_two_spellings_on_both_of_its_apis(name: str, usage: dict[str, Any]) -> None:
    tokens = counted(name, usage)
    assert (tokens.input, tokens.output, tokens.reasoning, tokens.cached, tokens.total) == (130, 50, 30, 100, 180)
    assert (tokens.cache_read, tokens.uncached) == (100, 30)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 130, "completion_tokens": 5, "prompt_cache_hit_tokens": 100, "prompt_cache_miss_tokens": 30},
        {"prompt_tokens": 130, "completion_tokens": 5, "total_tokens": 135, "cached_tokens": 100},
    ],
)
def test_compatible_vendors_tell_cached_input_in_their_own_words(usage: dict[str, Any]) -> None:
    """DeepSeek and Moonshot."""
    assert buckets(counted("openai", usage)) == (30, 100, 0, 5)


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}, 100),
        ({"cache_read_input_tokens": 0, "cache_creation_input_tokens": 20}, 20),
        ({}, 0),
    ],
)
def test_claude_counts_cache_apart_and_cached_is_what_was_read_or_else_written(
    usage: dict[str, int], cached: int
) -> None:
    tokens = counted("claude", {"input_tokens": 30, "output_tokens": 50, **usage})
    assert (tokens.input, tokens.output, tokens.reasoning, tokens.cached) == (30, 50, 0, cached)
    assert tokens.total == 80 + sum(usage.values())


def test_claude_totals_have_what_was_read_from_and_written_to_the_cache() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 90_000, "cache_creation_input_tokens": 5000}
    assert counted("claude", {**usage, "output_tokens": 700}).total == 95_703


@pytest.mark.parametrize(
    ("usage", "written", "hour"),
    [
        (
            {
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            },
            30,
            20,
        ),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}, 30, 20),
        ({"cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_1h_input_tokens": 20}}, 20, 20),
        ({"cache_creation_input_tokens": 30, "cache_creation": None}, 30, 0),
    ],
)
def test_claude_cache_writes_are_told_as_a_sum_by_their_time_or_both(
    usage: dict[str, Any], written: int, hour: int
) -> None:
    tokens = counted("claude", {"input_tokens": 5, "output_tokens": 7, **usage})
    assert (buckets(tokens), tokens.cache_creation_1h) == ((5, 0, written, 7), hour)


def test_claude_searches_are_no_tokens() -> None:
    usage = {"input_tokens": 5, "output_tokens": 7, "server_tool_use": {"web_search_requests": 3}, "service_tier": "x"}
    assert buckets(counted("claude", usage)) == (5, 0, 0, 7)


def test_what_claude_spends_on_compaction_is_added_to_the_answers_own() -> None:
    """It is in none of the counts of the answer; other steps are."""
    step = {"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 1000}
    iterations = [{"type": "compaction", **step}, {"type": "message", "input_tokens": 5, "output_tokens": 7}]
    tokens = counted("claude", {"input_tokens": 5, "output_tokens": 7, "iterations": iterations})
    assert buckets(tokens) == (105, 1000, 0, 17)


def test_gemini_counts_reasoning_beside_the_output() -> None:
    usage = {"promptTokenCount": 130, "candidatesTokenCount": 20, "thoughtsTokenCount": 30, "totalTokenCount": 180}
    tokens = counted("gemini", {**usage, "cachedContentTokenCount": 100})
    assert (tokens.input, tokens.output, tokens.reasoning, tokens.cached, tokens.total) == (130, 20, 30, 100, 180)


def test_what_tools_gave_gemini_to_read_is_input() -> None:
    usage = {"promptTokenCount": 100, "toolUsePromptTokenCount": 40, "candidatesTokenCount": 10, "totalTokenCount": 150}
    assert buckets(counted("gemini", {**usage, "cachedContentTokenCount": 30})) == (110, 30, 0, 10)


def test_tokens_of_sounds_and_pictures_are_among_the_others() -> None:
    """Told by their kind, too; nothing is added."""
    usage: dict[str, Any] = {"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 180}
    usage["prompt_tokens_details"] = {"audio_tokens": 90, "cached_tokens": 20, "image_tokens": 10, "text_tokens": 30}
    usage["completion_tokens_details"] = {"audio_tokens": 40, "rejected_prediction_tokens": 5, "reasoning_tokens": 0}
    assert buckets(counted("openai", usage)) == (110, 20, 0, 50)
    usage = {"promptTokenCount": 130, "candidatesTokenCount": 50, "totalTokenCount": 180}
    usage["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": 90}, {"modality": "TEXT", "tokenCount": 40}]
    usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": 50}]
    assert buckets(counted("gemini", usage)) == (130, 0, 0, 50)


@pytest.mark.parametrize("name", ["openai", "openai-response"])
def test_input_that_openai_wrote_to_its_cache_is_part_of_the_input(name: str) -> None:
    details = {"cached_tokens": 100, "cache_write_tokens": 20}
    usage = {"input_tokens": 130, "input_tokens_details": details, "output_tokens": 5, "total_tokens": 135}
    assert buckets(counted(name, usage)) == (10, 100, 20, 5)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("spelling", ["usageMetadata", "usage_metadata"])
def test_gemini_counts_stand_in_two_places_under_two_names(wrapped: bool, spelling: str) -> None:
    """In an envelope when they come from the backend of Gemini CLI."""
    answer: dict[str, Any] = {
        "candidates": [{"index": 0, "content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
        spelling: {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9},
    }
    name = "gemini-cli" if wrapped else "gemini"
    answer = {"response": answer} if wrapped else answer
    assert buckets(tokens_of(CODECS[name].read_usage(answer), name)) == (7, 0, 0, 2)
    relay = translated(name, sse(answer))
    relay.close()
    assert buckets(tokens_of(relay.usage, name)) == (7, 0, 0, 2)
    assert buckets(tokens_of(passed("gemini", sse(answer)).usage, "gemini")) == (7, 0, 0, 2)


# -- totals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("openai", {"prompt_tokens": 130, "completion_tokens": 50}),
        ("openai", {"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 0}),
        ("openai-response", {"input_tokens": 130, "output_tokens": 50, "total_tokens": None}),
        ("gemini", {"promptTokenCount": 130, "candidatesTokenCount": 20, "thoughtsTokenCount": 30}),
        ("claude", {"input_tokens": 130, "output_tokens": 50}),
    ],
)
def test_a_total_that_is_missing_is_the_sum(name: str, usage: dict[str, Any]) -> None:
    tokens = counted(name, usage)
    assert (tokens.total, tokens.unclassified, tokens.consistent) == (180, 0, True)


@pytest.mark.parametrize("name", ["openai", "openai-response"])
def test_reasoning_that_is_part_of_the_output_is_not_added_to_a_missing_total(name: str) -> None:
    usage = {"input_tokens": 10, "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 30}}
    assert counted(name, usage).total == 60


def test_output_that_gemini_tells_only_in_the_total_is_found_there() -> None:
    assert buckets(counted("gemini", {"promptTokenCount": 130, "totalTokenCount": 180})) == (130, 0, 0, 50)


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("openai", {"prompt_tokens": 130, "completion_tokens": 10, "total_tokens": 180}),
        ("openai-response", {"input_tokens": 130, "output_tokens": 10, "total_tokens": 180}),
        ("gemini", {"promptTokenCount": 130, "candidatesTokenCount": 10, "totalTokenCount": 180}),
    ],
)
def test_a_total_that_is_more_than_its_parts_is_the_total(name: str, usage: dict[str, Any]) -> None:
    """Compatible vendors leave reasoning out of the output, and do not tell it."""
    tokens = counted(name, usage)
    assert (tokens.total, tokens.unclassified, buckets(tokens)) == (180, 40, (130, 0, 0, 10))


# -- quality -----------------------------------------------------------------------------------------------------

GROUPS: dict[str, dict[str, Any]] = {
    "claude": {
        "input_tokens": 60,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 10,
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 10},
    },
    "gemini": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 10,
        "totalTokenCount": 130,
    },
    "openai": {
        "prompt_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10},
        "completion_tokens": 30,
        "completion_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 130,
    },
    "openai-response": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 130,
    },
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_breakdown_is_the_same_for_vendors_that_count_differently(name: str) -> None:
    """Claude counts cache apart; Gemini counts reasoning apart; OpenAI counts both within."""
    read, written = (40, 0) if name == "gemini" else (30, 10)
    assert breakdown(counted(name, GROUPS[name])) == {
        "schema_version": 2,
        "quality": "complete",
        "total_tokens": 130,
        "input": {
            "total_tokens": 100,
            "uncached_tokens": 60,
            "cache_read_tokens": read,
            "cache_write_tokens": written,
        },
        "output": {"total_tokens": 30, "non_reasoning_tokens": 20, "reasoning_tokens": 10},
        "unclassified_tokens": 0,
    }


@pytest.mark.parametrize(
    ("name", "usage", "total"),
    [
        ("openai", {**GROUPS["openai"], "total_tokens": 90}, 130),
        ("openai", {**GROUPS["openai"], "completion_tokens": 5, "total_tokens": 105}, 105),
        ("openai", {**GROUPS["openai"], "prompt_tokens": 20, "total_tokens": 50}, 50),
        ("openai-response", {**GROUPS["openai-response"], "input_tokens": 20, "total_tokens": None}, 90),
        ("gemini", {**GROUPS["gemini"], "promptTokenCount": 30, "totalTokenCount": 0}, 100),
        ("gemini", {**GROUPS["gemini"], "totalTokenCount": 120}, 130),
        ("claude", {**GROUPS["claude"], "output_tokens": 5}, 105),
    ],
)
def test_parts_that_cannot_all_be_right_are_inconsistent(name: str, usage: dict[str, Any], total: int) -> None:
    tokens = counted(name, usage)
    assert tokens.total == total == sum(buckets(tokens))
    parts = breakdown(tokens)
    assert (parts["quality"], parts["unclassified_tokens"], parts["total_tokens"]) == ("inconsistent", total, total)
    assert parts["input"]["total_tokens"] == parts["output"]["total_tokens"] == 0


def test_cached_input_beyond_the_input_is_believed_when_the_total_proves_it() -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 50, "total_tokens": 180}
    tokens = counted("openai", {**usage, "prompt_tokens_details": {"cached_tokens": 100}})
    assert (buckets(tokens), breakdown(tokens)["quality"]) == ((30, 100, 0, 50), "complete")


# -- while it runs -----------------------------------------------------------------------------------------------


def frames(stream: bytes) -> list[bytes]:
    return [frame + b"\n\n" for frame in stream.split(b"\n\n") if frame]


def test_claude_knows_its_input_from_the_start_and_its_output_from_the_latest_delta() -> None:
    start = {"input_tokens": 30, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0, "output_tokens": 1}
    told = frames(claude(start, {"output_tokens": 50}))
    assert [buckets(read("claude", *told[:n])) for n in (1, 3, 4)] == [(30, 100, 0, 1)] * 3
    assert buckets(read("claude", *told[:5])) == (30, 100, 0, 50)


@pytest.mark.parametrize(
    "delta",
    [
        {"output_tokens": 50, "input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
        {"output_tokens": 50, "input_tokens": None},
        {"output_tokens": 50, "input_tokens": 30},
    ],
)
def test_zeros_at_the_end_of_a_claude_stream_undo_nothing(delta: dict[str, Any]) -> None:
    start = {"input_tokens": 30, "cache_read_input_tokens": 100, "output_tokens": 1}
    assert buckets(read("claude", claude(start, delta))) == (30, 100, 0, 50)


def test_a_claude_stream_that_tells_its_input_only_at_the_end_is_believed_then() -> None:
    """What a gateway guessed at the start is replaced, be it more or less."""
    start = {"input_tokens": 45, "output_tokens": 0}
    delta = {"input_tokens": 30, "cache_read_input_tokens": 100, "output_tokens": 50}
    assert buckets(read("claude", claude(start, delta))) == (30, 100, 0, 50)


@pytest.mark.parametrize("seen", range(1, 41))
def test_gemini_counts_grow_and_the_latest_is_known_at_every_frame(seen: int) -> None:
    usages = [{"promptTokenCount": 130, "candidatesTokenCount": n, "totalTokenCount": 130 + n} for n in range(1, 41)]
    told = frames(gemini(*usages))
    assert buckets(read("gemini", *told[:seen])) == (130, 0, 0, seen)


def test_usage_on_every_chunk_of_a_compatible_vendor_is_known_as_it_grows() -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    told = [
        sse(
            {
                **chunk,
                "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
                "usage": {"prompt_tokens": 130, "completion_tokens": n, "total_tokens": 130 + n},
            }
        )
        for n in range(1, 9)
    ]
    for seen in range(1, 9):
        assert buckets(read("openai", *told[:seen])) == (130, 0, 0, seen)


@pytest.mark.parametrize("last", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}])
def test_zeros_after_the_counts_of_openai_undo_nothing(last: Any) -> None:
    told = openai({"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 180}, last)
    assert buckets(read("openai", told)) == (130, 0, 0, 50)


def test_openai_tells_its_counts_in_a_chunk_after_the_finish() -> None:
    told = frames(openai({"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 180}))
    assert read("openai", *told[:2]) == Tokens()
    assert buckets(read("openai", *told[:3])) == (130, 0, 0, 50)


def test_counts_within_a_choice_are_read_too() -> None:
    """As Moonshot streams them."""
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
    usage = {"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 180}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    told = sse({**chunk, "choices": [{**choice, "usage": usage}]})
    assert buckets(read("openai", told)) == (130, 0, 0, 50)


def test_responses_tell_their_counts_at_the_end_only() -> None:
    told = frames(responses({"input_tokens": 130, "output_tokens": 50, "total_tokens": 180}))
    assert read("openai-response", *told[:1]) == Tokens()
    assert buckets(read("openai-response", *told)) == (130, 0, 0, 50)


@pytest.mark.parametrize("kind", ["response.failed", "response.incomplete", "response.done"])
def test_responses_that_do_not_complete_tell_what_they_took(kind: str) -> None:
    told = responses({"input_tokens": 130, "output_tokens": 50, "total_tokens": 180})
    told = told.replace(b"response.completed", kind.encode())
    assert buckets(read("openai-response", told)) == (130, 0, 0, 50)


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("openai", openai()),
        ("openai", openai(None)),
        ("openai", openai({})),
        ("openai", openai({"prompt_tokens": "many", "completion_tokens": None})),
        ("openai-response", responses(None)),
        ("openai-response", responses([])),
        ("gemini", gemini({})),
        ("gemini", gemini(None)),
    ],
)
def test_without_counts_nothing_is_invented(name: str, stream: bytes) -> None:
    assert read(name, stream) == Tokens()


@pytest.mark.parametrize("name", ["openai", "openai-response", "claude", "gemini"])
def test_a_zero_after_a_number_tells_nothing(name: str) -> None:
    usage = Usage(input_total=130, output_total=50, cache_read=100)
    assert tokens_of(usage.merge(Usage(input_total=0, output_total=0, cache_read=0)), name) == tokens_of(usage, name)
    assert usage.merge(Usage(output_total=60)).output_total == 60
    assert Usage().merge(Usage(output_total=0)).output_total == 0
