"""The documentation names every route there is, and no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpa.management.mount import PREFIX
from tests.management.conftest import Managed

PAGE = Path(__file__).parents[2] / "docs" / "management-api.md"
BEGIN, END = "<!-- routes -->\n", "<!-- end of routes -->\n"

HEAD = ("| route | what it does | query |", "| --- | --- | --- |")


def route_tables(document: dict[str, Any], prefix: str) -> str:
    """Markdown: a table for each tag of an OpenAPI document, paths without ``prefix``."""
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            row = _row(method.upper(), path.removeprefix(prefix), operation)
            tags.setdefault(operation["tags"][0], []).append(row)
    return "\n".join(line for tag, rows in tags.items() for line in (f"### {tag}", "", *HEAD, *rows, ""))


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    query = ", ".join(_parameters(operation))
    summary = operation["summary"].replace("|", "\\|")
    return f"| `{method} {path}` | {summary} | {query} |"


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            yield f"`{parameter['name']}`"


async def test_the_page_lists_the_routes_that_are_served(managed: Managed) -> None:
    """With ``CPA_WRITE_DOCS`` set the page is brought up to date instead."""
    document = (await managed.call("GET", "/openapi.json")).json
    tables = route_tables(document, PREFIX)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    listed, _, tail = rest.partition(END)
    if os.environ.get("CPA_WRITE_DOCS"):
        PAGE.write_text(f"{head}{BEGIN}\n{tables}\n{END}{tail}")
        return
    assert listed.strip() == tables.strip(), "run this test with CPA_WRITE_DOCS=1"
