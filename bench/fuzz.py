"""Made-up input for everything that reads what others wrote: ``python -m bench.fuzz [NAME [HOW_MANY]]``.

A target may refuse what it is given with the errors it says it raises, in time. Inputs are pieces of right ones, put
together wrongly, changed, cut and repeated.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable

import orjson
from msgspec import Struct

from cpa.config.load import load_text
from cpa.errors import ConfigError
from cpa.formats.sse import EventTooLarge, SseParser
from cpa.management.resp import ProtocolError, read_command
from cpa.upstream.address import Origin
from cpa.upstream.client import request_pieces
from cpa_payload_rules import paths

SLOW = 0.05
"""Seconds one input may take."""


class Target(Struct):
    """What is fed, and with what."""

    pieces: list[bytes]
    feed: Callable[[bytes, random.Random], None]
    """Raises only what is wrong with the target."""


class Outcome(Struct):
    """What came of feeding one target."""

    inputs: int
    slowest: float
    """Processor seconds."""
    slow: int
    """Inputs that took longer than ``SLOW``."""


def _sse(data: bytes, chance: random.Random) -> None:
    parser = SseParser(limit=4096)
    try:
        while data:
            cut = chance.randint(1, len(data))
            parser.feed(data[:cut])
            data = data[cut:]
        parser.close()
    except EventTooLarge:
        return


def _resp(data: bytes, chance: random.Random) -> None:
    reader = asyncio.StreamReader(limit=128 * 1024, loop=_LOOP)
    reader.feed_data(data)
    reader.feed_eof()

    async def read_all() -> None:
        while True:
            await read_command(reader)

    try:
        _LOOP.run_until_complete(read_all())
    except (ProtocolError, asyncio.IncompleteReadError):
        return


def _yaml(data: bytes, chance: random.Random) -> None:
    try:
        load_text(data.decode("utf-8", "replace"), environ={})
    except ConfigError:
        return


def _headers(data: bytes, chance: random.Random) -> None:
    text = data.decode("utf-8", "surrogateescape" if chance.random() < 0.5 else "replace")
    middle = chance.randint(0, len(text))
    try:
        sent = b"".join(request_pieces("POST", _ORIGIN, "/v1", {text[:middle] or "X": text[middle:]}, b"{}"))
    except ValueError:
        return
    head, _, body = sent.partition(b"\r\n\r\n")
    if body != b"{}" or head.count(b"\r\n") != head.count(b"\n") or head.count(b"Content-Length:") < 1:
        raise AssertionError(f"a header broke out of its line: {sent!r}")


def _paths(data: bytes, chance: random.Random) -> None:
    path = data.decode("utf-8", "replace")
    document = {"a": {"b": [1, {"c": "d"}, [2, 3]]}, "e.f": {"-1": 0}, "g": [{"h": number} for number in range(9)]}
    before = orjson.dumps(document)
    paths.get(document, path)
    orjson.dumps(paths.set_value(document, path, {"new": 1}))
    orjson.dumps(paths.delete(document, path))
    if orjson.dumps(document) != before:
        raise AssertionError(f"{path!r} changed the document in place")


_LOOP = asyncio.new_event_loop()
_ORIGIN = Origin("https", "upstream.example", 443)

TARGETS: dict[str, Target] = {
    "sse": Target(
        [b"data: ", b"event: x", b"\n", b"\r\n", b"\r", b"\n\n", b":", b" ", b"id: 1", b"retry: 5", b'{"a":1}',
         b"[DONE]", b"\xef\xbb\xbf", b"\x00", b"\xff\xfe", b"data", b"x" * 900],
        _sse,
    ),
    "resp": Target(
        [b"*1\r\n", b"*2\r\n", b"*-1\r\n", b"$4\r\n", b"PING\r\n", b"$-1\r\n", b"$65536\r\n", b"\r\n", b"*", b"$",
         b"*99999999999\r\n", b"+OK\r\n", b":1\r\n", b"-\r\n", b"\x00", b"$0\r\n\r\n", b"9" * 300],
        _resp,
    ),
    "yaml": Target(
        [b"port: ", b"8317\n", b"api-keys:\n", b"  - a\n", b"  - {key: k, name: n}\n", b"&a [*a]", b"*b ",
         b"!!python/x ", b"? ", b": ", b"|\n", b"\t", b"{", b"}", b"[", b"]", b"'", b'"', b"#",
         b"---\n", b"<<: *a\n", b"\n", b"  ",
         b"claude-api-key:\n  - api-key: k\n", b"\x00", b"\xc2\x85", b"1e999", b"0x", b"~", b"- " * 40],
        _yaml,
    ),
    "headers": Target(
        [b"Authorization", b"Bearer x", b"\r\n", b"\n", b"\r", b"\x00", b": ", b" ", b"Content-Length", b"0",
         b"Transfer-Encoding", b"chunked", b"\xff", "é".encode(), b"\x0b", b"\x85", b"\xe2\x80\xa8", b"Host"],
        _headers,
    ),
    "paths": Target(
        [b"a", b"b", b".", b"..", b"0", b"-1", b"999999999", b"#", b"#(", b")", b"#(c==\"d\")", b"#(h>3)#", b"\\",
         b":1", b"e\\.f", b"%", b"*", b"=", b"==", b"!%", b"(", b"\x00", b"a." * 50],
        _paths,
    ),
}  # fmt: skip


def made_up(pieces: list[bytes], chance: random.Random) -> bytes:
    """One input."""
    data = bytearray(b"".join(chance.choices(pieces, k=chance.randint(1, 12))))
    for _ in range(chance.choice((0, 0, 1, 3))):
        if data:
            at = chance.randrange(len(data))
            kind = chance.randrange(3)
            if kind == 0:
                data[at] = chance.randrange(256)
            elif kind == 1:
                del data[at : at + chance.randint(1, 9)]
            else:
                data[at:at] = data[at : at + chance.randint(1, 40)] * chance.randint(1, 4)
    return bytes(data)


def run(name: str, inputs: int, seed: int = 1) -> Outcome:
    """Feed one target. Raises whatever it should not have raised, with the input that made it."""
    target, chance = TARGETS[name], random.Random(seed)
    outcome = Outcome(inputs, 0.0, 0)
    for _ in range(inputs):
        data = made_up(target.pieces, chance)
        begun = time.process_time()
        try:
            target.feed(data, chance)
        except Exception as fault:
            raise AssertionError(f"{name} cannot bear {data!r}: {type(fault).__name__}: {fault}") from fault
        took = time.process_time() - begun
        outcome.slowest = max(outcome.slowest, took)
        outcome.slow += took > SLOW
    return outcome


if __name__ == "__main__":
    wanted = sys.argv[1:2] or list(TARGETS)
    for each in wanted:
        print(each, run(each, int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000))
