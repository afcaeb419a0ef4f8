"""``cpa models``: what can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cpa.cli.failures import told
from cpa.cli.inspection import inspect_config
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json, print_table


@click.command()
@config_option
@json_option
@click.argument("pattern", default="")
@told
def models(config_path: Path, as_json: bool, pattern: str) -> None:
    """List the models that can be asked for, with who offers them; PATTERN filters by part of the name."""
    inspection = inspect_config(config_path)
    rows: list[dict[str, Any]] = []
    for model in inspection.catalog.list_models():
        if pattern.lower() not in model.id.lower():
            continue
        offers = inspection.catalog.offers(model.id)
        rows.append(
            {
                "id": model.id,
                "upstream": model.upstream or model.id,
                "providers": sorted({offer.provider for offer in offers.values()}),
                "accounts": len(offers),
                "context_length": model.context_length,
                "max_output_tokens": model.max_output_tokens,
                "thinking": list(model.thinking.levels) if model.thinking else [],
            }
        )
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no model" + (f" matches {pattern!r}" if pattern else ": configure a provider, or enable the demo"))
        return
    print_table(
        ("MODEL", "UPSTREAM NAME", "PROVIDERS", "ACCOUNTS", "CONTEXT"),
        [
            (
                row["id"],
                row["upstream"] if row["upstream"] != row["id"] else "",
                ",".join(row["providers"]),
                str(row["accounts"]),
                f"{row['context_length']:,}" if row["context_length"] else "",
            )
            for row in rows
        ],
    )
