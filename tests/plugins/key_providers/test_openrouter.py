"""Limits and credit as OpenRouter tells them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from cpa.accounts.account import Account
from cpa.errors import UpstreamError
from cpa.formats.openai import OpenAICodec
from cpa_openai_compat import OpenAICompatProvider

DATE = "Mon, 05 Jan 2026 12:00:00 GMT"
NOON = 1_767_614_400


def judged(metadata: Any = None, **headers: str) -> UpstreamError:
    error = {"message": "Rate limit exceeded: free-models-per-day", "code": 429, "metadata": metadata}
    body = orjson.dumps({"error": error})
    found = CIMultiDict({"Date": DATE, **{name.replace("_", "-"): value for name, value in headers.items()}})
    return OpenAICompatProvider().read_error(429, found, body, OpenAICodec().decode_error(429, body))


@pytest.mark.parametrize(
    ("metadata", "headers", "seconds"),
    [
        ({"headers": {"X-RateLimit-Reset": str((NOON + 60) * 1000)}}, {}, 60.0),
        ({"headers": {"X-RateLimit-Reset": (NOON + 60) * 1000}}, {}, 60.0),
        (None, {"X_RateLimit_Reset": str(NOON + 90)}, 90.0),
        ({"headers": {"X-RateLimit-Reset": str(NOON - 5)}}, {}, None),
        ({"headers": "odd"}, {"X_RateLimit_Reset": "soon"}, None),
        ({"headers": {"X-RateLimit-Reset": "1e999"}}, {}, None),
        ([], {}, None),
    ],
)
def test_a_limit_rests_until_it_starts_anew(metadata: Any, headers: dict[str, str], seconds: float | None) -> None:
    assert judged(metadata, **headers).cooldown == seconds


class Http:
    """Answers one question."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def request(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, url))
        return 200, {}, orjson.dumps(self.answer)


@pytest.mark.parametrize(
    ("data", "used"), [({"limit": 10, "usage": 4}, 0.4), ({"limit": None, "usage": 4}, None), ({"limit": -1}, None)]
)
async def test_the_credit_of_a_key_is_a_window(data: dict[str, Any], used: float | None) -> None:
    http = Http({"data": data})
    account = Account(id="a", provider="openrouter", secret="k", base_url="https://openrouter.ai/api/v1")
    windows = await OpenAICompatProvider().query_quota(account, http) or []
    assert [(window.name, window.used_ratio) for window in windows] == ([("credits", used)] if used else [])
    assert http.asked == [("GET", "https://openrouter.ai/api/v1/key")]


async def test_nobody_else_is_asked_for_credit() -> None:
    http = Http({})
    for url in ("https://o.example/v1", "http://127.0.0.1:11434/v1"):
        account = Account(id="a", provider="o", secret="k", base_url=url)
        assert await OpenAICompatProvider().query_quota(account, http) is None
    assert http.asked == []
