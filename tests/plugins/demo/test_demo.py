"""The demo provider: everything it can do, without a network."""

from __future__ import annotations

import base64
import struct
import time
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from cpa.config.load import load_text
from cpa.conversation.reply import Reply, fold
from cpa.formats.codec import ReplyContext
from cpa.formats.openai import OpenAICodec
from cpa.formats.sse import SseParser
from cpa.plugins import UpstreamRequest
from cpa_demo import DemoPlugin, DemoProvider

Object = dict[str, Any]
CONFIG = load_text("", environ={}).config
TOOLS: list[Object] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"enum": ["C", "F"]},
                    "days": {"type": "integer", "minimum": 3},
                    "where": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]},
                    "optional": {"type": "boolean"},
                },
                "required": ["city", "unit", "days", "where"],
            },
        },
    }
    for name in ("get_weather", "get_time")
]


async def ask(model: str = "demo", *, stream: bool = False, settings: Object | None = None, **body: Any) -> Any:
    """(status, headers, body) of one answer."""
    plugin = DemoPlugin()
    plugin.cpa_configure(settings=settings or {})
    (provider,) = plugin.cpa_providers()
    (account,) = provider.accounts_from_config(CONFIG)
    request = UpstreamRequest(
        account=account,
        model=model,
        body=body,
        operation="generate",
        stream=stream,
        client_format="openai",
        client_headers=CIMultiDict(),
        upstream_format="openai",
        config=CONFIG,
    )
    provider.prepare(request)
    answer = await provider.send(request)
    assert answer is not None
    pieces = [piece async for piece in answer.body]
    return answer.status, answer.headers, pieces


async def reply(model: str = "demo", said: Any = "hello", **body: Any) -> Reply:
    """The answer to one message, the same streamed and whole."""
    body.setdefault("messages", [{"role": "user", "content": said}])
    _, _, (raw,) = await ask(model, **body)
    whole = orjson.loads(raw)
    ChatCompletion.model_validate(whole)
    codec, context = OpenAICodec(), ReplyContext()
    direct = fold(codec.decode_reply(whole, context))
    _, _, pieces = await ask(model, stream=True, settings={"chunk-size": 3}, **body)
    decoder = codec.stream_decoder(context)
    frames = SseParser().feed(b"".join(pieces))
    for frame in frames[:-1]:
        ChatCompletionChunk.model_validate_json(frame.data)
    streamed = fold([event for frame in frames for event in decoder.feed(frame)] + decoder.close())
    assert (streamed.blocks, streamed.finishes, streamed.usage) == (direct.blocks, direct.finishes, direct.usage)
    return direct


def text(answer: Reply) -> str:
    return "".join(block.text for block in answer.blocks if block.kind == "text")


def test_it_offers_four_models_without_any_credential() -> None:
    provider = DemoProvider()
    (account,) = provider.accounts_from_config(CONFIG)
    assert (account.kind, account.secret) == ("none", "")
    assert [model.id for model in provider.models(account, lambda *_: [])] == [  # type: ignore[arg-type]
        "demo",
        "demo-think",
        "demo-slow",
        "demo-error",
    ]


async def test_it_says_what_it_understood() -> None:
    answer = await reply(said="über ☃")
    assert text(answer) == "This is the demo model. You said: über ☃"
    assert answer.finishes[0].reason == "stop"
    assert answer.usage is not None
    assert answer.usage.input_total
    assert answer.usage.output_total == -(-len(text(answer).encode()) // 4)


@pytest.mark.parametrize(
    ("model", "body", "thinks"),
    [
        ("demo", {}, False),
        ("demo-think", {}, True),
        ("demo", {"reasoning_effort": "low"}, True),
        ("demo", {"reasoning_effort": "none"}, False),
    ],
)
async def test_it_thinks_when_asked_to(model: str, body: Object, thinks: bool) -> None:
    answer = await reply(model, **body)
    assert [block.kind for block in answer.blocks] == (["reasoning", "text"] if thinks else ["text"])
    assert answer.usage is not None
    assert bool(answer.usage.reasoning) == thinks


@pytest.mark.parametrize(
    ("said", "choice", "called"),
    [
        ("please get_weather", None, "get_weather"),
        ("please get_time", "auto", "get_time"),
        ("please get_weather", "none", None),
        ("hello", "required", "get_weather"),
        ("hello", {"type": "function", "function": {"name": "get_time"}}, "get_time"),
        ("hello", None, None),
        ("forget_weather", None, None),
    ],
)
async def test_it_calls_the_tool_that_is_named_or_forced(said: str, choice: Any, called: str | None) -> None:
    answer = await reply(said=said, tools=TOOLS, tool_choice=choice)
    calls = [block for block in answer.blocks if block.kind == "tool_call"]
    assert [call.name for call in calls] == ([called] if called else [])
    assert answer.finishes[0].reason == ("tool_calls" if called else "stop")
    for call in calls:
        assert orjson.loads(call.arguments) == {"city": "demo", "unit": "C", "days": 3, "where": [1.0]}


async def test_it_tells_what_a_tool_answered() -> None:
    messages = [
        {"role": "user", "content": "get_weather"},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "get_weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
    ]
    assert text(await reply(messages=messages, tools=TOOLS)) == "The tool answered: rain"


async def test_it_sees_pictures() -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 3, 2) + bytes(9)
    urls = ["data:image/png;base64," + base64.b64encode(png).decode(), "https://h.example/i.png"]
    content = [{"type": "text", "text": "what?"}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    assert text(await reply(said=content)).endswith(
        "what? I see a picture (image/png, 3x2 pixels). I see a picture at https://h.example/i.png."
    )


async def test_it_answers_in_the_structure_asked_for() -> None:
    schema = TOOLS[0]["function"]["parameters"]
    wanted = {"type": "json_schema", "json_schema": {"name": "o", "schema": schema}}
    assert orjson.loads(text(await reply(response_format=wanted)))["days"] == 3
    assert orjson.loads(text(await reply(response_format={"type": "json_object"}))) == {"echo": "hello"}


async def test_it_heeds_limits_and_stops() -> None:
    short = await reply(max_tokens=2)
    assert (text(short), short.finishes[0].reason) == ("This is ", "length")
    stopped = await reply(stop=["model", "x"])
    assert (text(stopped), stopped.finishes[0].reason) == ("This is the demo ", "stop")


async def test_one_model_is_always_busy() -> None:
    status, headers, (body,) = await ask("demo-error", messages=[])
    assert (status, headers["Retry-After"]) == (429, "5")
    assert orjson.loads(body)["error"]["code"] == "rate_limit_exceeded"


async def test_settings_slow_it_down_and_cut_it_up() -> None:
    messages = [{"role": "user", "content": "x" * 100}]
    many = (await ask(stream=True, settings={"chunk-size": 1}, messages=messages))[2]
    few = (await ask(stream=True, settings={"chunk-size": 1000}, messages=messages))[2]
    assert len(many) > 100
    assert len(few) == 5
    begun = time.monotonic()
    await ask(stream=True, settings={"chunk-size": 1000, "delay-ms": 20}, messages=messages)
    assert time.monotonic() - begun >= 0.09


@pytest.mark.parametrize("settings", [{"delay-ms": -1}, {"delay-ms": "slow"}, {"chunk-size": 0}, {"chunk-size": "x"}])
def test_wrong_settings_are_named(settings: Object) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        DemoPlugin().cpa_configure(settings=settings)
