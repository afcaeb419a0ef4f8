"""TLS to upstreams: a trusted certificate is enough, any other is refused and the reason named."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cpa.errors import UpstreamError
from cpa.upstream import tls
from cpa.upstream.client import UpstreamClient, read_whole
from cpa.upstream.timeouts import Timeouts


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for a host name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


async def serve(pem: Path, key: Path) -> int:
    """A TLS server that answers every request with ``ok``; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    return int(server.sockets[0].getsockname()[1])


async def ask(port: int) -> bytes:
    client = UpstreamClient(lambda: "", {})
    try:
        answers = []
        for _ in range(2):
            url = f"https://localhost:{port}/"
            response = await client.send("GET", url, headers={}, body=None, timeouts=Timeouts())
            answers.append(await read_whole(response))
            response.close()
        return b" ".join(answers)
    finally:
        await client.close()


async def test_a_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, key = certificate(tmp_path, "localhost")
    monkeypatch.setattr(tls, "CONTEXT", ssl.create_default_context(cafile=pem))
    assert await ask(await serve(pem, key)) == b"ok ok"


async def test_the_certificates_of_the_machine_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By aiohttp, before there is an event loop that would wait for it."""
    port = await serve(*certificate(tmp_path, "localhost"))
    read: list[ssl.SSLContext] = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda self, *_: read.append(self))
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await ask(port)
    assert not read
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"https://localhost:{port}/")
    assert not read


async def test_a_certificate_nobody_vouches_for(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError) as caught:
        await ask(await serve(*certificate(tmp_path, "localhost")))
    assert caught.value.error.code == "tls_error"
    assert "localhost" in caught.value.error.message
    assert "self-signed" in caught.value.error.message


async def test_a_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, key = certificate(tmp_path, "other.test")
    monkeypatch.setattr(tls, "CONTEXT", ssl.create_default_context(cafile=pem))
    with pytest.raises(UpstreamError) as caught:
        await ask(await serve(pem, key))
    assert caught.value.error.code == "tls_error"
    assert "not valid for 'localhost'" in caught.value.error.message


async def test_a_server_that_does_not_speak_tls() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    with pytest.raises(UpstreamError) as caught:
        await ask(server.sockets[0].getsockname()[1])
    assert caught.value.error.code in ("tls_error", "connect_error")


async def test_a_handshake_that_stalls() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.sleep(5)

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    client = UpstreamClient(lambda: "", {})
    with pytest.raises(UpstreamError) as caught:
        await client.send(
            "GET",
            f"https://localhost:{server.sockets[0].getsockname()[1]}/",
            headers={},
            body=None,
            timeouts=Timeouts(connect=0.2),
        )
    assert (caught.value.error.status, caught.value.error.code) == (504, "connect_timeout")
    await client.close()
