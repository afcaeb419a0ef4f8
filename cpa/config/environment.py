"""Environment variables over the file: ``CPA_PORT``, ``CPA_ROUTING__STRATEGY``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from cpa.config.section import Section, fields_of

PREFIX = "CPA_"


def apply_environment(
    data: dict[str, Any], model: type[Section], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The data with every setting that a ``CPA_`` variable names replaced (a copy), and the paths replaced.

    ``__`` leads into a section; lists and mappings are written as JSON. Variables that name no setting are left alone.
    """
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


def _set(target: dict[str, Any], model: type[Section], path: list[str], value: str) -> bool:
    field = fields_of(model).get(path[0])
    if field is None:
        return False
    if len(path) == 1:
        target[path[0]] = _decoded(value)
        return True
    inner = field.annotation
    if not (isinstance(inner, type) and issubclass(inner, Section)):
        return False
    known = target.get(path[0])
    section = dict(known) if isinstance(known, dict) else {}
    if not _set(section, inner, path[1:], value):
        return False
    target[path[0]] = section
    return True


def _decoded(value: str) -> Any:
    """Lists and mappings are JSON; everything else is text, which its field converts."""
    if value[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def read_dotenv(text: str) -> dict[str, str]:
    """The assignments in a ``.env`` file: ``NAME=value``, quotes and ``export`` allowed, comments left out."""
    values: dict[str, str] = {}
    for raw in text.removeprefix("\ufeff").splitlines():
        line = raw.strip()
        name, equals, value = line.removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or line.startswith("#") or " " in name:
            continue
        quote = value[:1]
        if quote in ("'", '"') and (closing := value.find(quote, 1)) > 0:
            value = value[1:closing]
        else:
            value = value.partition(" #")[0].rstrip()
        values[name] = value
    return values


def with_dotenv(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with what a ``.env`` file in the working directory adds; real variables win."""
    try:
        text = Path(".env").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return dict(environ)
    return {**read_dotenv(text), **environ}
