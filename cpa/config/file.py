"""Edit the configuration file: single settings change, everything else stays byte for byte."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from cpa.config.atomic import ChangedMeanwhile, locked, write_atomically
from cpa.config.carry import defaulted, with_unknown
from cpa.config.lease import unwritten
from cpa.config.list_match import same
from cpa.config.load import decoded, dotted, load_text
from cpa.config.notices import ConfigWarning, migrate, new_warnings
from cpa.config.schema import fields_of
from cpa.config.settings import Config
from cpa.config.yaml_reader import parse
from cpa.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]
"""``("gemini-api-key", 0, "prefix")``: keys as in the file and positions in lists."""

ATTEMPTS = 20
"""Times an edit is made again because the file was saved by somebody else at the same moment."""
_ORDER = tuple(fields_of(Config))


class ConfigConflict(ConfigError):
    """The file is not what the editor believes it is."""


class ConfigBusy(ConfigError):
    """Somebody else keeps saving the file."""


class ConfigFile:
    """One configuration file. Every edit is applied to the newest text, so that two writers lose nothing.

    Nothing is written when nothing changes, and nothing is written that could not be loaded again. Methods return the
    SHA-256 of the content now in the file; they raise ConfigError when the edit cannot be made and OSError when the
    file cannot be read or written. They block: call them in a thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, path: KeyPath, value: Any, *, keep_unknown: bool = True) -> str:
        """Set one value, making missing mappings on the way; the position just behind a list's end appends.

        An absent key is not written when the value is its default. With ``keep_unknown``, members that cpa does not
        know stay in items that remain. A value that can be read and yet would do nothing is refused, too.
        """

        return self.edit(lambda data: assign(data, path, value, keep_unknown=keep_unknown), useful=True)

    def delete(self, path: KeyPath) -> str:
        """Remove one key or item, with the comments directly above an item. Nothing happens when it is not there."""

        def change(data: dict[str, Any]) -> None:
            parent = _walk(data, path[:-1], make=False)
            if parent is not None and _get(parent, path[-1]) is not _MISSING:
                del parent[path[-1]]

        return self.edit(change)

    def edit(
        self, change: Callable[[dict[str, Any]], None], *, expected: str | None = None, useful: bool = False
    ) -> str:
        """Let ``change`` alter the file's data in place and write the differences back, all of them in one go.

        Keys of older releases are written under their present names on the way. ``expected`` is the SHA-256 the file
        must have, otherwise ConfigConflict is raised and nothing is written. When somebody else saves the file at the
        same moment ``change`` is called again with the newer data; ConfigBusy is raised when that happens on and on.
        With ``useful``, ConfigError is raised for values that would do nothing, where they did not stand before.
        """
        with locked(self.path):
            for _ in range(ATTEMPTS):
                content = self._settled()
                _expect(expected, content)
                try:
                    return self._edited(content, change, useful)
                except ChangedMeanwhile:
                    continue
        raise ConfigBusy(f"{self.path.name} is being changed by somebody else; try again")

    def _edited(self, content: bytes, change: Callable[[dict[str, Any]], None], useful: bool) -> str:
        text = decoded(content, self.path)
        data, _ = parse(text)
        wanted = _plain(data)
        change(wanted)
        wanted = _plain(wanted)
        if same(wanted, data):
            return sha256(content).hexdigest()
        from cpa.config.yaml_rewrite import rewrite  # a daemon whose file is never edited does without

        new = rewrite(text, _plain(migrate(wanted)[0]), _ORDER)
        found = load_text(new, environ={}).warnings
        if useful and any(warning.useless for warning in found):
            _refuse_useless(text, found)
        return self._write(content, new)

    def _settled(self) -> bytes:
        """The file's content, while nobody writes to it.

        Editors save by moving the file away or emptying it first: that is waited out.
        """
        for wait in (0.02, 0.05, 0.1, 0.3):
            try:
                with unwritten(self.path):
                    content = self.path.read_bytes()
            except FileNotFoundError:
                content = b""
            if content.strip():
                return content
            time.sleep(wait)
        return self.path.read_bytes()

    def splice_scalar(self, key: str, old: str, new: str) -> str:
        """Replace a value of ``remote-management`` in the file, e.g. a password by its hash.

        Nothing is written when the file does not hold ``old`` there (it came from the environment, or somebody was
        quicker).
        """

        def change(data: dict[str, Any]) -> None:
            section = data.get("remote-management")
            if isinstance(section, dict) and str(section.get(key, "")).strip() == old.strip():
                section[key] = new

        return self.edit(change)

    def replace(self, content: bytes, *, expected: str | None = None) -> str:
        """Replace the whole content, byte for byte, after checking that it can be loaded; ``expected`` as in edit."""
        load_text(decoded(content, self.path), environ={})
        with locked(self.path):
            known = self.path.read_bytes() if self.path.exists() else b""
            _expect(expected, known)
            if known != content or not self.path.exists():
                try:
                    write_atomically(self.path, content, expected=known if expected is not None else None)
                except ChangedMeanwhile as fault:
                    raise ConfigConflict(str(fault)) from None
        return sha256(content).hexdigest()

    def _write(self, before: bytes, text: str) -> str:
        content = text.encode()
        if before.startswith(b"\xef\xbb\xbf"):
            content = b"\xef\xbb\xbf" + content
        if content != before:
            write_atomically(self.path, content, expected=before)
        return sha256(content).hexdigest()


def assign(data: dict[str, Any], path: KeyPath, value: Any, *, keep_unknown: bool = True) -> None:
    """Set one value in a file's data, as :meth:`ConfigFile.set` says. Raises ConfigError."""
    parent = _walk(data, path[:-1], make=not defaulted(data, path, value), last=path[-1])
    if parent is None:
        return
    known = _get(parent, path[-1])
    if known is _MISSING and defaulted(data, path, value):
        return
    new = with_unknown(path, known, value) if keep_unknown and known is not _MISSING else value
    _put(parent, path, new)


def _expect(digest: str | None, content: bytes) -> None:
    if digest is not None and sha256(content).hexdigest() != digest:
        raise ConfigConflict("the configuration file was changed meanwhile; read it again")


def _refuse_useless(before: str, found: list[ConfigWarning]) -> None:
    """Raises ConfigError for the first value that does nothing and was not like that in the text ``before``."""
    try:
        known = load_text(before, environ={}).warnings
    except ConfigError:
        known = []
    for warning in new_warnings(known, found):
        if warning.useless:
            raise ConfigError(str(warning))


_MISSING = object()


def _plain(value: Any) -> Any:
    """A copy made of dicts, lists and scalars only."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _get(parent: Any, key: str | int) -> Any:
    if isinstance(parent, list):
        return parent[key] if isinstance(key, int) and 0 <= key < len(parent) else _MISSING
    return parent.get(key, _MISSING) if isinstance(parent, dict) else _MISSING


def _put(parent: Any, path: KeyPath, value: Any) -> None:
    key = path[-1]
    if isinstance(parent, list):
        if not isinstance(key, int) or not 0 <= key <= len(parent):
            raise ConfigError(f"{dotted(path)} does not exist; the next entry of the list is [{len(parent)}]")
        parent[key : key + 1] = [value]
    else:
        parent[key] = value


def _walk(data: Any, path: KeyPath, *, make: bool, last: str | int = "") -> Any:
    """The mapping or list at ``path`` that holds ``last``; None when it is missing and not to be made."""
    node = data
    for position, key in enumerate(path):
        inner = _get(node, key)
        if inner is _MISSING or inner is None:
            if not make:
                return None
            if not isinstance(node, dict) or isinstance(key, int):
                raise ConfigError(f"{dotted(path[: position + 1])} does not exist")
            inner = node[key] = [] if (*path, last)[position + 1] == 0 else {}
        if not isinstance(inner, dict | list):
            raise ConfigError(f"{dotted(path[: position + 1])} is a single value")
        node = inner
    return node
