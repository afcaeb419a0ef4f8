"""From the models an account has to the names it is offered under: exclusions, aliases, prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from re import Pattern
from re import compile as compile_pattern
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cpa.catalog.model import Model
from cpa.conversation.effort import split_reasoning


class ModelAlias(Struct, frozen=True):
    """One ``oauth-model-alias`` entry: ``name`` is offered as ``alias``; ``fork`` keeps the name too."""

    name: str
    alias: str
    fork: bool = False
    force_mapping: bool = False
    """The alias, not the upstream's name, stands in answers."""
    display_name: str = ""


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


def aliases_of(entries: Iterable[Any]) -> tuple[ModelAlias, ...]:
    """The aliases an auth file lists under ``model_aliases``; entries that say nothing are left out."""
    found: dict[str, ModelAlias] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        member = {str(key).replace("-", "_"): value for key, value in entry.items()}
        name, alias = (str(member.get(key) or "").strip() for key in ("name", "alias"))
        if name and alias and name.lower() != alias.lower():
            shown = str(member.get("display_name") or "").strip()
            fork, force = member.get("fork") is True, member.get("force_mapping") is True
            found.setdefault(alias.lower(), ModelAlias(name, alias, fork, force, shown))
    return tuple(found.values())


def preferred_aliases(own: Sequence[ModelAlias], channel: Sequence[ModelAlias]) -> tuple[ModelAlias, ...]:
    """An account's own aliases, then the channel's for models and aliases that its own do not mention."""
    names = {entry.name.lower() for entry in own}
    taken = {entry.alias.lower() for entry in own}
    rest = (entry for entry in channel if entry.name.lower() not in names and entry.alias.lower() not in taken)
    return (*own, *rest)


def with_aliases(models: Sequence[Model], aliases: Sequence[ModelAlias]) -> list[Model]:
    """Replace (or with ``fork`` accompany) each aliased model by its aliases; a colliding alias is dropped.

    A model none of whose aliases survives keeps its name.
    """
    if not aliases:
        return list(models)
    by_name: dict[str, list[ModelAlias]] = {}
    for entry in aliases:
        by_name.setdefault(split_reasoning(entry.name)[0].lower(), []).append(entry)
    taken = {model.id.lower() for model in models if _stays(by_name.get(model.id.lower(), ()))}
    offered: list[Model] = []
    for model in models:
        entries = by_name.get(model.id.lower(), [])
        renamed = []
        for entry in entries:
            if entry.alias.lower() not in taken:
                taken.add(entry.alias.lower())
                renamed.append(_renamed(model, entry))
        if _stays(entries) or (not renamed and model.id.lower() not in taken):
            taken.add(model.id.lower())
            offered.append(model)
        offered.extend(renamed)
    return offered


def _stays(entries: Sequence[ModelAlias]) -> bool:
    """Whether a model with these aliases keeps its own name in any case."""
    return not entries or any(entry.fork for entry in entries)


def _renamed(model: Model, entry: ModelAlias) -> Model:
    return replace(
        model,
        id=entry.alias,
        upstream=model.upstream or model.id,
        suffix=split_reasoning(entry.name)[1] or model.suffix,
        display_name=entry.display_name or model.display_name,
        force_mapping=entry.force_mapping or model.force_mapping,
    )


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
