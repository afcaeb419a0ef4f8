"""Edit the YAML file by hand's rules: comments, order, quoting and unknown members stay."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from cpa.errors import ConfigError

Path_ = tuple[str | int, ...]


class ConfigFile:
    """One configuration file. Every edit is applied to the newest text, so that two writers lose nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, path: Path_, value: Any) -> str:
        """Set one value, making missing mappings on the way; the digest of the new content.

        Nothing is written when the value is equal. Raises ConfigError when the path leads through something that is
        no mapping or list.
        """

        def edit(document: Any) -> bool:
            parent = _walk(document, path[:-1], make=True)
            key = path[-1]
            known = _get(parent, key)
            if known is not _MISSING and known == value and type(known) is type(value):
                return False
            if isinstance(parent, list) and isinstance(key, int) and key == len(parent):
                parent.append(value)
            else:
                parent[key] = value
            return True

        return self._edit(edit)

    def delete(self, path: Path_) -> str:
        """Remove one key or item; comments of what stays remain with it. Nothing happens when it is not there."""

        def edit(document: Any) -> bool:
            parent = _walk(document, path[:-1], make=False)
            if parent is None or _get(parent, path[-1]) is _MISSING:
                return False
            del parent[path[-1]]
            return True

        return self._edit(edit)

    def splice_scalar(self, key: str, old: str, new: str) -> str:
        """Replace a scalar's own characters and nothing else, e.g. a password by its hash; the new digest."""
        text = self.path.read_text(encoding="utf-8")
        literal = r"(?P<quote>[\"']?)" + re.escape(old) + r"(?P=quote)"
        pattern = re.compile(
            rf"^(?P<head>[ \t]*(?:[\w-]+:[ \t]*\{{.*?)?{re.escape(key)}:[ \t]*){literal}(?=\s|,|\}}|$)", re.MULTILINE
        )
        replaced, count = pattern.subn(lambda found: f'{found["head"]}"{new}"', text, count=1)
        if not count:
            return self.set(("remote-management", key), new)
        self._write(replaced.encode())
        return sha256(replaced.encode()).hexdigest()

    def _edit(self, edit: Callable[[Any], bool]) -> str:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        content = self.path.read_bytes()
        text = content.decode("utf-8")
        yaml = YAML(typ="rt")
        yaml.preserve_quotes = True
        yaml.width = 1_000_000
        mapping, sequence, offset = _indentation(text)
        yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
        try:
            document = yaml.load(text)
        except YAMLError as fault:
            raise ConfigError(f"{self.path} is not valid YAML: {str(fault).splitlines()[0]}") from None
        if document is None:
            from ruamel.yaml.comments import CommentedMap

            document = CommentedMap()
        if not edit(document):
            return sha256(content).hexdigest()
        stream = io.StringIO()
        yaml.dump(document, stream)
        new = stream.getvalue().encode()
        self._write(new)
        return sha256(new).hexdigest()

    def _write(self, content: bytes) -> None:
        write_atomically(self.path, content)


_MISSING = object()


def _get(parent: Any, key: str | int) -> Any:
    if isinstance(parent, list):
        return parent[key] if isinstance(key, int) and -len(parent) <= key < len(parent) else _MISSING
    return parent.get(key, _MISSING) if isinstance(parent, dict) else _MISSING


def _walk(document: Any, path: Path_, *, make: bool) -> Any:
    node = document
    for key in path:
        inner = _get(node, key)
        if inner is _MISSING or inner is None:
            if not make:
                return None
            if not isinstance(node, dict):
                raise ConfigError(f"{key} does not exist and cannot be made")
            node[key] = {}
            inner = node[key]
        if not isinstance(inner, dict | list):
            raise ConfigError(f"{key} is a value, not a section")
        node = inner
    return node


def _indentation(text: str) -> tuple[int, int, int]:
    """Mapping indent, sequence indent and dash offset as the file has them."""
    found = re.search(r"^([ ]*)[\w-]+:[ ]*(?:#.*)?\n(?:[ ]*#.*\n|\n)*([ ]*)-([ ]+)\S", text, re.MULTILINE)
    offset = max(0, len(found[2]) - len(found[1])) if found else 2
    gap = len(found[3]) + 1 if found else 2
    nested = re.search(r"^[\w-]+:[ ]*(?:#.*)?\n(?:[ ]*#.*\n|\n)*([ ]+)[\w-]+:", text, re.MULTILINE)
    return (len(nested[1]) if nested else 2), offset + gap, offset


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by temp file, fsync and rename, keeping its mode (0600 for a new one).

    Where renaming is impossible (a single file mounted into a container) it is written in place, after a copy was
    kept as ``<name>.bak``.
    """
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        try:
            os.replace(name, target)
        except OSError:
            _write_in_place(target, content)
    finally:
        if os.path.exists(name):
            os.unlink(name)


def _write_in_place(target: Path, content: bytes) -> None:
    backup = target.with_name(target.name + ".bak")
    with open(backup, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as copy:
        copy.write(target.read_bytes())
    with target.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
