"""Keep secrets out of logs: by the name of their field, by their shape and by their value."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from cpa.logs.literals import Literals
from cpa.logs.token_words import TokenWords

_NAMES = re.compile(r"authorization|api[-_]?key|apikey|token|secret|password|cookie|credential", re.IGNORECASE)
_COUNTS = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "total_tokens",
        "reasoning_tokens",
        "tokens",
    }
)
_SHAPES = re.compile(
    r"(?P<scheme>\b(?:bearer|basic)\s+)[\w\-.~+/=]{6,}"
    r"|\bsk-[\w-]{8,}|\bAIza[\w-]{20,}|\bya29\.[\w.-]{10,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?P<query>[?&](?:key|auth_token|api[-_]?key|token|secret|access_token)=)[^&\s\"']+",
    re.IGNORECASE,
)
_MARKS = ("bearer", "basic", "sk-", "aiza", "ya29.", "eyj", "=")
"""In lower case: a text without any of these has none of the shapes."""
SHORTEST = 6
MASK = "***"


_PLAIN_NAMES = frozenset(
    (
        "logger", "request_id", "path", "format", "model", "client", "peer", "provider", "account", "upstream_model",
        "error", "error_class", "event", "level", "ts", "method", "reason", "plugin", "version",
    )
)  # fmt: skip
"""Field names known to say nothing secret by themselves; their texts are searched all the same."""


_SIMPLE = frozenset((str, int, float, bool, type(None)))


@lru_cache(maxsize=1024)
def _plain_names(names: tuple[str, ...]) -> bool:
    """Whether no field of this set of names is one for secrets."""
    return not any(name not in _PLAIN_NAMES and name not in _COUNTS and _NAMES.search(name) for name in names)


_FOREIGN = frozenset(("error", "exception", "reason"))
"""Fields with texts of others, who may write a secret in any form."""


@lru_cache(maxsize=512)
def variants(secret: str) -> frozenset[str]:
    """How a secret may be written: as it is, percent-encoded, escaped in JSON or HTML, inside of Base64."""
    found = {secret, secret.replace("/", "\\/"), *_percent_encoded(secret), *_escaped(secret), *_in_html(secret)}
    if len(secret) >= 8:
        content = secret.encode("utf-8", "surrogateescape")
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + content).decode()
            begin, end = (0, 2, 3)[before], len(content) + before
            inside = encoded[begin + (before > 0) : end * 8 // 6]
            found |= {inside, inside.replace("+", "-").replace("/", "_")}
    return frozenset(found)


def _percent_encoded(secret: str) -> Iterator[str]:
    """With digits in capitals, as most do, and in small letters."""
    for encoded in (quote(secret, safe=""), quote_plus(secret)):
        yield encoded
        yield _ENCODED.sub(lambda found: found[0].lower(), encoded)


_ENCODED = re.compile(r"%[0-9A-F]{2}")


def _in_html(secret: str) -> Iterator[str]:
    """As Python, Go, and PHP or JavaScript write it."""
    safe = html.escape(secret, quote=False)
    for double, single in (("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "&#39;"), ("&quot;", "&apos;")):
        yield safe.replace('"', double).replace("'", single)
    yield safe


def _escaped(secret: str) -> Iterator[str]:
    """How a secret is written in JSON, and in JSON that is a text in JSON.

    What means something in HTML is escaped as well by Go, what is no letter by others, and some escape everything.
    """
    for ensure_ascii in (True, False):
        once = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ensure_ascii)[1:-1]
        yield _by_number(_OF_HTML, once)
    for characters in (_IN_TEXTS, _NO_WORD, _ANY):
        for digits in "xX":
            yield _by_number(characters, secret, digits)


_OF_HTML = re.compile("[<>&]")
_IN_TEXTS = re.compile("[<>&\"'+]")
_NO_WORD = re.compile(r"[^\w.~-]", re.ASCII)
_ANY = re.compile(".", re.DOTALL)


def _by_number(characters: re.Pattern[str], text: str, digits: str = "x") -> str:
    """The text with some characters written as ``\\u0026``."""

    def escaped(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{int.from_bytes(units[at : at + 2]):04{digits}}" for at in range(0, len(units), 2))

    return characters.sub(escaped, text)


class Secrets:
    """The secret values in use, so that they are masked wherever they turn up."""

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset()
        self._plain = Literals(())
        """The values as they are: what every line is searched for."""
        self._in_every_form = Literals(())
        self.tokens = TokenWords()
        """Tokens of logins, of which there may be thousands."""

    @property
    def values(self) -> frozenset[str]:
        """The values as they were set."""
        return self._values

    def replace(self, values: Iterable[str]) -> None:
        """Set all secret values; very short ones are left out, they would mask ordinary words."""
        kept = frozenset(value for value in values if len(value) >= SHORTEST)
        if kept == self._values:
            return
        self._values = kept
        self._plain = Literals(kept)
        self._in_every_form = Literals(form for value in kept for form in variants(value) if len(form) >= SHORTEST)

    def mask_text(self, text: str) -> str:
        """The text without secret values and without what looks like one."""
        text = self._in_every_form.replaced(text, MASK)
        text = self.tokens.mask(text, MASK)
        return _SHAPES.sub(_keep_name, text)

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """The event without secrets. An ordinary line costs two searches over its texts together."""
        if self._harmless(event):
            return event
        return {name: self._mask(name, value, 0) for name, value in event.items()}

    def _harmless(self, event: dict[str, Any]) -> bool:
        if not _plain_names(tuple(event)) or not _SIMPLE.issuperset(map(type, event.values())):
            return False
        joined = "\x00".join([value for value in event.values() if type(value) is str])
        foreign = "%" in joined or not _FOREIGN.isdisjoint(event)
        if (self._in_every_form if foreign else self._plain).found(joined):
            return False
        if not joined.isascii():
            return False  # letters of other scripts may count as the same in another case
        lowered = joined.lower()
        for mark in _MARKS:
            if mark in lowered:
                return _SHAPES.search(joined) is None and not self.tokens.found(joined)
        return not self.tokens.found(joined)

    def _mask(self, name: str, value: Any, depth: int) -> Any:
        if _NAMES.search(name) and name not in _COUNTS and isinstance(value, str | bytes) and value:
            return _keep_scheme(value if isinstance(value, str) else value.decode("utf-8", "replace"))
        if isinstance(value, str):
            return self.mask_text(value)
        if depth < 6:
            if isinstance(value, Mapping):
                return {str(key): self._mask(str(key), inner, depth + 1) for key, inner in value.items()}
            if isinstance(value, list | tuple):
                return [self._mask(name, inner, depth + 1) for inner in value]
        if isinstance(value, int | float | bool | type(None)):
            return value
        return self.mask_text(str(value))


def _keep_name(found: re.Match[str]) -> str:
    return (found["scheme"] or found["query"] or "") + MASK


def _keep_scheme(value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} {MASK}" if space and scheme.isalpha() else MASK
