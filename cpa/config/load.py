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
from cpa.config.notices import ConfigWarning, look_for_unknown, migrate
from cpa.config.settings import Config
from cpa.config.yaml_reader import parse
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
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise ConfigError(f"cannot read {path}: {fault.strerror or fault}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    loaded = load_text(text, environ=environ)
    loaded.path = path
    loaded.digest = sha256(content).hexdigest()
    return loaded


def load_text(text: str, *, environ: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Validate the text of a configuration file. Raises ConfigError."""
    data, lines = parse(text)
    migrated, warnings = migrate(data)
    warnings += look_for_unknown(migrated, Config)
    merged, overridden = apply_environment(migrated, Config, environ)
    try:
        config = Config.model_validate(merged)
    except ValidationError as fault:
        raise ConfigError(_explain(fault, lines)) from None
    warnings += _judge(config)
    return LoadedConfig(config, warnings, overridden=overridden)


def _explain(fault: ValidationError, lines: Mapping[tuple[str | int, ...], int]) -> str:
    """One sentence per wrong value: line, key, what was expected. The value itself is not repeated."""
    sentences: list[str] = []
    for error in fault.errors(include_input=False, include_url=False)[:5]:
        location = tuple(part for part in error["loc"] if not (isinstance(part, str) and part in ("str", "ClientKey")))
        line = _line_of(location, lines)
        message = str(error["msg"]).removeprefix("Value error, ")
        sentences.append(f"{f'line {line}: ' if line else ''}{dotted(location)}: {message}")
    return "; ".join(dict.fromkeys(sentences))


def _line_of(location: tuple[Any, ...], lines: Mapping[tuple[str | int, ...], int]) -> int | None:
    while location:
        if location in lines:
            return lines[location]
        location = location[:-1]
    return None


def dotted(location: tuple[Any, ...]) -> str:
    """``("a", 0, "b")`` as ``a[0].b``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _judge(config: Config) -> list[ConfigWarning]:
    """Values that are valid and yet do not do what their author may think."""
    warnings = []
    for name, entries in (
        ("codex-api-key", config.codex_api_key),
        ("openai-compatibility", config.openai_compatibility),
    ):
        for index, entry in enumerate(entries):
            if not entry.base_url:
                warnings.append(ConfigWarning(f"{name}[{index}]", "without base-url this entry is not offered"))
    if config.tls.enable and not (config.tls.cert and config.tls.key):
        raise ConfigError("tls: cert and key are required when tls is enabled")
    loopback = config.host in ("127.0.0.1", "::1", "localhost")
    if not config.api_keys and not loopback:
        warnings.append(ConfigWarning("api-keys", "without client keys only clients on this machine are let in"))
    return warnings


def config_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file."""
    schema = Config.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "cpa configuration"
    return schema
