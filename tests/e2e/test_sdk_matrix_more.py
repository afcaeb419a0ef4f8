"""The official SDKs where it gets harder: calls at once, long names, refusals, broken streams, async clients."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from running import KEY, RunningDaemon
from test_sdk_matrix import PNG, SCHEMA, City

every_upstream = pytest.mark.parametrize("model", ["oc", "claude", "gemini", "codex"])
NAMES = ["get_weather", "mcp__" + "weather_of_the_world" * 2 + "__" + "get_the_weather_of_a_city"]
"""The second is longer than OpenAI takes."""
CITY = City(city="Paris", population=2100000)
USER: list[Any] = [{"role": "user", "content": "all of them"}]


@pytest.fixture
def chat(daemon: RunningDaemon) -> openai.OpenAI:
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key=KEY, max_retries=0)


@pytest.fixture
def claude(daemon: RunningDaemon) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=daemon.url, api_key=KEY, max_retries=0)


@pytest.fixture
def gemini(daemon: RunningDaemon) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url=daemon.url))


def asking(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


# -- several calls at once, with names that must be cut ----------------------------------------------------------


@every_upstream
def test_chat_calls_at_once(chat: openai.OpenAI, model: str) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
    whole = chat.chat.completions.create(model=model, messages=USER, tools=tools)
    with chat.chat.completions.stream(model=model, messages=USER, tools=tools) as stream:
        streamed = stream.until_done().get_final_completion()
    for answer in (whole, streamed):
        calls = answer.choices[0].message.tool_calls or []
        assert [call.function.name for call in calls] == NAMES
        assert len({call.id for call in calls}) == 2
    message = whole.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": str(at)} for at, call in enumerate(message.tool_calls)
    ]
    history: list[Any] = [*USER, message.model_dump(exclude_none=True), *reversed(results)]
    final = chat.chat.completions.create(model=model, messages=history, tools=tools)
    assert sorted(final.choices[0].message.content or "") == sorted("The tool said: 0, 1")


@every_upstream
def test_responses_calls_at_once(chat: openai.OpenAI, model: str) -> None:
    tools: list[Any] = [{"type": "function", "name": name, "parameters": SCHEMA} for name in NAMES]
    request: dict[str, Any] = {"model": model, "tools": tools, "store": False}
    whole = chat.responses.create(input="all of them", **request)
    with chat.responses.stream(input="all of them", **request) as stream:
        streamed = stream.until_done().get_final_response()
    for answer in (whole, streamed):
        assert [item.name for item in answer.output if item.type == "function_call"] == NAMES
    history: list[Any] = [*USER, *(item.model_dump(exclude_none=True) for item in whole.output)]
    calls = [item for item in whole.output if item.type == "function_call"]
    history += [{"type": "function_call_output", "call_id": c.call_id, "output": str(at)} for at, c in enumerate(calls)]
    assert chat.responses.create(input=history, **request).output_text == "The tool said: 0, 1"


@every_upstream
def test_messages_calls_at_once(claude: anthropic.Anthropic, model: str) -> None:
    tools: list[Any] = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
    request: dict[str, Any] = {"model": model, "max_tokens": 99, "tools": tools}
    whole = claude.messages.create(messages=USER, **request)
    with claude.messages.stream(messages=USER, **request) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert [block.name for block in message.content if block.type == "tool_use"] == NAMES
    uses = [block for block in whole.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": str(at)} for at, use in enumerate(uses)]
    spoken = [block.model_dump(exclude_none=True) for block in whole.content]
    history: list[Any] = [*USER, {"role": "assistant", "content": spoken}, {"role": "user", "content": results}]
    final = claude.messages.create(messages=history, **request)
    assert [block.text for block in final.content if block.type == "text"] == ["The tool said: 0, 1"]


@every_upstream
def test_gemini_calls_at_once(gemini: genai.Client, model: str) -> None:
    names = [name[:64] for name in NAMES]
    functions = [genai_types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in names]
    config = genai_types.GenerateContentConfig(
        tools=[genai_types.Tool(function_declarations=functions)],
        automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
    )
    whole = gemini.models.generate_content(model=model, contents="all of them", config=config)
    chunks = list(gemini.models.generate_content_stream(model=model, contents="all of them", config=config))
    assert [call.name for call in whole.function_calls or []] == names
    assert [call.name for chunk in chunks for call in chunk.function_calls or []] == names
    answers = [
        genai_types.Part(
            function_response=genai_types.FunctionResponse(id=call.id, name=call.name, response={"result": str(at)})
        )
        for at, call in enumerate(whole.function_calls or [])
    ]
    history = [
        genai_types.Content(role="user", parts=[genai_types.Part(text="all of them")]),
        whole.candidates[0].content,
        genai_types.Content(role="user", parts=answers),
    ]
    assert gemini.models.generate_content(model=model, contents=history, config=config).text == "The tool said: 0, 1"


# -- structured output, streamed, and Claude's ---------------------------------------------------------------------


@every_upstream
def test_structured_output_streams(
    chat: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client, model: str
) -> None:
    with chat.chat.completions.stream(model=model, messages=asking("city"), response_format=City) as stream:
        assert stream.until_done().get_final_completion().choices[0].message.parsed == CITY
    with chat.responses.stream(model=model, input="city", text_format=City, store=False) as responses:
        assert responses.until_done().get_final_response().output_parsed == CITY
    schema = City.model_json_schema()
    message = claude.messages.create(
        model=model,
        max_tokens=99,
        messages=asking("city"),
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    )
    assert City.model_validate_json(message.content[0].text) == CITY
    config = genai_types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    chunks = gemini.models.generate_content_stream(model=model, contents="city", config=config)
    assert City.model_validate_json("".join(chunk.text or "" for chunk in chunks)) == CITY


# -- refusals and streams that break -------------------------------------------------------------------------------


@every_upstream
def test_a_refusal_is_told_in_every_format(
    chat: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client, model: str
) -> None:
    asked = asking("refuse")
    message = chat.chat.completions.create(model=model, messages=asked).choices[0].message
    assert (message.refusal or message.content) == "I will not."
    with chat.chat.completions.stream(model=model, messages=asked) as stream:
        for _ in stream:
            pass
        shown = stream.current_completion_snapshot.choices[0].message
    assert (shown.refusal or shown.content) == "I will not."
    output = chat.responses.create(model=model, input="refuse", store=False).output
    told = [part for item in output if item.type == "message" for part in item.content]
    assert [getattr(part, "refusal", None) or part.text for part in told] == ["I will not."]
    for answer in (
        claude.messages.create(model=model, max_tokens=9, messages=asked),
        claude_stream(claude, model=model, max_tokens=9, messages=asked),
    ):
        assert (answer.content[0].text, answer.stop_reason) == ("I will not.", "refusal")
    whole = gemini.models.generate_content(model=model, contents="refuse")
    assert (whole.text, whole.candidates[0].finish_reason) == ("I will not.", "SAFETY")


def claude_stream(client: anthropic.Anthropic, **request: Any) -> Any:
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


@every_upstream
def test_a_stream_that_breaks_raises(
    chat: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client, model: str
) -> None:
    with pytest.raises(openai.APIError, match="boom"):
        list(chat.chat.completions.create(model=model, messages=asking("break"), stream=True))
    events = list(chat.responses.create(model=model, input="break", stream=True, store=False))
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta") == "This answer is cut"
    )
    assert (events[-1].type, getattr(events[-1], "message", None)) == ("error", "the model says boom")
    with pytest.raises(anthropic.APIError, match="boom"):
        claude_stream(claude, model=model, max_tokens=9, messages=asking("break"))
    with pytest.raises(genai_errors.APIError, match="boom"):
        list(gemini.models.generate_content_stream(model=model, contents="break"))


# -- async clients, models, counting, base64 for URLs --------------------------------------------------------------


@every_upstream
async def test_async_clients_hear_the_same(daemon: RunningDaemon, model: str) -> None:
    wanted = "You said: hello — über ☃"
    async with openai.AsyncOpenAI(base_url=daemon.url + "/v1", api_key=KEY, max_retries=0) as chat:
        stream = await chat.chat.completions.create(model=model, messages=asking("hello"), stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == wanted
        assert (await chat.responses.create(model=model, input="hello", store=False)).output_text == wanted
    async with (
        anthropic.AsyncAnthropic(base_url=daemon.url, api_key=KEY, max_retries=0) as claude,
        claude.messages.stream(model=model, max_tokens=9, messages=asking("hello")) as messages,
    ):
        assert await messages.get_final_text() == wanted
    gemini = genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url=daemon.url)).aio
    chunks = await gemini.models.generate_content_stream(model=model, contents="hello")
    assert "".join([chunk.text or "" async for chunk in chunks]) == wanted


@every_upstream
@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_both_versions_of_googles_api_take_pictures_and_count(daemon: RunningDaemon, model: str, version: str) -> None:
    options = genai_types.HttpOptions(base_url=daemon.url, api_version=version)
    client = genai.Client(api_key=KEY, http_options=options)
    picture = genai_types.Part.from_bytes(data=PNG + b"\xff\xfe\xfb\xef", mime_type="image/png")
    assert client.models.generate_content(model=model, contents=["look", picture]).text == "I see image/png"
    assert (client.models.count_tokens(model=model, contents="hello").total_tokens or 0) > 0
    assert client.models.get(model=model).name == f"models/{model}"


def test_every_sdk_lists_models(chat: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client) -> None:
    wanted = {"oc", "claude", "gemini", "codex"}
    assert wanted <= {model.id for model in chat.models.list()}
    assert wanted <= {model.id for model in claude.models.list()}
    assert wanted <= {(model.name or "").removeprefix("models/") for model in gemini.models.list()}
    assert chat.models.retrieve("oc").id == claude.models.retrieve("oc").id == "oc"


def test_pictures_in_base64_for_urls_reach_others_in_plain_base64(
    gemini: genai.Client, fake_model: tuple[Any, Any]
) -> None:
    data = PNG + b"\xff\xfe\xfb\xef"
    picture = genai_types.Part.from_bytes(data=data, mime_type="image/png")
    gemini.models.generate_content(model="claude", contents=["look", picture])
    kind, body = fake_model[0].requests[-1]
    assert kind == "claude"
    assert body["messages"][0]["content"][1]["source"]["data"] == base64.b64encode(data).decode()
