"""An upstream that misbehaves on purpose: raw sockets, one behaviour per request, named by the model asked for."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import threading
from collections.abc import Awaitable, Callable

import orjson
from running import free_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"partial"},"finish_reason":null}]}\n\n'
)
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def http(status: str, body: bytes, content_type: str = "application/json", extra: str = "") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{extra}Connection: close\r\n\r\n".encode() + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def reset_before_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def reset_after_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD)
    await writer.drain()
    await asyncio.sleep(0.02)
    reset(writer)


async def reset_mid_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD + CHUNK)
    await writer.drain()
    await asyncio.sleep(0.05)
    reset(writer)


async def truncated(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD + CHUNK + CHUNK[:40])
    await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def silent_mid_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD + CHUNK)
    await writer.drain()
    await reader.read()


async def one_byte_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    finish = CHUNK.replace(b'{"role":"assistant","content":"partial"}', b"{}").replace(b"null}]", b'"stop"}]')
    for byte in SSE_HEAD + CHUNK + finish + b"data: [DONE]\n\n":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)


async def bad_json(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http("200 OK", b'{"choices": [oops'))


async def bad_json_in_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD + b"data: {oops\n\n")


async def html_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head><body>" + b"secret internals " * 100 + b"</body></html>"
    writer.write(http("502 Bad Gateway", page, "text/html"))


async def error_in_200(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = {"error": {"message": "hidden failure", "type": "server_error", "code": 503}}
    writer.write(http("200 OK", orjson.dumps(body)))


async def error_in_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = {"error": {"message": "hidden failure", "type": "server_error", "code": 503}}
    writer.write(SSE_HEAD + b"data: " + orjson.dumps(body) + b"\n\n")


async def giant_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD + b"data: ")
    piece = b"x" * (1 << 20)
    for _ in range(70):
        writer.write(piece)
        await writer.drain()


async def bad_gzip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(b'{"choices": []}')[:-12] + b"garbage-garbage"
    writer.write(http("200 OK", body, extra="Content-Encoding: gzip\r\n"))


async def not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def giant_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http("200 OK", b"{}", extra="X-Big: " + "a" * 200_000 + "\r\n"))


async def empty_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD)


async def overloaded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    writer.write(http("429 Too Many Requests", orjson.dumps(body), extra="Retry-After: 7\r\n"))


BEHAVIOURS: dict[str, Handler] = {
    function.__name__.replace("_", "-"): function
    for function in (
        reset_before_head,
        reset_after_head,
        reset_mid_stream,
        truncated,
        silent,
        silent_mid_stream,
        one_byte_a_time,
        bad_json,
        bad_json_in_stream,
        html_error,
        error_in_200,
        error_in_stream,
        giant_line,
        bad_gzip,
        not_http,
        giant_header,
        empty_stream,
        overloaded,
    )
}


class HostileUpstream:
    """A TCP server in a thread; the request's ``model`` names the behaviour."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
            )
            body = orjson.loads(await reader.readexactly(length))
            await BEHAVIOURS[body["model"]](reader, writer)
            if not writer.transport.is_closing():
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
