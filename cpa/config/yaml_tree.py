"""YAML text as a tree that remembers where every value stands.

The tree serves both ways: reading (``data_of``) and editing single values in place (``cpa.config.yaml_rewrite``).
The text may be wrong, huge or hostile: size, depth and number of values are limited, aliases count as what they
expand to, and only the core YAML 1.2 types exist (``on``, ``yes`` and dates are text).
"""

from __future__ import annotations

import re
from typing import Any, Literal

import yaml

from cpa.errors import ConfigError

LARGEST_FILE = 2 * 1024 * 1024
DEEPEST = 64
MOST_VALUES = 100_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Node:
    """One value. ``start`` and ``end`` are character positions; ``end`` excludes trailing comments and blanks."""

    __slots__ = ("anchor", "end", "flow", "items", "kind", "line", "pairs", "plain", "start", "style", "tag", "value")

    def __init__(self, kind: Literal["scalar", "map", "list", "alias"], event: Any) -> None:
        self.kind = kind
        self.start: int = event.start_mark.index
        self.end: int = event.end_mark.index
        self.line: int = event.start_mark.line + 1
        self.anchor: str | None = event.anchor
        self.tag: str | None = getattr(event, "tag", None)
        self.flow: bool = bool(getattr(event, "flow_style", False))
        self.value = ""
        """A scalar's text; an alias's name."""
        self.style = ""
        self.plain = False
        self.pairs: list[tuple[Node, Node]] = []
        self.items: list[Node] = []


class Tree:
    """A document: its root (None when empty) and the nodes that aliases refer to."""

    __slots__ = ("root", "targets")

    def __init__(self) -> None:
        self.root: Node | None = None
        self.targets: dict[int, Node] = {}
        """``id`` of an alias node -> the node it repeats."""

    def line_of(self, path: tuple[Any, ...]) -> int | None:
        """Line (from 1) of the deepest existing part of a path of keys and positions."""
        node, line = self.root, None
        for part in path:
            node = self.targets.get(id(node), node) if node is not None else None
            if node is None:
                break
            if node.kind == "list" and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                line = node.line
            elif node.kind == "map":
                pair = next((pair for pair in node.pairs if pair[0].value == str(part)), None)
                if pair is None:
                    break
                node, line = pair[1], pair[0].line
            else:
                break
        return line


def read_tree(text: str) -> Tree:
    """The tree of a text that holds one document. Raises ConfigError naming the line."""
    if len(text) > LARGEST_FILE:
        raise ConfigError(f"the file is larger than {LARGEST_FILE // 1024 // 1024} MiB")
    try:
        return _Builder(text).build()
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ConfigError(f"{where}not valid YAML: {fault.problem or fault.context or 'syntax error'}") from None
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1 if isinstance(fault.position, int) else 1
        raise ConfigError(f"line {line}: not valid YAML: {fault.reason}") from None
    except (yaml.YAMLError, UnicodeError) as fault:
        raise ConfigError(f"not valid YAML: {(str(fault).splitlines() or ['syntax error'])[0]}") from None


class _Builder:
    """Turns parse events into nodes without recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tree = Tree()
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[Node, list[Node]]] = []
        self._count = 0

    def build(self) -> Tree:
        documents = 0
        for event in yaml.parse(self._text, Loader=_Loader):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(Node("map" if isinstance(event, yaml.MappingStartEvent) else "list", event))
            elif isinstance(event, yaml.CollectionEndEvent):
                self._finish(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ConfigError("the file holds a second document (---); only one is allowed")
        return self._tree

    def _scalar(self, event: Any) -> None:
        node = Node("scalar", event)
        node.value, node.style = event.value, event.style or ""
        node.plain = not event.style
        if node.style in "|>" and node.style:
            node.end = node.start + len(self._text[node.start : node.end].rstrip())
        self._add(node)

    def _alias(self, event: Any) -> None:
        node = Node("alias", event)
        node.value, node.anchor = event.anchor, None
        target = self._anchors.get(node.value)
        if target is None:
            raise ConfigError(f"line {node.line}: alias *{node.value} has no anchor before it")
        if any(target is parent for parent, _ in self._open):
            raise ConfigError(f"line {node.line}: alias *{node.value} contains itself")
        self._tree.targets[id(node)] = target
        self._add(node)

    def _begin(self, node: Node) -> None:
        if len(self._open) >= DEEPEST:
            raise ConfigError(f"line {node.line}: nested too deeply")
        self._note(node)
        self._open.append((node, []))

    def _finish(self, event: Any) -> None:
        node, children = self._open.pop()
        if node.kind == "list":
            node.items = children
        else:
            node.pairs = list(zip(children[::2], children[1::2], strict=True))
            _refuse_repeated_keys(node)
        if node.flow:
            node.end = event.end_mark.index
        elif children:
            node.end = max(children[-1].end, children[-2].end if node.kind == "map" else 0)
        self._place(node)

    def _add(self, node: Node) -> None:
        self._note(node)
        self._place(node)

    def _note(self, node: Node) -> None:
        self._count += 1
        if self._count > MOST_VALUES:
            raise ConfigError(f"line {node.line}: more than {MOST_VALUES} values")
        if node.anchor:
            self._anchors[node.anchor] = node

    def _place(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        else:
            self._tree.root = node


def _refuse_repeated_keys(node: Node) -> None:
    seen: set[str] = set()
    for key, _ in node.pairs:
        if key.kind != "scalar":
            raise ConfigError(f"line {key.line}: a key must be a single value")
        if key.value in seen and key.value != "<<":
            raise ConfigError(f"line {key.line}: key {key.value[:80]!r} stands twice")
        seen.add(key.value)


def data_of(tree: Tree) -> Any:
    """Plain Python data; nothing in it is shared. Raises ConfigError for unknown tags and too many aliases."""
    return None if tree.root is None else _Data(tree).of(tree.root, 0)


class _Data:
    def __init__(self, tree: Tree) -> None:
        self._targets = tree.targets
        self._count = 0

    def of(self, node: Node, depth: int) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise ConfigError(f"line {node.line}: more than {MOST_VALUES} values (aliases repeated over and over?)")
        if depth > DEEPEST:
            raise ConfigError(f"line {node.line}: nested too deeply")
        if node.kind == "alias":
            return self.of(self._targets[id(node)], depth + 1)
        if node.tag not in _TAGS:
            raise ConfigError(f"line {node.line}: tag {str(node.tag)[:80]!r} is not supported")
        if node.kind == "scalar":
            return scalar_value(node)
        if node.kind == "list":
            return [self.of(item, depth + 1) for item in node.items]
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for key, value in node.pairs:
            if key.value == "<<" and key.plain:
                merged = {**self._merge(self.of(value, depth + 1), value.line), **merged}
            else:
                own[scalar_value(key)] = self.of(value, depth + 1)
        return {**merged, **own} if merged else own

    def _merge(self, value: Any, line: int) -> dict[Any, Any]:
        parts = value if isinstance(value, list) else [value]
        result: dict[Any, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, dict):
                raise ConfigError(f"line {line}: << needs a mapping")
            result.update(part)
        return result


_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset({None, "!", *(_CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))})
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    "-.inf": float("-inf"),
    ".nan": float("nan"),
}
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,40}$")
_BASED = re.compile(r"0(?:o[0-7]{1,30}|x[0-9a-fA-F]{1,30})$")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,5})?$")


def scalar_value(node: Node) -> Any:
    """The typed value of a scalar node."""
    tag = (node.tag or "").removeprefix(_CORE)
    if tag == "str" or tag == "!" or not (node.plain or tag):
        return node.value
    return plain_value(node.value)


def plain_value(text: str) -> Any:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INTEGER.match(text):
        return int(text.replace("_", ""))
    if _BASED.match(text):
        return int(text, 0)
    return float(text) if _FLOAT.match(text) else text
