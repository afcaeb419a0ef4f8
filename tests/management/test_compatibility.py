"""Every route that programs made for CLIProxyAPI know is here, under the same name."""

from __future__ import annotations

from typing import Any

from tests.management.conftest import ENDLESS, KEY, Managed, Start

SCALARS = (
    *("debug", "logging-to-file", "logs-max-total-size-mb", "error-logs-max-files", "usage-statistics-enabled"),
    *("request-log", "ws-auth", "request-retry", "max-retry-interval", "force-model-prefix", "routing/strategy"),
    *("quota-exceeded/switch-project", "quota-exceeded/switch-preview-model", "max-retry-credentials"),
    *("ampcode/restrict-management-to-localhost", "ampcode/force-model-mappings"),
)
LISTS = (
    *("api-keys", "gemini-api-key", "claude-api-key", "codex-api-key", "vertex-api-key", "openai-compatibility"),
    *("oauth-excluded-models", "oauth-model-alias", "prompt-rules", "proxy-url", "ampcode/upstream-url"),
    *("ampcode/upstream-api-key", "ampcode/model-mappings", "ampcode/upstream-api-keys"),
    *("oauth-request-scoped-errors",),
)
KNOWN: dict[str, str] = {
    **dict.fromkeys(SCALARS, "GET PUT PATCH"),
    **dict.fromkeys(LISTS, "GET PUT PATCH DELETE"),
    "config": "GET",
    "config.yaml": "GET PUT",
    "latest-version": "GET",
    "model-routes": "GET PUT",
    "ampcode": "GET",
    "auth-files": "GET POST DELETE",
    "auth-files/models": "GET",
    "auth-files/download": "GET",
    "auth-files/status": "PATCH",
    "auth-files/fields": "PATCH",
    "vertex/import": "POST",
    "model-definitions/{channel}": "GET",
    "anthropic-auth-url": "GET",
    "codex-auth-url": "GET",
    "gemini-cli-auth-url": "GET",
    "kimi-auth-url": "GET",
    "oauth-callback": "POST",
    "oauth-session": "DELETE",
    "get-auth-status": "GET",
    "api-call": "POST",
    "reset-quota": "POST",
    "usage": "GET",
    "usage/overview": "GET",
    "usage/events": "GET",
    "usage/events/filters": "GET",
    "usage/export": "GET",
    "usage/import": "POST",
    "usage-queue": "GET",
    "api-key-usage": "GET",
    "logs": "GET DELETE",
}
"""Path -> methods."""


async def test_every_route_of_the_program_before_is_served(managed: Managed) -> None:
    document: dict[str, Any] = (await managed.call("GET", "/openapi.json")).json
    served = {
        (method.upper(), path.removeprefix("/v0/management/"))
        for path, operations in document["paths"].items()
        for method in operations
    }
    known = {(method, path) for path, methods in KNOWN.items() for method in methods.split()}
    assert len(known) > 140
    assert known <= served, known - served


async def test_another_method_is_no_route_and_asks_for_no_key(managed: Managed) -> None:
    for path, methods in KNOWN.items():
        for method in {"GET", "PUT", "PATCH", "DELETE", "POST"} - set(methods.split()):
            if (method, path) in (("PATCH", "model-routes"), ("DELETE", "model-routes"), ("GET", "oauth-callback")):
                continue
            answer = await managed.call(method, f"/{path.format(channel='x')}", key=None)
            assert answer.status in (404, 401), (method, path)
            if answer.status == 404:
                assert answer.text == "404 page not found"


async def test_the_management_key_is_in_no_answer_and_no_line(start: Start, capsys: Any) -> None:
    daemon: Managed = await start("usage-statistics-enabled: true\n")
    await daemon.call("GET", "/debug", key=f"{KEY}-wrong")
    document = (await daemon.call("GET", "/openapi.json")).json
    for path, operations in document["paths"].items():
        for method in operations:
            if not path.endswith(("-auth-url", ENDLESS)):
                answer = await daemon.call(method.upper(), path.replace("{channel}", "x"), data=b"{")
                assert KEY.encode() not in answer.body, (method, path)
                assert all(KEY not in value for value in answer.headers.values())
    written = capsys.readouterr()
    assert KEY not in written.out + written.err
