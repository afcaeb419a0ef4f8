"""What the shell offers for arguments: models, names of settings, providers. Nothing where something fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cpa.cli.options import find_config
from cpa.errors import CpaError

PROVIDERS = ("claude", "codex", "gemini", "kimi", "vertex")
"""That ship with cpa; those of plugins may be typed."""
SOURCES = ("claude", "cliproxyapi", "codex", "gemini")


def complete_provider(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Providers that can be logged in to."""
    return _beginning(PROVIDERS, incomplete)


def complete_source(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Programs that logins can be taken from, and files."""
    return [*_beginning(SOURCES, incomplete), CompletionItem(incomplete, type="file")]


def complete_served_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models that can be asked for."""
    from cpa.cli.inspection import inspect_config

    path = context.params.get("config_path")
    try:
        inspection = inspect_config(Path(path) if path else find_config())
    except (CpaError, OSError):
        return []
    return _beginning((model.id for model in inspection.catalog.list_models()), incomplete)


def complete_setting(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of settings; those in lists are not known before they are written."""
    from cpa.config import Config

    return _beginning(_settings(Config, ""), incomplete)


def _settings(section: Any, before: str) -> Iterator[str]:
    from cpa.config.section import Section, fields_of

    for name, setting in fields_of(section).items():
        if isinstance(setting.annotation, type) and issubclass(setting.annotation, Section):
            yield from _settings(setting.annotation, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def _beginning(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.lower().startswith(incomplete.lower())]
