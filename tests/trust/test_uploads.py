"""Rows 12, 14, 16, 24: files, configurations and bodies that are meant to do harm."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from backports import zstd

from cpa.config.load import load_text
from cpa.errors import ConfigError
from tests.management.conftest import Managed, Start

LOGIN = b'{"type": "codex", "access_token": "t", "expired": "2099-01-01T00:00:00Z"}'
NAMES = [
    "../x.json",
    "..%2Fx.json",
    "%2e%2e%2fx.json",
    "%2e%2e/x.json",
    "..%5Cx.json",
    "..%5c..%5cx.json",
    "/etc/x.json",
    "%2Fetc%2Fx.json",
    "C:%5Cx.json",
    "C:x.json",
    "x.json%00.txt",
    "x%00.json",
    "x%0a.json",
    ".json",
    "..json",
    ".hidden.json",
    "CON.json",
    "con.json",
    "NUL.json",
    "COM1.json",
    "lpt9.x.json",
    "x.json:stream",
    "x.json/",
    "a/b.json",
    "x%3F.json",
    "x*.json",
    "x" * 250 + ".json",
    "x.JSON.exe",
    "",
]
"""As they stand in the query."""


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix == ".json"}


@pytest.mark.parametrize("name", NAMES)
async def test_trust_row_12_a_name_that_leads_elsewhere_is_refused_everywhere(
    managed: Managed, tmp_path: Path, name: str
) -> None:
    before = everything_below(tmp_path)
    for method, path, data in (
        ("POST", f"/auth-files?name={name}", LOGIN),
        ("GET", f"/auth-files/download?name={name}", None),
        ("DELETE", f"/auth-files?name={name}", None),
    ):
        answer = await managed.call(method, path, data=data)
        assert answer.status in (400, 404), (method, answer)
    assert everything_below(tmp_path) == before


FILE_NAMES = ["../../x.json", "..\\..\\x.json", "/etc/x.json", "C:\\x.json"]


@pytest.mark.parametrize("name", FILE_NAMES)
async def test_trust_row_12_of_a_name_in_a_form_only_the_last_part_counts(
    managed: Managed, tmp_path: Path, name: str
) -> None:
    head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + LOGIN + b"\r\n--edge--\r\n"
    answer = await managed.call("POST", "/auth-files", data=body, Content_Type="multipart/form-data; boundary=edge")
    assert answer.status in (200, 400)
    assert everything_below(tmp_path) <= {tmp_path / "auth" / "x.json"}


@pytest.mark.parametrize("target", ["outside.json", "outside-missing.json"])
async def test_trust_row_12_a_link_out_of_the_directory_is_neither_read_nor_written(
    managed: Managed, tmp_path: Path, target: str
) -> None:
    outside = tmp_path / target
    if "missing" not in target:
        outside.write_bytes(LOGIN)
    (tmp_path / "auth").mkdir(exist_ok=True)
    (tmp_path / "auth" / "link.json").symlink_to(outside)
    upload = await managed.call("POST", "/auth-files?name=link.json", data=LOGIN.replace(b'"t"', b'"new"'))
    assert (upload.status, upload.json["error"]) == (400, "invalid name")
    assert (await managed.call("GET", "/auth-files/download?name=link.json")).status == 400
    assert outside.exists() is ("missing" not in target)
    if outside.exists():
        assert outside.read_bytes() == LOGIN


async def test_trust_row_12_what_is_no_file_is_not_opened(managed: Managed, tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "auth" / "pipe.json")
    (tmp_path / "auth" / "folder.json").mkdir()
    for name in ("pipe.json", "folder.json"):
        assert (await managed.call("GET", f"/auth-files/download?name={name}")).status in (404, 500)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b" " * (10 * 1024 * 1024), 413),
        (LOGIN[:-1] + b', "x": "' + b"y" * 1_100_000 + b'"}', 413),
        (gzip.compress(LOGIN, mtime=0), 400),
        (b"PK\x03\x04" + b"\0" * 100, 400),
        (b"", 400),
        (b"[" * 100_000, 400),
        (b'{"type":' * 50_000, 400),
        (b'{"type": "codex", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b"\xff\xfe\x00", 400),
        (b'{"type": 5}', 400),
    ],
)
async def test_trust_row_12_what_is_no_login_is_not_stored(
    managed: Managed, tmp_path: Path, content: bytes, status: int
) -> None:
    answer = await managed.call("POST", "/auth-files?name=x.json", data=content)
    assert answer.status == status
    assert not everything_below(tmp_path)


def laughs(levels: int, times: int) -> str:
    """Each level is the one before, several times."""
    lines = ["a: &a [x]"]
    for before, after in pairwise("abcdefghijklmnopqrstuvwxyz"[:levels]):
        lines.append(f"{after}: &{after} [{','.join(['*' + before] * times)}]")
    return "\n".join(lines)


BOMBS = {
    "a billion laughs": laughs(10, 10),
    "laughs by pairs": laughs(26, 2),
    "laughs in mappings": "a: &a {x: 1}\n"
    + "\n".join(f"{n}: &{n} {{l: *{b}, r: *{b}}}" for b, n in pairwise("abcdefghijklmnopqrst")),
    "laughs by merging": "a: &a {x: 1}\n"
    + "\n".join(f"{n}: &{n} {{<<: [*{b}, *{b}], {n}1: *{b}}}" for b, n in pairwise("abcdefghijklmnopqrst")),
    "a loop": "a: &a [*a]",
    "a loop through a mapping": "a: &a {b: {c: *a}}",
    "a merge of itself": "a: &a {<<: *a}",
    "an alias of nothing": "a: *b",
    "100,000 brackets": "[" * 100_000,
    "100,000 levels": "a: " + "[" * 50_000 + "]" * 50_000,
    "100,000 dashes": "- " * 100_000,
    "a Python object": "a: !!python/object/apply:os.system [id]",
    "a Python name": "a: !!python/name:os.system",
    "a binary": "a: !!binary aGVsbG8=",
    "a set": "a: !!set {x, y}",
    "an unknown tag": "debug: !evil true",
    "a key twice": "debug: true\ndebug: false",
    "a key twice inside": "routing: {strategy: a, strategy: b}",
    "two documents": "debug: true\n---\ndebug: false",
    "a list as a key": "? [a, b]\n: c",
    "a huge number": "port: " + "9" * 5000,
    "a control character": "debug: \x01",
    "half a character": "debug: '\\ud800'",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_trust_row_14_hostile_yaml_is_refused_at_once(managed: Managed, name: str) -> None:
    before = managed.file
    begun = time.process_time()
    answer = await managed.call("PUT", "/config.yaml", data=BOMBS[name].encode("utf-8", "surrogatepass"))
    seconds = time.process_time() - begun
    assert answer.status in (400, 422), answer
    assert len(answer.body) < 2000
    assert seconds < (1.0 if "100,000" in name else 0.5)
    assert managed.file == before
    assert not list(managed.path.parent.glob("config-validate-*"))


MEASURE = """
import resource, sys, time
from cpa.config.load import load_text
from cpa.errors import ConfigError
text = sys.stdin.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
best = 1.0
for _ in range(3):
    begun = time.process_time()
    try:
        load_text(text, environ={})
    except ConfigError:
        pass
    best = min(best, time.process_time() - begun)
print(best, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("name", ["a billion laughs", "laughs by merging"])
def test_trust_row_14_a_bomb_costs_neither_time_nor_memory(name: str) -> None:
    """Less than 100 ms of CPU time and 50 MB; the process measures itself."""
    told = subprocess.run(
        [sys.executable, "-c", MEASURE], input=BOMBS[name], capture_output=True, text=True, check=True
    ).stdout
    seconds, megabytes = map(float, told.split())
    assert seconds < 0.1
    assert megabytes < 50


async def test_trust_row_14_two_mebibytes_are_read(managed: Managed) -> None:
    known = managed.path.read_bytes()
    filling = b"# comment\n" * ((2 * 1024 * 1024 - len(known) - 100) // 10)
    assert (await managed.call("PUT", "/config.yaml", data=known + filling)).status == 200
    assert managed.path.read_bytes() == known + filling
    assert (await managed.call("PUT", "/debug", {"value": True})).status == 200
    assert managed.path.stat().st_size > 2 * 1024 * 1024 - 200


async def test_trust_row_14_unknown_keys_are_named(start: Start) -> None:
    daemon: Managed = await start("debugg: true\n")
    assert any(warning.path == "debugg" for warning in daemon.daemon.store.loaded.warnings)


async def test_trust_row_16_ten_thousand_payload_rules_hold_nobody_up(start: Start) -> None:
    rules = [
        {"models": [{"name": f"other-{number}"}], "params": {f"a.b.{number}.c": number}} for number in range(9_000)
    ]
    rules.append({"models": [{"name": "demo"}], "params": {f"p{number}": number for number in range(1000)}})
    daemon: Managed = await start("payload: " + orjson.dumps({"override": rules}).decode() + "\n")
    url, body = f"{daemon.url}/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    seconds: list[float] = []
    for _ in range(3):
        begun = time.process_time()
        async with daemon.session.post(url, json=body) as answer:
            assert answer.status == 200
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("path", ["a" + ".b" * 450, "messages.999999999", "a.-1", "messages." + "9" * 400])
async def test_trust_row_16_a_payload_path_cannot_make_a_body_grow(start: Start, path: str) -> None:
    rule = {"models": [{"name": "demo"}], "params": {path: "x"}}
    daemon: Managed = await start("payload: " + orjson.dumps({"override": [rule]}).decode() + "\n")
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    begun = time.process_time()
    async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
        assert answer.status in (200, 400)
    assert time.process_time() - begun < 1.0


DEEP: list[tuple[str, bytes]] = [
    ("lists", b"[" * 100_000 + b"]" * 100_000),
    ("objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    ("unclosed", b'{"value":' + b"[" * 100_000),
    ("a number", b'{"value": ' + b"9" * 100_000 + b"}"),
    ("an exponent", b'{"value": 1e999999}'),
    ("not a number", b'{"value": NaN}'),
    ("half a character", b'{"value": "\\ud800"}'),
]


@pytest.mark.parametrize(("name", "content"), DEEP, ids=[name for name, _ in DEEP])
async def test_trust_row_24_a_body_without_end_or_bottom_is_refused(
    managed: Managed, name: str, content: bytes
) -> None:
    for method, path in (("PUT", "/debug"), ("PUT", "/request-retry"), ("PATCH", "/api-keys"), ("POST", "/api-call")):
        begun = time.process_time()
        answer = await managed.call(method, path, data=content)
        assert (answer.status, time.process_time() - begun < 1.0) == (400, True), (path, answer)
    for path in ("/v1/chat/completions", "/v1/messages"):
        async with managed.session.post(managed.url + path, data=content) as told:
            assert told.status == 400, (path, await told.text())


def zeros(size: int) -> dict[str, bytes]:
    """``size`` blanks, packed in every way."""
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    squeezed = zstd.ZstdCompressor()
    piece, count = b" " * 1_000_000, size // 1_000_000
    return {
        "gzip": b"".join([*(packed.compress(piece) for _ in range(count)), packed.flush()]),
        "zstd": b"".join([*(squeezed.compress(piece) for _ in range(count)), squeezed.flush()]),
    }


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_trust_row_24_a_small_body_that_becomes_a_gigabyte_is_refused(start: Start, coding: str) -> None:
    daemon: Managed = await start("max-body-size: 10000000\n")
    bomb = zeros(200_000_000)[coding]
    assert len(bomb) < 1_000_000
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    begun = time.process_time()
    async with daemon.session.post(f"{daemon.url}/v1/chat/completions", data=bomb, headers=headers) as answer:
        assert answer.status == 413
    assert time.process_time() - begun < 2.0
    told = await daemon.call("PUT", "/debug", data=bomb[:100_000], **{"Content-Encoding": coding})
    assert told.status in (400, 415)


def test_trust_row_14_more_than_two_mebibytes_are_not_read() -> None:
    with pytest.raises(ConfigError, match="larger than 2 MiB"):
        load_text("# comment\n" * (2 * 1024 * 1024 // 10 + 1), environ={})


def test_trust_row_14_an_error_never_repeats_what_it_refused() -> None:
    with pytest.raises(ConfigError) as fault:
        load_text("claude-api-key:\n  - api-key: {secret: sk-canary}\n", environ={})
    assert "sk-canary" not in str(fault.value)
