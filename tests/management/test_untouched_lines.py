"""Whatever is written through the API, only the lines it is about change, in files of every style."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from msgspec import Struct

from cpa.management.route import CONFIGURATION
from tests.management.conftest import Managed, Start
from tests.management.rich_files import FILES


class Write(Struct, frozen=True):
    """One call, and what may be seen of it in the file."""

    method: str
    path: str
    body: Any
    only: str
    """Every line that goes or comes matches this."""
    removes: bool = False
    """Comments may go with what is removed; otherwise they all stay."""


def scalar(path: str, value: Any, section: str = "") -> Write:
    return Write("PUT", f"/{path}", {"value": value}, section or path.rpartition("/")[2])


AMP = "ampcode"
WRITES = [
    scalar("debug", True),
    scalar("logging-to-file", False),
    scalar("logs-max-total-size-mb", 50),
    scalar("error-logs-max-files", -1),
    scalar("usage-statistics-enabled", True),
    scalar("proxy-url", "http://proxy:8080"),
    scalar("request-log", True),
    scalar("ws-auth", True),
    scalar("request-retry", 5),
    scalar("max-retry-credentials", 4),
    scalar("max-retry-interval", 60),
    scalar("force-model-prefix", True),
    scalar("routing/strategy", "fill-first", "routing|strategy"),
    scalar("quota-exceeded/switch-project", False, "quota-exceeded|switch-project"),
    scalar("quota-exceeded/switch-preview-model", False, "quota-exceeded|switch-preview-model"),
    scalar("ampcode/upstream-url", "https://amp.example", f"{AMP}|upstream-url"),
    scalar("ampcode/upstream-api-key", "amp", f"{AMP}|upstream-api-key"),
    scalar("ampcode/restrict-management-to-localhost", False, f"{AMP}|restrict"),
    scalar("ampcode/force-model-mappings", True, f"{AMP}|force-model"),
    Write("DELETE", "/proxy-url", None, "proxy-url"),
    Write("DELETE", "/ampcode/upstream-url", None, "upstream-url"),
    Write("DELETE", "/ampcode/upstream-api-key", None, "upstream-api-key"),
    Write("PATCH", "/api-keys", {"old": "key-one", "new": "key-1"}, "key-(one|1)"),
    Write("PATCH", "/api-keys", {"old": None, "new": "key-new"}, "key-new|api-keys"),
    Write("DELETE", "/api-keys?value=key-two", None, "key-two", removes=True),
    Write("PUT", "/api-keys", ["key-two", "key-0"], "key-(one|0)|key-three|laptop|agent", removes=True),
    Write("PATCH", "/gemini-api-key", {"index": 0, "value": {"prefix": "crew"}}, "prefix"),
    Write("PATCH", "/gemini-api-key", {"match": "g-two", "value": {"proxy-url": "direct"}}, "proxy-url"),
    Write("DELETE", "/gemini-api-key?api-key=g-two", None, "g-two|second account", removes=True),
    Write(
        "PUT",
        "/gemini-api-key",
        [{"api-key": "g-two"}, {"api-key": "g-3"}],
        "g-(one|3)|gemini-|first account|^ {4}",
        removes=True,
    ),
    Write("PATCH", "/claude-api-key", {"index": 0, "value": {"excluded-models": ["*"]}}, r"claude-opus|\*|excluded"),
    Write("PATCH", "/claude-api-key", {"index": 1, "value": {"headers": {"X": "1"}}}, "X: '1'|headers"),
    Write("DELETE", "/claude-api-key?api-key=c-two", None, "c-two|gateway", removes=True),
    Write(
        "PUT",
        "/claude-api-key",
        [{"api-key": "c-two"}],
        "c-one|the only one|^ {1,3}(?! *- api-key: c-two)|^$",
        removes=True,
    ),
    Write("PATCH", "/codex-api-key", {"index": 1, "value": {"base-url": "https://other.example"}}, "example"),
    Write("DELETE", "/codex-api-key?index=1", None, r"x-two|v2|spare|<<|^    -$", removes=True),
    Write("PUT", "/codex-api-key", [], "codex-api-key|^ |^[]]", removes=True),
    Write("PATCH", "/vertex-api-key", {"index": 1, "value": {"prefix": "v"}}, "prefix"),
    Write("DELETE", "/vertex-api-key?api-key=v-one", None, "v-one|vertex.example|Google", removes=True),
    Write(
        "PUT",
        "/vertex-api-key",
        [{"api-key": "v-two", "base-url": "https://vertex.example"}],
        "v-one|vertex.ex|Goo",
        removes=True,
    ),
    Write("PATCH", "/openai-compatibility", {"index": 0, "value": {"disabled": True}}, "disabled"),
    Write(
        "PATCH",
        "/openai-compatibility",
        {"name": "paid", "value": {"api-key-entries": [{"api-key": "p"}]}},
        r"p-one|\bp\b|entries",
    ),
    Write("DELETE", "/openai-compatibility?name=paid", None, "paid|api-key-entries|p-one", removes=True),
    Write(
        "PUT",
        "/openai-compatibility",
        [{"name": "paid", "base-url": "https://paid.example/v1"}],
        "^ |desk",
        removes=True,
    ),
    Write(
        "PATCH",
        "/oauth-excluded-models",
        {"provider": "claude", "models": ["claude-opus-*", "b"]},
        r"\bb\b|excl|claude",
    ),
    Write("DELETE", "/oauth-excluded-models?provider=codex", None, "codex|gpt-5.4", removes=True),
    Write(
        "PUT", "/oauth-excluded-models", {"claude": ["claude-opus-*"]}, "codex|gpt-5.4|excluded|claude", removes=True
    ),
    Write(
        "PATCH",
        "/oauth-model-alias",
        {"channel": "codex", "aliases": [{"name": "gpt-5.4", "alias": "six"}]},
        "five|six|oauth-model|codex|name: gpt",
    ),
    Write("PUT", "/oauth-model-alias", {}, "oauth-model-alias|^ ", removes=True),
    Write("DELETE", "/oauth-model-alias?channel=codex", None, "oauth-model-alias|^ ", removes=True),
    Write(
        "PATCH",
        "/oauth-request-scoped-errors",
        {"channel": "codex", "rules": [{"status": 400, "action": "continue"}]},
        "action|scoped|codex|status",
    ),
    Write(
        "PUT", "/oauth-request-scoped-errors", {"kimi": [{"status": 401, "action": "stop"}]}, "scoped|^ ", removes=True
    ),
    Write("DELETE", "/oauth-request-scoped-errors?channel=codex", None, "scoped|^ ", removes=True),
    Write(
        "PATCH",
        "/prompt-rules",
        {"match": "new", "value": {"name": "new", "target": "user", "action": "strip", "pattern": "x"}},
        "new|target: user|action: strip|pattern: x|prompt-rules",
    ),
    Write("DELETE", "/prompt-rules?name=clean", None, "clean|enabled: true|target: user|strip|foo", removes=True),
    Write(
        "PUT",
        "/prompt-rules",
        [{"name": "clean", "enabled": True, "target": "user", "action": "strip", "pattern": "foo+"}],
        "prompt-rules|^ ",
        removes=True,
    ),
    Write("PATCH", "/model-routes", {"match": "any", "value": {"strategy": "round-robin"}}, "strategy"),
    Write("DELETE", "/model-routes?alias=any", None, "model-routes|^ ", removes=True),
    Write(
        "PUT", "/model-routes", [{"alias": "any", "models": ["local"]}], "big|models|model-routes|any|local|strategy"
    ),
    Write(
        "PATCH",
        "/ampcode/model-mappings",
        {"value": [{"from": "c", "to": "d"}]},
        "from: c|to: d|ampcode|model-mappings",
    ),
    Write(
        "PUT", "/ampcode/model-mappings", {"value": [{"from": "a", "to": "d"}]}, "to: [bd]|ampcode|model-map|from: a"
    ),
    Write("DELETE", "/ampcode/model-mappings", {"value": ["a"]}, "model-mappings|from: a|to: b|slow", removes=True),
    Write(
        "PATCH",
        "/ampcode/upstream-api-keys",
        {"value": [{"upstream-api-key": "u-2", "api-keys": ["k"]}]},
        "u-2|api-keys|- k$|ampcode",
    ),
    Write(
        "PUT",
        "/ampcode/upstream-api-keys",
        {"value": [{"upstream-api-key": "u-one"}]},
        "u-one|api-keys|key-one|ampcode",
        removes=True,
    ),
    Write("DELETE", "/ampcode/upstream-api-keys", {"value": ["u-one"]}, "u-one|api-keys|key-one", removes=True),
]
REFUSED = {
    ("anchors", "DELETE"): 404,
    ("anchors", "PATCH"): 400,
}
"""Where there is nothing to delete, and half a route to add."""


def differences(before: str, after: str) -> Iterator[tuple[list[str], list[str]]]:
    """Lines that go and lines that came in their place; one by one where they are as many."""
    old, new = before.splitlines(), after.splitlines()
    for tag, start, end, to, until in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "replace" and end - start == until - to:
            yield from (([one], [other]) for one, other in zip(old[start:end], new[to:until], strict=True))
        elif tag != "equal":
            yield from (([line], []) for line in old[start:end])
            yield from (([], [line]) for line in new[to:until])


def comments(lines: Iterable[str]) -> set[str]:
    """The comments in lines."""
    return {found[0].strip() for line in lines if (found := re.search(r"(?:^|\s)# .*", line))}


@pytest.mark.parametrize("style", FILES)
async def test_only_the_lines_a_write_is_about_change(start: Start, style: str) -> None:
    daemon: Managed = await start()
    head = daemon.path.read_bytes().decode()
    newline = "\r\n" if style == "CRLF" else "\n"
    before = head.replace("\n", newline) + FILES[style]
    for write in WRITES:
        daemon.path.write_bytes(before.encode())
        daemon.daemon.store.reload()
        answer = await daemon.call(write.method, write.path, write.body)
        after = daemon.path.read_bytes().decode()
        if answer.status != 200:
            assert (answer.status, after) == (REFUSED.get((style, write.method)), before), (write, answer)
            continue
        changed = list(differences(before, after))
        for gone, come in changed:
            assert any(re.search(write.only, line) for line in gone + come), (write, gone, come)
        if not write.removes:
            missing = comments(line for gone, _ in changed for line in gone)
            assert missing <= comments(line for _, come in changed for line in come), write
        assert after.count("\r\n") == (after.count("\n") if style == "CRLF" else 0), write
        assert after.endswith(newline) == before.endswith(newline), write


async def test_what_is_undone_leaves_the_file_as_it_was(start: Start) -> None:
    daemon: Managed = await start(FILES["block"])
    before = daemon.path.read_bytes()
    for path, there, back in [
        ("/debug", True, False),
        ("/proxy-url", "socks5://p:1", "direct"),
        ("/request-retry", 9, 3),
        ("/routing/strategy", "fill-first", "round-robin"),
        ("/ampcode/upstream-url", "https://a.example", ""),
    ]:
        for value in (there, back):
            assert (await daemon.call("PUT", path, {"value": value})).status == 200
        assert daemon.path.read_bytes() == before, path
    await daemon.call("PATCH", "/api-keys", {"old": None, "new": "key-new"})
    await daemon.call("DELETE", "/api-keys?value=key-new")
    await daemon.call("PATCH", "/oauth-excluded-models", {"provider": "kimi", "models": ["a"]})
    await daemon.call("DELETE", "/oauth-excluded-models?provider=kimi")
    assert daemon.path.read_bytes() == before


async def test_a_list_written_back_as_it_was_read_changes_no_byte(start: Start) -> None:
    """Panels read a list, change one entry and send all of it back."""
    daemon: Managed = await start(FILES["block"])
    before = daemon.path.read_bytes()
    shown = (await daemon.call("GET", "/config")).json
    for key in ("gemini-api-key", "claude-api-key", "codex-api-key", "vertex-api-key", "openai-compatibility"):
        for entries in (shown[key], (await daemon.call("GET", f"/{key}")).json[key]):
            assert (await daemon.call("PUT", f"/{key}", entries)).status == 200
            assert daemon.path.read_text() == before.decode(), key
    for key in ("api-keys", "prompt-rules", "model-routes", "oauth-excluded-models", "oauth-model-alias"):
        assert (await daemon.call("PUT", f"/{key}", (await daemon.call("GET", f"/{key}")).json[key])).status == 200
        assert daemon.path.read_text() == before.decode(), key


async def test_every_route_that_writes_the_configuration_is_tried_here(managed: Managed) -> None:
    document = (await managed.call("GET", "/openapi.json")).json
    tried = {(write.method, write.path.partition("?")[0]) for write in WRITES}
    tried |= {("PATCH", path) for method, path in tried if method == "PUT"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["tags"] == [CONFIGURATION] and method != "get":
                name = path.removeprefix("/v0/management")
                assert (method.upper(), name) in tried or name == "/config.yaml", (method, name)
