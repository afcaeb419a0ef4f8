"""Environment variables over the file: ``CPA_PORT``, ``CPA_ROUTING__STRATEGY``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

PREFIX = "CPA_"


def apply_environment(
    data: dict[str, Any], model: type[BaseModel], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The data with every setting that a ``CPA_`` variable names replaced (a copy), and the paths replaced."""
    wanted = {name: value for name, value in environ.items() if name.upper().startswith(PREFIX)}
    if not wanted:
        return data, []
    merged = dict(data)
    overridden: list[str] = []
    for name, value in sorted(wanted.items()):
        path = [part.lower().replace("_", "-") for part in name[len(PREFIX) :].split("__")]
        if _set(merged, model, path, value):
            overridden.append(".".join(path))
    return merged, overridden


def _set(target: dict[str, Any], model: type[BaseModel], path: list[str], value: str) -> bool:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    field = fields.get(path[0])
    if field is None:
        return False
    if len(path) == 1:
        target[path[0]] = _decoded(value)
        return True
    inner = field.annotation
    if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
        return False
    section = dict(target.get(path[0]) or {})
    done = _set(section, inner, path[1:], value)
    if done:
        target[path[0]] = section
    return done


class _Values(BaseSettings):
    model_config = SettingsConfigDict(env_parse_none_str="null")


_SOURCE = EnvSettingsSource(_Values)


def _decoded(value: str) -> Any:
    """Lists and mappings are written as JSON; everything else is taken as text and converted by its field."""
    if value[:1] in "[{" and value:
        try:
            return _SOURCE.decode_complex_value("value", None, value)  # type: ignore[arg-type]
        except ValueError:
            return value
    return value


def read_dotenv(text: str) -> dict[str, str]:
    """The assignments in a ``.env`` file."""
    values: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.strip().removeprefix("export ")
        name, equals, value = line.partition("=")
        if not equals or line.startswith("#") or not name.strip():
            continue
        value = value.strip()
        if value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1:
            value = value[1:-1]
        values[name.strip()] = value
    return values
