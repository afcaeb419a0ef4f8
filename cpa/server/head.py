"""Heads of plain HTTP/1.1 requests."""

from __future__ import annotations

import re

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

HEAD_LIMIT = 64 * 1024
MOST_HEADERS = 512
_HEAD = re.compile(
    rb"(GET|HEAD|POST) (/[!\x22$&-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
"""No escapes and no fragment in the target; one line for each header."""
_LONGEST_LENGTH = 15
"""Digits."""
_LENGTH = re.compile(rf"[0-9]{{1,{_LONGEST_LENGTH}}}")
_LENGTH_LINE = b"\r\ncontent-length: "
_UNUSUAL = ("Transfer-Encoding", "Expect", "Upgrade", "Trailer")
_ONCE = ("Host", "Content-Type", "Connection")
"""Headers of which only one counts, and which of two is a matter of opinion."""


class Head(Struct):
    """A request that can be served directly."""

    method: str
    path: str
    """Without the query."""
    target: str
    """Path and query."""
    headers: CIMultiDictProxy[str]
    length: int
    """Of the body."""
    keep_alive: bool


def read_head(text: bytes) -> Head | None:
    """The head of a plain request, up to its blank line; None for everything else."""
    match = _HEAD.fullmatch(text)
    if match is None:
        return None
    headers: CIMultiDict[str] = CIMultiDict()
    add = headers.add
    lines = match[3].decode("utf-8", "surrogateescape").split("\r\n")
    if len(lines) > MOST_HEADERS:
        return None
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        add(name, value.strip(" \t"))
    for name in _UNUSUAL:
        if name in headers:
            return None
    if "Host" not in headers or any(len(headers.getall(name, ())) > 1 for name in _ONCE):
        return None
    lengths = headers.getall("Content-Length", [])
    method = match[1].decode()
    if len(lengths) > 1 or (lengths and _LENGTH.fullmatch(lengths[0]) is None) or (not lengths and method == "POST"):
        return None
    connection = headers.get("Connection", "keep-alive").lower()
    if connection not in ("keep-alive", "close"):
        return None
    length = int(lengths[0]) if lengths else 0
    target = match[2].decode()
    path = target.partition("?")[0]
    return Head(method, path, target, CIMultiDictProxy(headers), length, connection == "keep-alive")


class HeadReader:
    """Reads the heads of one connection: most of them differ from the one before in the length of the body alone."""

    def __init__(self) -> None:
        self._before = self._after = b""
        """What stood around the length in the head read last."""
        self._name = ""
        """Of the header that says it, as the client spells it."""
        self._last: Head | None = None

    def read(self, text: bytes) -> Head | None:
        """See :func:`read_head`."""
        last, before, after = self._last, self._before, self._after
        if last is not None and text.startswith(before) and text.endswith(after):
            digits = text[len(before) : len(text) - len(after)]
            if digits.isdigit() and len(digits) <= _LONGEST_LENGTH:
                headers = CIMultiDict(last.headers)
                headers[self._name] = digits.decode()
                return Head(
                    last.method, last.path, last.target, CIMultiDictProxy(headers), int(digits), last.keep_alive
                )
        self._last = head = read_head(text)
        if head is not None:
            start = text.lower().find(_LENGTH_LINE) + len(_LENGTH_LINE)
            end = text.find(b"\r", start)
            if start < len(_LENGTH_LINE) or not text[start:end].isdigit():
                self._last = None
            self._before, self._after = text[:start], text[end:]
            self._name = text[start - len(_LENGTH_LINE) + 2 : start - 2].decode()
        return head
