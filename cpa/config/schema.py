"""The shape of the settings: their fields by key, the sections inside them, and a JSON Schema for editors."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

from cpa.config.settings import Config


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section class in an annotation such as ``tuple[KeyEntry, ...]``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := section_in(part))), None)


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Key as written -> field, in the order of declaration."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def config_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file, for editors that complete and check YAML."""
    schema = Config.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "cpa configuration"
    return schema
