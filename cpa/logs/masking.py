"""Take secrets out of request histories: by the names of headers, parameters and members, by shape and by value.

Works on bytes, with RE2: the time it takes grows with the text only, and other threads run meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from cpa.logs.marks import Marks
from cpa.logs.redaction import MASK, SHORTEST, Secrets, variants
from cpa.patterns import compile_re2

_HEADER_WORDS = ("api-key", "apikey", "token", "secret", "cookie", "password")
_HEADER_ENDS = ("-key", "-auth")
_QUERY_WORDS = ("api-key", "apikey", "api_key", "token", "secret", "password")
_MEMBERS = (
    r"[\w-]*api[-_]?key|[\w-]*access[-_]?token|[\w-]*refresh[-_]?token|id[-_]?token|[\w-]*client[-_]?secret|"
    r"secret[-_]?key|private[-_]?key|[\w-]*password|[\w-]*authorization|auth[-_]?token"
)
_SHAPES = (
    r"\bsk-[\w-]{8,}",
    r"\bAIza[\w-]{20,}",
    r"\bya29\.[\w.-]{10,}",
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\w+/=\\\s-]*",
)
_NAMED = (
    r'((?i:"(?:' + _MEMBERS + r')"\s*:\s*"))(?:[^"\\]|(?s:\\.))+',
    r'((?i:"(?:' + _MEMBERS + r')\\+"\s*:\s*\\+"))(?:[^"\\]|\\[^"])+',
    r"(\b(?i:bearer|basic)\s+)[\w\-.~+/=]{6,}",
    r"((?i:[?&](?:key|auth_token|api[-_]?key|token|secret|access_token|client_secret|refresh_token)=))"
    r"[^&\s\"'\\]+",
)
_ENDS = ("key", "token", "secret", "password", "authorization")
"""With which the names of secret members end."""
MARKS = (
    *("sk-", "AIza", "ya29.", "eyJ", "PRIVATE KEY", "bearer", "basic", "key=", "token=", "secret="),
    *(f"{end}{quote}" for end in _ENDS for quote in ('"', "\\")),
)
"""In upper or lower case: a text without any of these has nothing of the above."""
_WORD = r"[\w~-][\w.~-]{14,}[\w~-]"
TELLING = 32
"""Characters by which the token of a login is recognised."""
MOST_LITERALS = 16 * 1024
"""Characters of tokens that are looked for wherever they stand; with more, they are found where they stand as words."""
LONGEST_SECRET = 4096
"""Bytes."""
MEMORY = 64 * 1024 * 1024
"""Bytes that an expression may take; with a few secrets it takes a thirtieth of them."""
SHORTEST_MARK = 12
"""Characters of a secret that hardly any text has by chance."""
_LETTERS = re.compile("[A-Za-z0-9]+")
_ESCAPES = re.compile(r"\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}")
_ESCAPED_LETTERS = ("\\u006", "\\u007", "\\u004", "\\u005")
"""How those of ASCII begin when they are escaped in JSON, for which nobody has a reason."""
_LAST_WORD = re.compile(rb"[\w.~+/=%-]*\Z")
_FIRST_WORD = re.compile(rb"[\w.~+/=%-]*")


def mask_value(value: str) -> str:
    """The ends of a secret, enough to tell it from another: four characters of each, fewer of a short one."""
    if len(value) > 8:
        return f"{value[:4]}...{value[-4:]}"
    if len(value) > 4:
        return f"{value[:2]}...{value[-2:]}"
    return f"{value[:1]}...{value[-1:]}" if len(value) > 2 else "**"


def header_lines(headers: Mapping[str, str]) -> str:
    """Headers as text, one on each line; their secrets masked."""
    names = tuple(headers)
    lines, secret = _lines_of(names)
    values = list(headers.values())
    for number in secret:
        values[number] = mask_header(names[number], values[number])
    return lines % tuple(values)


@lru_cache(maxsize=64)
def _lines_of(names: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
    """Their lines with a place for each value, and which of them are secret: the same for most requests of a tool."""
    lines = "".join([f"{name.replace('%', '%%')}: %s\n" for name in names])
    return lines, tuple(number for number, name in enumerate(names) if _header_kind(name))


@lru_cache(maxsize=256)
def mask_header(name: str, value: str) -> str:
    """The value of a header, masked when it is a secret by the name of the header."""
    kind = _header_kind(name)
    if kind == "scheme":
        scheme, space, rest = value.partition(" ")
        return f"{scheme} {mask_value(rest.strip())}" if space and rest.strip() else mask_value(value)
    return mask_value(value) if kind else value


@lru_cache(maxsize=512)
def _header_kind(name: str) -> str:
    lower = name.lower()
    if "authorization" in lower:
        return "scheme"
    return "secret" if lower.endswith(_HEADER_ENDS) or any(word in lower for word in _HEADER_WORDS) else ""


def header_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """What is secret in headers that an account is configured to send: what is sent besides a key mostly opens a door.

    Secret by the name of its header, or long, one word and no address, date, number or type of a document.
    """
    for name, value in headers.items():
        if _header_kind(name):
            yield value
            if rest := value.partition(" ")[2].strip():
                yield rest
        elif not _SAYS_NOTHING.fullmatch(name):
            yield from (word for word in value.split() if len(word) >= SHORTEST_UNNAMED and not _PLAIN.match(word))


SHORTEST_UNNAMED = 16
"""Characters of a word that may be a secret although its header is not named like one."""
_SAYS_NOTHING = re.compile(
    r"accept(-.*)?|content-.*|cache-control|user-agent|(http-)?referer|origin(ator)?|host|x-title|x-app|x-stainless-.*"
    r"|(anthropic|openai)-(version|beta|organization|project)|anthropic-dangerous-.*|x-goog-(user-project|api-client)",
    re.IGNORECASE,
)
"""Headers of the vendors and of HTTP, whose values are no secrets however long."""
_PLAIN = re.compile(r"[a-z]+://|[\d.:,+/TZ-]+\Z|[a-z]+/[a-z0-9.+-]+;?\Z", re.IGNORECASE)


@lru_cache(maxsize=256)
def mask_query(url: str) -> str:
    """The URL with the values of its secret parameters masked; the rest stays as it is written."""
    path, question, query = url.partition("?")
    if not question:
        return url
    return path + question + "&".join(_masked_parameter(pair) for pair in query.split("&"))


def secret_parameters(url: str) -> Iterator[str]:
    """The values of the secret parameters of a URL, as they are written."""
    for pair in url.partition("?")[2].split("&"):
        if _masked_parameter(pair) != pair:
            yield pair.partition("=")[2]


def _masked_parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    plain = name.lower().removesuffix("[]").removesuffix("%5b%5d")
    secret = plain == "key" or any(word in plain for word in _QUERY_WORDS)
    return f"{name}={mask_value(value)}" if equals and value and secret else pair


class _Sought(Struct, frozen=True):
    """What is looked for while some secrets are in use."""

    values: frozenset[str]
    version: int
    """Of the tokens."""
    body: Any
    plain: Any
    words: Any
    marks: Marks
    known: frozenset[bytes]


class Masker:
    """Masks texts; knows the secret values in use. Several threads may use it."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._sought: _Sought | None = None

    def body(self, content: bytes) -> bytes:
        """A body without secrets."""
        sought = self._current()
        if sought.marks.may_stand_in(content):
            content = sought.body.sub(_replace, content)
        return _without_words(content, sought)

    def lines(self, content: bytes) -> bytes:
        """Lines without secret values; what is masked by its name already stays readable."""
        sought = self._current()
        return _without_words(sought.plain.sub(MASK.encode(), content), sought)

    def text(self, text: str) -> str:
        """The same of a text."""
        return self.lines(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def clean(self, lines: bytes, bodies: bytes) -> bool:
        """Whether there is nothing to mask: most histories need not be looked through piece by piece."""
        sought = self._current()
        if sought.plain.search(lines) is not None:
            return False
        if sought.marks.may_stand_in(bodies) and sought.body.search(bodies) is not None:
            return False
        known = sought.known
        return not known or not any(word in known for word in sought.words.findall(lines + bodies))

    def _current(self) -> _Sought:
        """Follow the secrets that are in use now."""
        sought, secrets = self._sought, self._secrets
        if sought is None or sought.values is not secrets.values or sought.version != secrets.tokens.version:
            sought = self._sought = _sought(secrets)
        return sought


def _sought(secrets: Secrets) -> _Sought:
    values, tokens = secrets.values, secrets.tokens
    version = tokens.version
    forms = {form for value in values for form in variants(value) if len(form) >= SHORTEST}
    literals = {_escape(form) for form in forms}
    words = tokens.words()
    if sum(min(len(word), TELLING) for word in words) <= MOST_LITERALS:
        literals |= {_escape(word[:TELLING]) + r"[\w.~-]*" for word in words}
        forms |= {word[:TELLING] for word in words}
        words = []
    escaped = sorted(literals, key=len, reverse=True)
    return _Sought(
        values,
        version,
        _compile("|".join([*escaped, *_NAMED, *_SHAPES])),
        _compile("|".join([*escaped, *_SHAPES])),
        _compile(_WORD),
        Marks(mark.encode("utf-8", "surrogateescape") for mark in {*MARKS, *map(_mark_of, forms)}),
        frozenset(word.encode("utf-8", "surrogateescape") for word in words),
    )


def _mark_of(form: str) -> str:
    """What stands in several forms of a secret: its longest row of letters and digits, or a letter that is escaped.

    One with a mark in it stays as it is: it needs no mark of its own.
    """
    folded = form.lower()
    if any(mark.lower() in folded for mark in MARKS):
        return form
    longest = max(_LETTERS.findall(_ESCAPES.sub(" ", form)), key=len, default="")
    if len(longest) >= SHORTEST_MARK:
        return longest
    return next((letter for letter in _ESCAPED_LETTERS if letter in form), form)


def _without_words(content: bytes, sought: _Sought) -> bytes:
    if not sought.known:
        return content
    found = {word for word in sought.words.findall(content) if word in sought.known}
    for word in found:
        content = content.replace(word, MASK.encode())
    return content


def cut_ends(head: bytes, tail: bytes) -> tuple[bytes, bytes]:
    """The ends of a body whose middle is left out, without the words at the cut: they may be parts of a secret."""
    last = _LAST_WORD.search(head, max(0, len(head) - LONGEST_SECRET))
    first = _FIRST_WORD.match(tail, 0, LONGEST_SECRET)
    return head[: last.start()] if last else head, tail[first.end() :] if first else tail


def _replace(found: Any) -> bytes:
    kept = next((text for number in _KEPT if (text := found.group(number)) is not None), b"")
    return kept + MASK.encode()


_KEPT = (1, 2, 3, 4)
"""Groups of what stands before a secret and says what it is."""


def _escape(text: str) -> str:
    return re.sub(r"([^\w])", lambda found: f"\\x{{{ord(found[1]):x}}}", text) if text.isascii() else _bytewise(text)


def _bytewise(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode("utf-8", "surrogateescape"))


def _compile(pattern: str) -> Any:
    return compile_re2(pattern.encode("ascii"), memory=MEMORY)
