"""One rich body of every kind: requests of each client format, whole answers and streams of each upstream format."""

from __future__ import annotations

import base64
from typing import Any

Object = dict[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQK"
FERNET = base64.urlsafe_b64encode(b"\x80" + bytes(72)).decode()
SIGNED = base64.b64encode(b"\x12" + b"x" * 90).decode()
SCHEMA: Object = {"type": "object", "properties": {"a": {"type": "integer", "enum": [1, 2]}}, "required": ["a"]}

REQUESTS: dict[str, Object] = {
    "openai": {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            {
                "role": "user",
                "name": "bob",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                ],
            },
            {
                "role": "assistant",
                "content": "ok",
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "call_2", "type": "custom", "custom": {"name": "p", "input": "raw"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42"}]},
            {"role": "tool", "tool_call_id": "call_2", "content": "done"},
            {"role": "user", "content": "go on"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}},
            {"type": "custom", "custom": {"name": "p", "description": "d", "format": {"type": "text"}}},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": SCHEMA, "strict": True}},
        "reasoning_effort": "low",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 4000,
        "n": 1,
        "seed": 7,
        "stop": ["X"],
        "presence_penalty": 0.1,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"5": 1},
        "modalities": ["text"],
        "metadata": {"k": "v"},
        "user": "u",
        "service_tier": "auto",
        "verbosity": "low",
        "stream_options": {"include_usage": True},
    },
    "openai-response": {
        "instructions": "S",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "D"}]},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": FERNET,
            },
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "content": [{"type": "output_text", "text": "ok", "annotations": []}],
            },
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "p", "input": "raw"},
            {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "42"}]},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
            {"role": "user", "content": "go on"},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
            {"type": "custom", "name": "p", "description": "d", "format": {"type": "text"}},
            {"type": "namespace", "name": "mcp__s__", "tools": [{"type": "function", "name": "x", "parameters": {}}]},
            {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "parallel_tool_calls": True,
        "text": {"format": {"type": "json_schema", "name": "o", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 4000,
        "temperature": 1,
        "top_p": 1,
        "top_logprobs": 0,
        "metadata": {"k": "v"},
        "user": "u",
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "store": False,
    },
    "claude": {
        "max_tokens": 4000,
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    {"type": "image", "source": {"type": "url", "url": "https://h.example/i.png"}},
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": SIGNED},
                    {"type": "text", "text": "ok"},
                    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": False,
                        "content": [{"type": "text", "text": "42"}],
                    },
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        "tools": [
            {"name": "f", "description": "d", "input_schema": SCHEMA},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["a.example"]},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "temperature": 1,
        "top_k": 40,
        "stop_sequences": ["X"],
        "metadata": {"user_id": "u"},
        "betas": ["b"],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "look"},
                    {"inlineData": {"mimeType": "image/png", "data": PNG}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": "https://h.example/a.pdf"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "Cm1t"},
                    {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Cm1t"},
                ],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"result": "42"}}}],
            },
        ],
        "tools": [
            {"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT", **SCHEMA}}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "generationConfig": {
            "temperature": 1,
            "topP": 0.9,
            "topK": 40,
            "candidateCount": 1,
            "maxOutputTokens": 4000,
            "stopSequences": ["X"],
            "seed": 7,
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "responseModalities": ["TEXT"],
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
        },
    },
}
"""Client format -> a request that uses most of what it can say; the model is not in it."""

_CODEX_OUTPUT: list[Object] = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": FERNET,
    },
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [
            {
                "type": "output_text",
                "text": "Hi",
                "annotations": [
                    {
                        "type": "url_citation",
                        "start_index": 0,
                        "end_index": 2,
                        "url": "https://a.example/",
                        "title": "A",
                    }
                ],
            }
        ],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "image_generation_call", "id": "ig_1", "result": "QUJD", "output_format": "png", "status": "completed"},
]
_CHAT_USAGE: Object = {
    "prompt_tokens": 130,
    "completion_tokens": 50,
    "total_tokens": 180,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
_CALL: Object = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
_GEMINI_USAGE: Object = {"promptTokenCount": 130, "candidatesTokenCount": 20, "thoughtsTokenCount": 30}
_GEMINI_PARTS: list[Object] = [
    {"text": "hm", "thought": True},
    {"text": "Hi"},
    {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Cm1t"},
    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
]
_RESPONSE: Object = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "up",
    "output": _CODEX_OUTPUT,
    "usage": {
        "input_tokens": 130,
        "input_tokens_details": {"cached_tokens": 100},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 180,
    },
}
_BLOCKS: list[Object] = [
    {"type": "thinking", "thinking": "hm", "signature": SIGNED},
    {"type": "redacted_thinking", "data": "zz"},
    {"type": "text", "text": "Hi", "citations": []},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "url": "https://a.example/", "title": "A", "encrypted_content": "e"}],
    },
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
]
_CLAUDE_USAGE: Object = {"input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 50}

REPLIES: dict[str, Object] = {
    "openai": {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "up",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi",
                    "reasoning_content": "hm",
                    "tool_calls": [_CALL],
                    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}],
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {"start_index": 0, "end_index": 2, "url": "https://a.example/"},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": _CHAT_USAGE,
    },
    "openai-response": _RESPONSE,
    "claude": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "up",
        "content": _BLOCKS,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": _CLAUDE_USAGE,
    },
    "gemini": {
        "candidates": [
            {
                "content": {"role": "model", "parts": _GEMINI_PARTS},
                "finishReason": "STOP",
                "index": 0,
                "groundingMetadata": {
                    "webSearchQueries": ["q"],
                    "groundingChunks": [{"web": {"uri": "https://a.example/", "title": "A"}}],
                    "groundingSupports": [{"segment": {"endIndex": 2, "text": "Hi"}, "groundingChunkIndices": [0]}],
                },
            }
        ],
        "usageMetadata": _GEMINI_USAGE,
        "modelVersion": "up",
        "responseId": "r1",
    },
}
"""Upstream format -> a whole answer."""


def _chunk(delta: Object, finish: str | None = None, **members: Any) -> Object:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [choice], **members}


def _codex_events() -> list[Object]:
    head = {**_RESPONSE, "status": "in_progress", "output": [], "usage": None}
    events: list[Object] = [{"type": "response.created", "response": head}]
    for index, item in enumerate(_CODEX_OUTPUT):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        where = {"item_id": item["id"], "output_index": index}
        if item["type"] == "reasoning":
            events.append({"type": "response.reasoning_summary_text.delta", **where, "summary_index": 0, "delta": "hm"})
        elif item["type"] == "message":
            events.append({"type": "response.output_text.delta", **where, "content_index": 0, "delta": "Hi"})
        elif item["type"] == "function_call":
            events.append({"type": "response.function_call_arguments.delta", **where, "delta": '{"a":1}'})
            events.append({"type": "response.function_call_arguments.done", **where, "arguments": '{"a":1}'})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": _RESPONSE})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _claude_events() -> list[Object]:
    message = {**REPLIES["claude"], "content": [], "stop_reason": None}
    events: list[Object] = [{"type": "message_start", "message": message}]
    deltas: dict[str, Object] = {
        "thinking": {"type": "thinking_delta", "thinking": "hm"},
        "text": {"type": "text_delta", "text": "Hi"},
        "tool_use": {"type": "input_json_delta", "partial_json": '{"a":1}'},
    }
    for index, block in enumerate(_BLOCKS):
        empty = {key: value for key, value in block.items() if key not in ("thinking", "text", "input")}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        if block["type"] in deltas:
            events.append({"type": "content_block_delta", "index": index, "delta": deltas[block["type"]]})
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": "tool_use", "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": delta, "usage": _CLAUDE_USAGE}, {"type": "message_stop"}]


STREAMS: dict[str, list[Object]] = {
    "openai": [
        _chunk({"role": "assistant", "content": "", "reasoning_content": "hm"}),
        _chunk({"content": "Hi"}),
        _chunk({"tool_calls": [_CALL]}),
        _chunk({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]}),
        _chunk({}, "tool_calls", usage=_CHAT_USAGE),
    ],
    "openai-response": _codex_events(),
    "claude": _claude_events(),
    "gemini": [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], "modelVersion": "up"}
        for part in _GEMINI_PARTS
    ]
    + [REPLIES["gemini"]],
}
"""Upstream format -> the events of a streamed answer."""
