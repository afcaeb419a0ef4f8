"""``cpa env TOOL``: what to export or paste so that a coding tool uses this daemon."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from msgspec import Struct

from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json
from cpa.errors import ConfigError

if TYPE_CHECKING:
    from cpa.config import Config

EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104
"""Hosts that mean every address of the machine; loopback is one of them."""


class Recipe(Struct, frozen=True):
    """How one tool is pointed at the daemon. ``{url}`` and ``{key}`` and ``{model}`` are filled in."""

    title: str
    environment: dict[str, str]
    unset: tuple[str, ...] = ()
    """Variables that would make the tool go elsewhere."""
    family: str = ""
    """How the models begin that the tool asks for of its own accord, beside the one it is told to use."""
    family_variables: tuple[str, ...] = ()
    """Variables that put another model in their place: set for a model that is none of them."""
    file: str = ""
    content: str = ""
    run: str = ""


RECIPES = {
    "claude": Recipe(
        "Claude Code",
        {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_AUTH_TOKEN": "{key}", "ANTHROPIC_MODEL": "{model}"},
        unset=("ANTHROPIC_API_KEY",),
        family="claude",
        family_variables=(
            "ANTHROPIC_DEFAULT_OPUS_MODEL",
            "ANTHROPIC_DEFAULT_SONNET_MODEL",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL",
        ),
        run="claude",
    ),
    "codex": Recipe(
        "Codex CLI",
        {"CPA_KEY": "{key}"},
        file="~/.codex/config.toml",
        content=(
            'model = "{model}"\n'
            'model_provider = "cpa"\n\n'
            "[model_providers.cpa]\n"
            'name = "cpa"\n'
            'base_url = "{url}/v1"\n'
            'wire_api = "responses"\n'
            'env_key = "CPA_KEY"\n'
        ),
        run="codex",
    ),
    "gemini": Recipe(
        "Gemini CLI",
        {"GOOGLE_GEMINI_BASE_URL": "{url}", "GEMINI_API_KEY": "{key}"},
        file="~/.gemini/settings.json",
        content='{{"security": {{"auth": {{"selectedType": "gemini-api-key"}}}}}}\n',
        run="gemini -m {model}",
    ),
    "openai": Recipe("OpenAI SDKs", {"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "{key}"}),
    "anthropic": Recipe("Anthropic SDKs", {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "{key}"}),
    "google": Recipe("Google GenAI SDKs", {"GOOGLE_GEMINI_BASE_URL": "{url}", "GEMINI_API_KEY": "{key}"}),
    "opencode": Recipe(
        "OpenCode",
        {"CPA_KEY": "{key}"},
        file="opencode.json",
        content=(
            '{{\n  "model": "cpa/{model}",\n'
            '  "provider": {{\n    "cpa": {{\n      "npm": "@ai-sdk/openai-compatible",\n'
            '      "options": {{"baseURL": "{url}/v1", "apiKey": "{{env:CPA_KEY}}"}},\n'
            '      "models": {{"{model}": {{}}}}\n    }}\n  }}\n}}\n'
        ),
        run="opencode",
    ),
}


def fill(recipe: Recipe, url: str, key: str, model: str) -> Recipe:
    """The recipe with its blanks filled in."""
    values = {"url": url, "key": key, "model": model}
    environment = {name: value.format(**values) for name, value in recipe.environment.items()}
    if not model.rpartition("/")[2].startswith(recipe.family):
        environment |= dict.fromkeys(recipe.family_variables, model)
    return Recipe(
        recipe.title,
        environment,
        recipe.unset,
        file=recipe.file,
        content=recipe.content.format(**values) if recipe.content else "",
        run=recipe.run.format(**values),
    )


def shell_quote(value: str, shell: str) -> str:
    """A value as a literal of the shell."""
    escaped = value.replace("'", "\\'" if shell == "fish" else "'\\''")
    return f"'{escaped}'"


def configuration(path: Path) -> Config:
    """The configuration at ``path``; the defaults where nobody named a file and there is none."""
    from cpa.config import load_config, load_text

    source = click.get_current_context().get_parameter_source("config_path")
    try:
        if source is ParameterSource.DEFAULT and not path.exists():
            return load_text("", environ=os.environ).config
        return load_config(path, environ=os.environ).config
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None


def address(config: Config) -> str:
    """The URL under which programs on this machine reach the daemon."""
    host = "127.0.0.1" if config.host in EVERY_ADDRESS else config.host
    scheme = "https" if config.tls.enable else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.port}"


def client_key(config: Config) -> str:
    """The first client key of the configuration that still counts; any text will do where there are none."""
    from cpa.config.client_keys import expired

    if not config.api_keys:
        return "cpa-local"
    for key in config.api_keys:
        if isinstance(key, str):
            return key
        if not expired(key, time.time()):
            return key.key
    click.echo("every client key of the configuration has expired: name another one with --key", err=True)
    return "cpa-local"


@click.command("env")
@click.argument("tool", type=click.Choice(sorted(RECIPES)))
@click.option("--url", default=None, help="Where the daemon is reached, if not where the configuration says.")
@click.option("--key", default="", help="The client key to send.", show_default="the first one in the configuration")
@click.option("--model", default="demo", show_default=True, help="The model to use.")
@click.option(
    "--shell", type=click.Choice(["sh", "fish"]), default="sh", show_default=True, help="Syntax of the exports."
)
@config_option
@json_option
def env(tool: str, url: str | None, key: str, model: str, shell: str, config_path: Path, as_json: bool) -> None:
    """Print what points TOOL at this daemon: eval "$(cpa env claude)"."""
    config = configuration(config_path)
    key = key or client_key(config)
    recipe = fill(RECIPES[tool], (url or address(config)).rstrip("/"), key, model)
    if as_json:
        print_json(
            {
                "tool": tool,
                "environment": recipe.environment,
                "unset": list(recipe.unset),
                **({"file": recipe.file, "content": recipe.content} if recipe.file else {}),
                **({"run": recipe.run} if recipe.run else {}),
            }
        )
        return
    for name in recipe.unset:
        click.echo(f"set -e {name}" if shell == "fish" else f"unset {name}")
    for name, value in recipe.environment.items():
        quoted = shell_quote(value, shell)
        click.echo(f"set -gx {name} {quoted}" if shell == "fish" else f"export {name}={quoted}")
    if recipe.file:
        click.echo(f"# {recipe.title}: put this into {recipe.file}")
        click.echo("".join(f"#   {line}".rstrip() + "\n" for line in recipe.content.splitlines()), nl=False)
    if recipe.run:
        click.echo(f"# then run: {recipe.run}")
