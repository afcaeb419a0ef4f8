"""The shape of the settings: the sections inside annotations, and a JSON Schema for editors."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import msgspec

from cpa.config.section import Section, fields_of
from cpa.config.settings import Config

__all__ = ["config_schema", "fields_of", "section_in"]


def section_in(annotation: Any) -> type[Section] | None:
    """The section class in an annotation such as ``tuple[KeyEntry, ...]``."""
    if isinstance(annotation, type) and not typing.get_origin(annotation):
        return annotation if issubclass(annotation, Section) else None
    return next((found for part in typing.get_args(annotation) if (found := section_in(part))), None)


def config_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file, for editors that complete and check YAML."""
    _, sections = msgspec.json.schema_components([Config], schema_hook=_of_path, ref_template="#/$defs/{name}")
    for section in sections.values():
        del section["properties"][""]  # unknown members: they stand beside the others, not in one of their own
        section["additionalProperties"] = True
    whole: dict[str, Any] = sections.pop(Config.__name__)
    whole["$defs"] = sections
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    whole["title"] = "cpa configuration"
    return whole


def _of_path(kind: type) -> dict[str, Any]:
    if kind is Path:
        return {"type": "string"}
    raise NotImplementedError
