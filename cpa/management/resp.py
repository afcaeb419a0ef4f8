"""The usage queue for clients of the Redis protocol, on the port of everything else.

https://redis.io/docs/latest/develop/reference/protocol-spec/, versions 2 and 3. Only what collectors use is there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from cpa.config import Config
from cpa.management.access import Gate
from cpa.management.answers import Refusal
from cpa.network import is_loopback
from cpa.usage.usage_queue import UsageQueue

FIRST_BYTES = frozenset(b"*$+-:")
MOST_ARGUMENTS = 16
LONGEST_ARGUMENT = 64 * 1024
MOST_CONNECTIONS = 1024
IDLE_SECONDS = 300.0
"""Between two commands of somebody who has the key."""
STRANGER_SECONDS = 60.0
"""The same for everybody else, and for a client that does not read what it asked for."""
CLOSE_SECONDS = 5.0
"""What was answered last may take so long to get through."""
NULL = {2: b"$-1\r\n", 3: b"_\r\n"}
"""Nothing, by version of the protocol."""
_LENGTH = re.compile(rb"-?[0-9]{1,9}")
OK = b"+OK\r\n"


class ProtocolError(ValueError):
    """What came is no command."""


class _Quit(Exception):
    """The client says goodbye."""


def bulk(value: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(items: list[bytes]) -> bytes:
    """An array of encoded items."""
    return b"*%d\r\n" % len(items) + b"".join(items)


def push(items: list[bytes]) -> bytes:
    """What nobody asked for just now, in version 3."""
    return b">%d\r\n" % len(items) + b"".join(items)


def error(text: str) -> bytes:
    """An error; its first word is its kind."""
    return b"-" + text.replace("\r", " ").replace("\n", " ").encode() + b"\r\n"


class RespServer:
    """Serves connections. Owns their tasks: ``close`` ends them."""

    def __init__(self, gate: Gate, queue: UsageQueue, config: Callable[[], Config], log: Any) -> None:
        self._gate = gate
        self._queue = queue
        self._config = config
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def protocol(self, first: int) -> asyncio.Protocol | None:
        """The protocol for a connection that begins with this byte; None when it is not of this kind."""
        if first not in FIRST_BYTES:
            return None
        reader = asyncio.StreamReader(limit=LONGEST_ARGUMENT * 2)
        return asyncio.StreamReaderProtocol(reader, self._connected)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS or not self._gate.enabled(self._config()):
            writer.close()
            return
        peer = writer.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        session = _Session(self._gate, self._queue, self._config, reader, writer, address)
        task = asyncio.get_running_loop().create_task(self._serve(session, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, session: _Session, writer: asyncio.StreamWriter) -> None:
        try:
            await session.run()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except Exception:
            self._log.exception("connection of a collector failed")
        finally:
            writer.close()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await writer.wait_closed()
            except (ConnectionError, TimeoutError):
                writer.transport.abort()

    async def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Session:
    """One connection: commands in, replies out."""

    def __init__(
        self,
        gate: Gate,
        queue: UsageQueue,
        config: Callable[[], Config],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
    ) -> None:
        self._gate = gate
        self._queue = queue
        self._config = config
        self._reader = reader
        self._writer = writer
        self._address = address
        self._admitted = False
        self._version = 2

    async def run(self) -> None:
        """Until the client leaves, is silent for too long, or says something that is no command."""
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS if self._admitted else STRANGER_SECONDS):
                    command = await read_command(self._reader)
                if not self._gate.enabled(self._config()):
                    return
                if command and command[0].upper() == b"SUBSCRIBE" and self._admitted:
                    await self._subscribed(command)
                    return
                self._writer.write(await self._answer(command))
                await self._drain()
        except ProtocolError:
            self._writer.write(error("ERR protocol error"))
            await self._writer.drain()
        except _Quit:
            self._writer.write(OK)
            await self._writer.drain()

    async def _drain(self) -> None:
        async with asyncio.timeout(STRANGER_SECONDS):
            await self._writer.drain()

    async def _answer(self, command: list[bytes]) -> bytes:
        if not command:
            return error("ERR empty command")
        name, arguments = command[0].upper(), command[1:]
        match name:
            case b"AUTH":
                return await self._auth(arguments)
            case b"QUIT":
                raise _Quit
            case b"HELLO":
                return await self._hello(arguments)
            case _ if not self._admitted:
                return error("NOAUTH Authentication required.")
            case b"LPOP" | b"RPOP":
                return self._pop(name, arguments)
            case b"LLEN":
                return b":%d\r\n" % len(self._queue)
            case b"PING":
                return bulk(arguments[0]) if arguments else b"+PONG\r\n"
            case b"ECHO" if len(arguments) == 1:
                return bulk(arguments[0])
            case b"SELECT":
                return OK
            case b"CLIENT" if arguments and arguments[0].upper() in (b"SETINFO", b"SETNAME"):
                return OK
            case _:
                return error(f"ERR unknown command '{command[0][:64].decode('utf-8', 'replace')}'")

    async def _auth(self, arguments: list[bytes]) -> bytes:
        if len(arguments) not in (1, 2):
            return error("ERR wrong number of arguments for 'auth' command")
        key = arguments[-1].decode("utf-8", "surrogateescape")
        try:
            await self._gate.check(key, self._address, is_loopback(self._address), self._config())
        except Refusal as refusal:
            return error(f"ERR {refusal.body['error']}")
        self._admitted = True
        return OK

    async def _hello(self, arguments: list[bytes]) -> bytes:
        """``HELLO [version [AUTH user key] [SETNAME name]]``"""
        if arguments and arguments[0] not in (b"2", b"3"):
            return error("NOPROTO unsupported protocol version")
        options = arguments[1:]
        while options:
            if options[0].upper() == b"AUTH" and len(options) > 2:
                answer, options = await self._auth(options[1:3]), options[3:]
                if answer != OK:
                    return answer
            elif options[0].upper() == b"SETNAME" and len(options) > 1:
                options = options[2:]
            else:
                return error("ERR syntax error in HELLO")
        if arguments:
            self._version = int(arguments[0])
        facts = [bulk(b"server"), bulk(b"cpa"), bulk(b"proto"), b":%d\r\n" % self._version]
        return array(facts) if self._version == 2 else b"%%%d\r\n" % (len(facts) // 2) + b"".join(facts)

    def _pop(self, name: bytes, arguments: list[bytes]) -> bytes:
        if len(arguments) not in (1, 2):
            return error(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        if len(arguments) == 1:
            found = self._queue.pop(1)
            return bulk(found[0]) if found else NULL[self._version]
        count = arguments[1]
        if not count.isdigit() or int(count[:9]) < 1:
            return error("ERR value is not an integer or out of range")
        return array([bulk(item) for item in self._queue.pop(int(count[:9]))])

    async def _subscribed(self, command: list[bytes]) -> None:
        """Payloads as they come, until the client unsubscribes, leaves, or cannot keep up."""
        channels = {b"usage": self._queue.listeners, b"errors": self._queue.errors}
        if len(command) != 2 or command[1] not in channels:
            wanted = b" ".join(command[1:])[:64].decode("utf-8", "replace")
            self._writer.write(error(f"ERR unsupported channel '{wanted}'"))
            await self._writer.drain()
            return
        channel, listeners = command[1], channels[command[1]]
        listener = listeners.listen()
        tasks = [
            asyncio.ensure_future(self._forward(channel, listener.payloads)),
            asyncio.ensure_future(self._commands_while_subscribed(channel)),
            asyncio.ensure_future(listener.ended.wait()),
        ]
        try:
            self._tell([bulk(b"subscribe"), bulk(channel), b":1\r\n"])
            if channel == b"usage":
                self._message(channel, b'{"support_refresh":true}')
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if listener.ended.is_set():
                self._writer.transport.abort()
        finally:
            listeners.leave(listener)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _message(self, channel: bytes, payload: bytes) -> None:
        self._tell([bulk(b"message"), bulk(channel), bulk(payload)])

    def _tell(self, items: list[bytes]) -> None:
        self._writer.write(array(items) if self._version == 2 else push(items))

    async def _forward(self, channel: bytes, payloads: asyncio.Queue[bytes | None]) -> None:
        while (payload := await payloads.get()) is not None:
            self._message(channel, payload)
            await self._writer.drain()

    async def _commands_while_subscribed(self, channel: bytes) -> None:
        while True:
            command = await read_command(self._reader)
            name = command[0].upper() if command else b""
            if name == b"PING" and self._version == 3:
                self._writer.write(bulk(command[1]) if len(command) > 1 else b"+PONG\r\n")
            elif name == b"PING":
                self._writer.write(array([bulk(b"pong"), bulk(command[1] if len(command) > 1 else b"")]))
            elif name == b"UNSUBSCRIBE":
                self._tell([bulk(b"unsubscribe"), bulk(channel), b":0\r\n"])
                await self._writer.drain()
                return
            elif name == b"QUIT":
                self._writer.write(OK)
                await self._writer.drain()
                return
            else:
                self._writer.write(error("ERR only PING, UNSUBSCRIBE and QUIT are allowed now"))
            await self._writer.drain()


async def read_command(reader: asyncio.StreamReader) -> list[bytes]:
    """One command: an array of bulk strings. Raises ProtocolError, and IncompleteReadError at the end."""
    count = await _number(reader, b"*")
    if count > MOST_ARGUMENTS:
        raise ProtocolError("too many arguments")
    arguments = []
    for _ in range(max(0, count)):
        size = await _number(reader, b"$")
        if not 0 <= size <= LONGEST_ARGUMENT:
            raise ProtocolError("argument too long")
        arguments.append(await reader.readexactly(size))
        if await reader.readexactly(2) != b"\r\n":
            raise ProtocolError("no line end")
    return arguments


async def _number(reader: asyncio.StreamReader, mark: bytes) -> int:
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError:
        raise ProtocolError("line too long") from None
    if line[:1] != mark or not _LENGTH.fullmatch(line, 1, len(line) - 2):
        raise ProtocolError("no length")
    return int(line[1:-2])
