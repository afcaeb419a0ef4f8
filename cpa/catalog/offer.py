"""From the models an account has to the names it is offered under: exclusions, aliases, prefix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import translate
from re import Pattern
from re import compile as compile_pattern

from msgspec import Struct
from msgspec.structs import replace

from cpa.catalog.model import Model


class ModelAlias(Struct, frozen=True):
    """One ``oauth-model-alias`` entry: ``name`` is offered as ``alias``; ``fork`` keeps the name too."""

    name: str
    alias: str
    fork: bool = False
    force_mapping: bool = False


def glob(pattern: str) -> Pattern[str]:
    """A compiled whole-string pattern in which only ``*`` is special (any run of characters)."""
    escaped = "".join(f"[{character}]" if character in "?[" else character for character in pattern)
    return compile_pattern(translate(escaped))


def without_excluded(models: Iterable[Model], patterns: Sequence[str]) -> list[Model]:
    """The models whose upstream name no pattern matches (``*`` wildcards, case does not count)."""
    compiled = [glob(pattern.lower()) for pattern in patterns if pattern.strip()]
    return [
        model
        for model in models
        if not any(pattern.match((model.upstream or model.id).lower()) for pattern in compiled)
    ]


def with_aliases(models: Sequence[Model], aliases: Sequence[ModelAlias]) -> list[Model]:
    """Replace (or with ``fork`` accompany) each aliased model by its aliases; a colliding alias is dropped."""
    if not aliases:
        return list(models)
    by_name: dict[str, list[ModelAlias]] = {}
    for entry in aliases:
        by_name.setdefault(entry.name.lower(), []).append(entry)
    taken = {model.id.lower() for model in models if model.id.lower() not in by_name}
    offered: list[Model] = []
    for model in models:
        entries = by_name.get(model.id.lower(), [])
        renamed = []
        for entry in entries:
            if entry.alias.lower() not in taken:
                taken.add(entry.alias.lower())
                renamed.append(
                    replace(
                        model,
                        id=entry.alias,
                        upstream=model.upstream or model.id,
                        force_mapping=entry.force_mapping or model.force_mapping,
                    )
                )
        if not renamed or any(entry.fork for entry in entries):
            offered.append(model)
        offered.extend(renamed)
    return offered


def with_prefix(models: Sequence[Model], prefix: str, *, force: bool) -> list[Model]:
    """Offer each model as ``prefix/id`` too; with ``force`` only so (unless the id is the prefix itself)."""
    if not prefix:
        return list(models)
    offered = [] if force else list(models)
    if force:
        offered = [model for model in models if model.id == prefix]
    offered.extend(
        replace(model, id=f"{prefix}/{model.id}", upstream=model.upstream or model.id)
        for model in models
        if not (force and model.id == prefix)
    )
    return offered
