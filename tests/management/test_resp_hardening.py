"""The usage queue's port against strangers: no key, foreign protocols, giant claims, connections that only wait."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cpa.usage.usage_queue import LISTENER_ITEMS
from tests.management.conftest import KEY, Managed, Start


@pytest.fixture
async def daemon(start: Start) -> Managed:
    managed: Managed = await start("usage-statistics-enabled: true\n")
    managed.daemon.usage_queue.put(b'{"secret":"item"}')
    return managed


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def connect(daemon: Managed) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = daemon.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def answer(daemon: Managed, sent: bytes, seconds: float = 2.0) -> bytes:
    """Everything that comes back until the daemon closes the connection, which it must do in time."""
    reader, writer = await connect(daemon)
    writer.write(sent)
    async with asyncio.timeout(seconds):
        found = await reader.read()
    writer.close()
    return found


@pytest.mark.parametrize("word", [b"LPOP", b"RPOP", b"LLEN", b"PING", b"ECHO", b"SELECT", b"KEYS", b"CONFIG"])
async def test_nothing_is_told_without_the_key(daemon: Managed, word: bytes) -> None:
    """Trust row 21: unauthenticated reads."""
    reader, writer = await connect(daemon)
    writer.write(command(word, b"usage"))
    assert await reader.readline() == b"-NOAUTH Authentication required.\r\n"
    writer.write(command(b"SUBSCRIBE", b"usage"))
    assert await reader.readline() == b"-NOAUTH Authentication required.\r\n"
    writer.close()
    assert len(daemon.daemon.usage_queue) == 1


@pytest.mark.parametrize(
    "sent",
    [
        command(b"PING") + b"POST /v0/management/usage-queue HTTP/1.1\r\nHost: localhost\r\n\r\n",
        command(b"PING") + b"GET / HTTP/1.1\r\n\r\n",
        b"*3\r\nPOST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"-x\r\n",
    ],
)
async def test_other_protocols_end_the_connection(daemon: Managed, sent: bytes) -> None:
    """Trust row 21: protocol smuggling."""
    found = await answer(daemon, sent)
    assert found.endswith(b"-ERR protocol error\r\n")
    assert b"secret" not in found


async def test_a_body_that_looks_like_commands_is_a_body(daemon: Managed) -> None:
    """Trust row 21: a web page can make a browser send a body, never a first byte."""
    body = command(b"AUTH", KEY.encode()) + command(b"LPOP", b"usage")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    found = await answer(daemon, head % len(body) + body)
    assert found.startswith(b"HTTP/1.1 4")
    assert b"secret" not in found
    assert len(daemon.daemon.usage_queue) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"*1\r\n$1073741824\r\n",
        b"*1\r\n$65537\r\n",
        b"*17\r\n",
        b"*999999999\r\n",
        b"*1\r\n$-5\r\n",
        b"*" + b"1" * 200_000,
        b"*1\r\n$" + b"9" * 200_000,
    ],
)
async def test_giant_claims_are_refused_at_once(daemon: Managed, sent: bytes) -> None:
    """Trust row 21: 1 GB bulk header."""
    begun = time.monotonic()
    assert await answer(daemon, sent) == b"-ERR protocol error\r\n"
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("sent", [b"*", b"*1\r\n$4\r\nPI", command(b"PING")])
async def test_a_stranger_that_only_waits_is_sent_away(
    daemon: Managed, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Trust row 21: idle."""
    monkeypatch.setattr("cpa.management.resp.STRANGER_SECONDS", 0.2)
    assert b"secret" not in await answer(daemon, sent)


async def test_connections_are_bounded(daemon: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.management.resp.MOST_CONNECTIONS", 3)
    open_ones = [await connect(daemon) for _ in range(3)]
    for reader, writer in open_ones:
        writer.write(command(b"PING"))
        assert (await reader.readline()).startswith(b"-NOAUTH")
    assert await answer(daemon, command(b"PING")) == b""
    open_ones[0][1].close()
    for _ in range(50):
        await asyncio.sleep(0.02)
        reader, writer = await connect(daemon)
        writer.write(command(b"PING"))
        if (await reader.readline()).startswith(b"-NOAUTH"):
            break
    else:
        raise AssertionError("no place became free")
    for _, writer in open_ones:
        writer.close()


async def test_a_listener_that_does_not_read_is_cut_off_and_leaves_nothing_behind(daemon: Managed) -> None:
    before = len(asyncio.all_tasks())
    _, writer = await connect(daemon)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(command(b"AUTH", KEY.encode()) + command(b"SUBSCRIBE", b"usage"))
    queue = daemon.daemon.usage_queue
    while not queue.listeners:
        await asyncio.sleep(0.01)
    for _ in range(200):
        for _ in range(LISTENER_ITEMS // 4):
            queue.put(b"x" * 50_000)
        await asyncio.sleep(0)
        if not queue.listeners:
            break
    assert not queue.listeners
    for _ in range(100):
        await asyncio.sleep(0.02)
        if len(asyncio.all_tasks()) <= before:
            break
    assert len(asyncio.all_tasks()) <= before
    writer.close()


async def test_a_listener_is_let_go_when_there_is_no_management_key_any_more(daemon: Managed) -> None:
    reader, writer = await connect(daemon)
    writer.write(command(b"AUTH", KEY.encode()) + command(b"SUBSCRIBE", b"usage"))
    while not daemon.daemon.usage_queue.listeners:
        await asyncio.sleep(0.01)
    lines = [line for line in daemon.file.splitlines(True) if "secret-key" not in line and "remote-man" not in line]
    daemon.edit("".join(lines))
    async with asyncio.timeout(2):
        await reader.read()
    writer.close()


async def test_with_tls_both_protocols_share_the_port_too(start: Start, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    daemon: Managed = await start(
        f"usage-statistics-enabled: true\ntls: {{enable: true, cert: {certificate}, key: {key}}}\n"
    )
    daemon.daemon.usage_queue.put(b"{}")
    host, port = daemon.url.removeprefix("http://").split(":")
    options: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    async with redis.asyncio.Redis(host=host, port=int(port), password=KEY, protocol=2, **options) as collector:
        assert await collector.lpop("usage") == b"{}"
    async with daemon.session.get(f"https://{host}:{port}/healthz", ssl=False) as answer:
        assert answer.status == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private
