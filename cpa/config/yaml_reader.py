"""Read the configuration's YAML: a mapping of keys to values, and the line of each."""

from __future__ import annotations

from typing import Any

from cpa.config.yaml_tree import Tree, data_of, read_tree
from cpa.errors import ConfigError


def parse(text: str) -> tuple[dict[str, Any], Tree]:
    """The mapping in ``text`` and its tree (``tree.line_of(path)``). An empty document is an empty mapping.

    Raises ConfigError naming the line.
    """
    tree = read_tree(text)
    data = data_of(tree)
    if data is None:
        return {}, tree
    if not isinstance(data, dict):
        line = tree.root.line if tree.root is not None else 1
        raise ConfigError(f"line {line}: the file must be a mapping of keys to values")
    return data, tree
