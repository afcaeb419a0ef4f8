"""Read YAML that may be wrong, huge or hostile.

PyYAML's C parser, with what its loader does not refuse: repeated keys, deep nesting, alias loops and alias bombs.
Booleans are YAML 1.2's: ``on`` and ``yes`` are texts.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from cpa.errors import ConfigError

LARGEST_FILE = 16 * 1024 * 1024
DEEPEST = 64
MOST_NODES = 500_000

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """A loader with YAML 1.2 booleans, no dates, and refusals."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.lines: dict[tuple[str | int, ...], int] = {}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def parse(text: str) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """The mapping in ``text`` and the line (from 1) of every key by its path. An empty document is an empty mapping.

    Raises ConfigError naming the line.
    """
    if len(text) > LARGEST_FILE:
        raise ConfigError(f"the file exceeds {LARGEST_FILE} bytes")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        lines: dict[tuple[str | int, ...], int] = {}
        _check(node, (), 0, [0], lines, set())
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"line {node.start_mark.line + 1}: the file must be a mapping of keys to values")
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ConfigError(f"{where}not valid YAML: {fault.problem or fault.context or 'syntax error'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise ConfigError(f"not valid YAML: {str(fault).splitlines()[0]}") from None
    finally:
        loader.dispose()
    return data, lines


def _check(
    node: Any,
    path: tuple[str | int, ...],
    depth: int,
    seen: list[int],
    lines: dict[tuple[str | int, ...], int],
    parents: set[int],
) -> None:
    """Walk the node graph as it would be expanded, refusing what is too much."""
    seen[0] += 1
    line = node.start_mark.line + 1
    if seen[0] > MOST_NODES:
        raise ConfigError(f"line {line}: too many values (aliases repeated over and over?)")
    if depth > DEEPEST:
        raise ConfigError(f"line {line}: nested too deeply")
    if id(node) in parents:
        raise ConfigError(f"line {line}: an alias contains itself")
    if isinstance(node, yaml.ScalarNode):
        return
    parents.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*path, index] = item.start_mark.line + 1
            _check(item, (*path, index), depth + 1, seen, lines, parents)
    else:
        keys: set[str] = set()
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            if name in keys and name != "<<":
                raise ConfigError(f"line {key.start_mark.line + 1}: key {name!r} stands twice")
            keys.add(name)
            lines[*path, name] = key.start_mark.line + 1
            _check(value, (*path, name), depth + 1, seen, lines, parents)
    parents.discard(id(node))
