"""From a file to a valid configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from cpa.config.environment import apply_environment
from cpa.config.judge import judge
from cpa.config.notices import ConfigWarning, look_for_unknown, migrate
from cpa.config.section import InvalidSection, Location
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
        config = Config.from_plain(merged)
    except InvalidSection as fault:
        raise ConfigError(_explain(fault, merged, tree, overridden)) from None
    warnings += judge(config, merged)
    return LoadedConfig(config, warnings, overridden=overridden)


MOST_FAULTS = 5
"""Wrong values named in one error."""


def _explain(fault: InvalidSection, data: Any, tree: Tree, overridden: list[str]) -> str:
    """One sentence per wrong value: line, key, what was expected. The value itself is not repeated."""
    faults: dict[str, list[str]] = {}
    for location, expected in fault.faults:
        where = dotted(location) or "the file"
        if where in overridden:
            where = f"environment variable for {where}"
        elif line := tree.line_of(_written_part(location, data)):
            where = f"line {line}: {where}"
        faults.setdefault(where, []).append(expected)
    sentences = [f"{where}: {' or '.join(dict.fromkeys(expected))}" for where, expected in faults.items()]
    more = len(sentences) - MOST_FAULTS
    return "; ".join(sentences[:MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def _written_part(location: Location, data: Any) -> Location:
    """A location as far as the data reaches: a member that is missing has no line, its section has."""
    kept: list[Any] = []
    for part in location:
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_list or (isinstance(data, dict) and part in data):
            data = data[part]
            kept.append(part)
    return tuple(kept)


def dotted(location: Location) -> str:
    """``("a", 0, "b")`` as ``a[0].b``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
