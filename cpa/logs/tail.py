"""The newest lines of the log files, read from their end; and what came since somebody looked last."""

from __future__ import annotations

import base64
import binascii
import gzip
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import orjson
from msgspec import Struct

from cpa.logs.files import MAIN, rotated_files

BLOCK = 64 * 1024
LONGEST_LINE = 8 * 1024 * 1024
LARGEST_FOLLOW = 4 * 1024 * 1024
"""Bytes that one cursor gives at most."""
_TIME = re.compile(rb"\[?(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})")


class Tail(Struct):
    """Lines, oldest first."""

    lines: list[str]
    looked_at: int
    """How many lines were read to find them."""
    latest: int
    """Unix seconds of the newest line seen, never below what was asked for."""
    cursor: str = ""
    """Give it back to get only what comes after."""
    reset: bool = False
    """The cursor given was no good any more: these are the newest lines instead."""


def read_tail(folder: Path, after: int, limit: int) -> Tail:
    """The last ``limit`` lines that are newer than ``after`` (Unix seconds). Raises OSError.

    A line without a time belongs to the one before it.
    """
    cursor = _cursor_of(folder / MAIN)
    kept: list[bytes] = []
    waiting: list[bytes] = []
    looked_at, latest = 0, after
    for line in _backwards(folder):
        looked_at += 1
        moment = line_time(line)
        if moment is None:
            waiting.append(line)
            continue
        latest = max(latest, moment)
        if moment <= after:
            break
        kept += [*waiting, line]
        waiting.clear()
        if len(kept) >= limit:
            break
    else:
        if not after:
            kept += waiting
    lines = [line.decode("utf-8", "replace") for line in kept[:limit]]
    return Tail(lines[::-1], looked_at, latest, cursor)


def follow(folder: Path, cursor: str, limit: int) -> Tail:
    """The lines written since ``cursor`` was given. Raises OSError."""
    place = _parse_cursor(cursor)
    files = [*rotated_files(folder), folder / MAIN]
    if place is not None:
        inode, offset = place
        position = next((i for i, path in enumerate(files) if _inode(path) == inode), None)
        if position is not None and _size(files[position]) >= offset:
            return _from(files[position:], offset, limit)
    tail = read_tail(folder, 0, limit)
    tail.reset = True
    return tail


def line_time(line: bytes) -> int | None:
    """The local time at a line's beginning as Unix seconds; None when it has none."""
    found = _TIME.match(line)
    if found is None:
        return None
    try:
        return int(datetime.fromisoformat(f"{found[1].decode()} {found[2].decode()}").timestamp())
    except (ValueError, OverflowError):
        return None


def _from(files: list[Path], offset: int, limit: int) -> Tail:
    lines: list[bytes] = []
    path = files[0]
    for number, path in enumerate(files):
        with path.open("rb") as stream:
            stream.seek(offset if number == 0 else 0)
            content = stream.read(LARGEST_FOLLOW)
        whole, newline, _ = content.rpartition(b"\n")
        lines += whole.split(b"\n") if newline else []
        offset = (offset if number == 0 else 0) + len(whole) + len(newline)
        if len(content) == LARGEST_FOLLOW:
            break
    times = [moment for moment in map(line_time, lines) if moment is not None]
    shown = [line.decode("utf-8", "replace") for line in lines[-limit:]]
    return Tail(shown, len(lines), max(times, default=0), _cursor(_inode(path), offset))


def _backwards(folder: Path) -> Iterator[bytes]:
    """Every line of every file, the newest first."""
    for path in [folder / MAIN, *reversed(rotated_files(folder))]:
        try:
            if path.name.endswith(".gz"):
                with gzip.open(path, "rb") as stream:
                    yield from reversed(stream.read().splitlines())
            else:
                yield from _lines_backwards(path)
        except FileNotFoundError:
            continue


def _lines_backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        rest, first = b"", True
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            stream.seek(position)
            rest = stream.read(size) + rest
            if len(rest) > LONGEST_LINE:
                raise OSError(f"{path.name} has a line of more than {LONGEST_LINE} bytes")
            if first:
                rest, first = rest.removesuffix(b"\n"), False
            rest, *lines = rest.split(b"\n")
            yield from reversed(lines)
        if not first:
            yield rest


def _cursor_of(path: Path) -> str:
    """A cursor behind the last whole line of a file."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            stream.seek(max(0, status.st_size - BLOCK))
            content = stream.read(BLOCK)
            begin = max(0, status.st_size - BLOCK)
    except FileNotFoundError:
        return ""
    return _cursor(status.st_ino, begin + content.rfind(b"\n") + 1)


def _cursor(inode: int, offset: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([inode, offset])).decode().rstrip("=")


def _parse_cursor(cursor: str) -> tuple[int, int] | None:
    try:
        inode, offset = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError):
        return None
    return (inode, offset) if isinstance(inode, int) and isinstance(offset, int) and offset >= 0 else None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
