"""From a file to a valid configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from pydantic import ValidationError

from cpa.config.environment import apply_environment
from cpa.config.judge import judge
from cpa.config.notices import ConfigWarning, look_for_unknown, migrate
from cpa.config.settings import Config
from cpa.config.yaml_reader import parse
from cpa.config.yaml_tree import LARGEST_FILE, Tree
from cpa.errors import ConfigError


class LoadedConfig(Struct):
    """A configuration and where it came from."""

    config: Config
    warnings: list[ConfigWarning] = field(default_factory=list)
    path: Path | None = None
    digest: str = ""
    """SHA-256 of the file's bytes."""
    overridden: list[str] = field(default_factory=list)
    """Paths whose value came from the environment."""


def load_config(path: Path | str, *, environ: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Read and validate a file. Raises ConfigError naming key and line."""
    path = Path(path)
    return load_bytes(read_bytes(path), path, environ=environ)


def read_bytes(path: Path) -> bytes:
    """A configuration file's content, at most a little more than is accepted. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST_FILE * 4 + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"cannot read {path}: there is no such file; name yours with --config, or write a first one with cpa init"
        ) from None
    except OSError as fault:
        raise ConfigError(f"cannot read {path}: {fault.strerror or fault}") from None


def load_bytes(content: bytes, path: Path, *, environ: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Validate the content of the file at ``path``. Raises ConfigError."""
    loaded = load_text(decoded(content, path), environ=environ)
    loaded.path = path
    loaded.digest = sha256(content).hexdigest()
    return loaded


def decoded(content: bytes, path: Path) -> str:
    """The text of a file's bytes. Raises ConfigError with the line where it stops being UTF-8."""
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"{path.name} is larger than {LARGEST_FILE // 1024 // 1024} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise ConfigError(f"line {line}: {path.name} is not UTF-8 text") from None


def load_text(text: str, *, environ: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Validate the text of a configuration file. Raises ConfigError."""
    data, tree = parse(text)
    migrated, warnings = migrate(data)
    warnings += look_for_unknown(migrated, Config)
    merged, overridden = apply_environment(migrated, Config, environ)
    try:
        config = Config.model_validate(merged)
    except ValidationError as fault:
        raise ConfigError(_explain(fault, merged, tree, overridden)) from None
    warnings += judge(config, merged)
    return LoadedConfig(config, warnings, overridden=overridden)


MOST_FAULTS = 5
"""Wrong values named in one error."""

_EXPECTED = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "string_type": "expected a text",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected a mapping of keys to values",
    "model_type": "expected a mapping of keys to values",
    "model_attributes_type": "expected a mapping of keys to values",
}


def _explain(fault: ValidationError, data: Any, tree: Tree, overridden: list[str]) -> str:
    """One sentence per wrong value: line, key, what was expected. The value itself is not repeated."""
    faults: dict[str, list[str]] = {}
    for error in fault.errors(include_input=False, include_url=False, include_context=False):
        location = _known_part(error["loc"], data)
        where = dotted(location) or "the file"
        if where in overridden:
            where = f"environment variable for {where}"
        elif line := tree.line_of(location):
            where = f"line {line}: {where}"
        expected = _EXPECTED.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
        faults.setdefault(where, []).append(expected)
    sentences = [f"{where}: {' or '.join(dict.fromkeys(expected))}" for where, expected in faults.items()]
    more = len(sentences) - MOST_FAULTS
    return "; ".join(sentences[:MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def _known_part(location: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    """An error's location without the names of union members, which are no keys."""
    kept: list[Any] = []
    for part in location:
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_list or (isinstance(data, dict) and part in data):
            data = data[part]
            kept.append(part)
    return tuple(kept)


def dotted(location: tuple[Any, ...]) -> str:
    """``("a", 0, "b")`` as ``a[0].b``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
