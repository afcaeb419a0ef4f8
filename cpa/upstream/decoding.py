"""Unpack answer bodies piece by piece, whatever they are packed with, without letting them grow at once.

A piece given out is at most ``PIECE`` bytes: who reads may stop a body that swells beyond reason.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, deflate, br, zstd"
"""What requests offer to unpack."""
PIECE = 256 * 1024
MOST_CODINGS = 8


class Decoder(Protocol):
    """Unpacks one coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What some packed bytes stand for. Raises ValueError when they are not of this coding."""

    @property
    def ended(self) -> bool:
        """Whether what was packed is complete; true also before anything has come."""


def decoders(content_encoding: str) -> list[Decoder]:
    """One decoder for every known coding of a ``Content-Encoding`` header, the last applied first.

    Raises ValueError for more of them than anybody means.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    if len(names) > MOST_CODINGS:
        raise ValueError("packed too many times")
    return [_DECODERS[name]() for name in reversed(names) if name in _DECODERS]


def unpack(chain: list[Decoder], data: bytes) -> Iterator[bytes]:
    """Send bytes through decoders in turn. Raises ValueError when they cannot be unpacked."""
    if not chain:
        yield data
        return
    for piece in chain[0].feed(data):
        yield from unpack(chain[1:], piece)


def check_ends(chain: list[Decoder]) -> None:
    """The body is over: raises ValueError when what was packed is not."""
    if not all(decoder.ended for decoder in chain):
        raise ValueError("cut off")


class _Zlib:
    """gzip (also several members in a row) and deflate, with or without zlib's header."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._inflate = zlib.decompressobj(window)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun and self._window == zlib.MAX_WBITS and data and data[0] & 0x0F != 8:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._begun = self._begun or bool(data)
        full = False
        try:
            while data or full:
                if self._inflate.eof:
                    if self._window == zlib.MAX_WBITS or not data.strip(b"\0"):
                        return
                    self._inflate = zlib.decompressobj(self._window)
                if piece := self._inflate.decompress(data, PIECE):
                    yield piece
                full = len(piece) == PIECE and not self._inflate.eof
                data = self._inflate.unconsumed_tail or self._inflate.unused_data
        except zlib.error as fault:
            raise ValueError(str(fault)) from None

    @property
    def ended(self) -> bool:
        return self._inflate.eof or not self._begun


class _Brotli:
    """Brotli."""

    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        try:
            piece = self._decoder.process(data, output_buffer_limit=PIECE)
            while piece:
                yield piece
                piece = b"" if self._decoder.is_finished() else self._decoder.process(b"", output_buffer_limit=PIECE)
        except brotli.error as fault:
            raise ValueError(str(fault)) from None

    @property
    def ended(self) -> bool:
        return not self._begun or bool(self._decoder.is_finished())


class _Zstd:
    """Zstandard, also several frames in a row."""

    def __init__(self) -> None:
        self._decoder = zstd.ZstdDecompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        try:
            while data or not (self._decoder.eof or self._decoder.needs_input):
                if self._decoder.eof:
                    self._decoder = zstd.ZstdDecompressor()
                if piece := self._decoder.decompress(data, PIECE):
                    yield piece
                data = self._decoder.unused_data if self._decoder.eof else b""
        except zstd.ZstdError as fault:
            raise ValueError(str(fault)) from None

    @property
    def ended(self) -> bool:
        return not self._begun or self._decoder.eof


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}
