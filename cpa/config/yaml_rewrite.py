"""Change YAML text so that it says something else, touching only the characters of what differs.

``rewrite(text, new)`` compares the data in the text with the data wanted and splices the differences in. Comments,
order, quoting, indentation and line ends elsewhere stay because nothing else is written. List items are matched by
what identifies them, so that comments travel with their items. The result is read again: when it does not say exactly
what was wanted (anchors used in several places, for example) nothing is returned and ConfigError is raised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cpa.config.list_match import match_items, same
from cpa.config.yaml_render import block, entry, literal, one_line
from cpa.config.yaml_tree import Node, Tree, data_of, read_tree
from cpa.errors import ConfigError

_ALONE = re.compile(r"\s*,?\s*(?:#.*)?")
Splice = tuple[int, int, str]
"""Characters from, to, replacement."""


def rewrite(text: str, new: dict[str, Any], order: Sequence[str] = ()) -> str:
    """The text with the differences to ``new`` applied. ``order``: where new top-level keys belong.

    Raises ConfigError when the text is no YAML or the change cannot be made in it.
    """
    tree = read_tree(text)
    old = data_of(tree)
    if same(old or {}, new):
        return text
    changed = _Rewriter(text, tree, order).apply(old, new)
    if not same(data_of(read_tree(changed)) or {}, new):
        raise ConfigError("the file uses anchors or a form that cannot be edited in place; change it by hand")
    return changed


def applied(text: str, splices: list[Splice]) -> str:
    """The text with splices made; of those at one place the first comes first. Only removals may overlap."""
    parts: list[str] = []
    position = 0
    for start, end, replacement in sorted(splices, key=lambda splice: (splice[0], splice[1])):
        if start < position and not replacement:
            start = position
            end = max(end, position)
        elif start < position:
            raise ConfigError("the file has a form that cannot be edited in place; change it by hand")
        parts += (text[position:start], replacement)
        position = end
    return "".join((*parts, text[position:]))


class _Rewriter:
    """Collects the splices of one change."""

    def __init__(self, text: str, tree: Tree, order: Sequence[str]) -> None:
        self._text = text
        self._tree = tree
        self._order = order
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._offset = _dash_offset(text)
        self._splices: list[Splice] = []

    def apply(self, old: Any, new: dict[str, Any]) -> str:
        root = self._tree.root
        if root is None or not isinstance(old, dict):
            start = "" if not self._text or self._text.endswith("\n") else self._newline
            return self._text + start + self._join(block(new, self._offset)) + self._newline if new else self._text
        if not new:
            return applied(self._text, [(root.start, root.end, "{}" if root.flow else "")])
        self._map(root, old, new, self._order)
        return applied(self._text, self._splices)

    def _splice(self, start: int, end: int, replacement: str) -> None:
        self._splices.append((start, end, replacement))

    def _value(self, node: Node, old: Any, new: Any, after: int, indent: int, flow: bool) -> None:
        """Bring one value from old to new. ``after``: just behind its colon or dash, ``indent``: of its key or dash."""
        if same(old, new):
            return
        if node.kind == "map" and isinstance(old, dict) and old and isinstance(new, dict) and new:
            self._map(node, old, new)
        elif node.kind == "list" and isinstance(old, list) and old and isinstance(new, list) and new:
            self._list(node, old, new, after, indent, flow)
        else:
            self._replace(node, new, after, indent, flow)

    def _replace(self, node: Node, new: Any, after: int, indent: int, flow: bool) -> None:
        gap = self._text[after : node.start]
        line_end = self._line_end(node.end)
        is_item = self._text[after - 1 : after] == "-"
        if flow or not (isinstance(new, dict | list) and new):
            lines = None if flow or node.style == '"' or self._text[node.end : line_end].strip() else literal(new)
            written = one_line(new, node.style) if lines is None else self._indented(lines, indent)
            if node.kind in ("map", "list") and not node.flow and "\n" in gap:
                self._splice(after, after, " " + written)
                self._splice(self._line_end(after), node.end, "")
            else:
                self._splice(node.start, node.end, written if gap else " " + written)
        elif is_item and "\n" not in gap:
            written = self._indented(block(new, self._offset), indent + max(2, len(gap) + 1))
            self._splice(node.start, node.end, written if gap else " " + written)
        else:
            shift = " " * (indent + (2 if isinstance(new, dict) else self._offset))
            lines = [shift + line if line else "" for line in block(new, self._offset)]
            if node.kind in ("map", "list") and not node.flow and "\n" in gap:
                self._splice(self._line_end(after), node.end, self._newline + self._join(lines))
            else:
                self._splice(after, node.end, "")
                self._splice(line_end, line_end, self._newline + self._join(lines))

    def _map(self, node: Node, old: dict[Any, Any], new: dict[Any, Any], order: Sequence[str] = ()) -> None:
        pairs = {_key_in(old, key): (key, value) for key, value in node.pairs if key.value != "<<" or not key.plain}
        if any(key not in new and key not in pairs for key in old):
            raise ConfigError("a key that is merged in with << cannot be removed; change the file by hand")
        keeps = [key in new for key in pairs]
        added = {key: value for key, value in new.items() if key not in pairs and not same(old.get(key, pairs), value)}
        if not any(keeps) and len(pairs) == len(node.pairs):
            self._whole_map(node, new)
            return
        listed = list(pairs.values())
        indent = self._column(listed[0][0].start) if listed else self._column(node.pairs[0][0].start)
        for name, (key, value) in pairs.items():
            if name in new:
                self._value(value, old[name], new[name], self._after_colon(key, value), indent, node.flow)
        spans = [(key.start, max(key.end, value.end)) for key, value in listed]
        if node.flow:
            self._remove_in_flow(spans, keeps)
        else:
            self._remove_lines(spans, keeps, [start for start, _ in spans])
        if added:
            kept = [(name, span) for name, span, keep in zip(pairs, spans, keeps, strict=True) if keep]
            self._add_pairs(node, kept, added, indent, order)

    def _whole_map(self, node: Node, new: dict[Any, Any]) -> None:
        if node.flow:
            self._splice(node.start, node.end, one_line(new))
        else:
            lines = block(new, self._offset)
            self._splice(node.pairs[0][0].start, node.end, self._indented(lines, self._column(node.pairs[0][0].start)))

    def _add_pairs(
        self,
        node: Node,
        kept: list[tuple[Any, tuple[int, int]]],
        added: dict[Any, Any],
        indent: int,
        order: Sequence[str],
    ) -> None:
        last = kept[-1][1][1] if kept else max(inner.end for pair in node.pairs for inner in pair)
        ends = {name: end for name, (_, end) in kept}
        rank = {name: place for place, name in enumerate(order)}
        for name, value in added.items():
            if node.flow:
                self._splice(last, last, f", {one_line(name)}: {one_line(value)}")
                continue
            before = [other for other in ends if rank.get(other, len(rank)) < rank.get(name, -1)]
            place = self._line_end(ends[max(before, key=rank.__getitem__)] if before else last)
            lines = entry(one_line(name), value, self._offset)
            self._splice(
                place, place, self._newline + self._join([" " * indent + line if line else "" for line in lines])
            )

    def _list(self, node: Node, old: list[Any], new: list[Any], after: int, indent: int, flow: bool) -> None:
        origins = match_items(old, new)
        used = [origin for origin in origins if origin is not None]
        keeps = [index in set(used) for index in range(len(old))]
        if not used or node.tag or (node.anchor and not node.flow):
            self._replace(node, new, after, indent, flow)
        elif node.flow:
            if used != sorted(used) or None in origins[: len(used)]:
                self._splice(node.start, node.end, one_line(new))
                return
            for target, origin in zip(new, used, strict=False):
                item = node.items[origin]
                self._value(item, old[origin], target, item.start - 1, indent, True)
            spans = [(item.start, item.end) for item in node.items]
            self._remove_in_flow(spans, keeps)
            end = max(span[1] for span, keep in zip(spans, keeps, strict=True) if keep)
            for target in new[len(used) :]:
                self._splice(end, end, ", " + one_line(target))
        else:
            self._block_list(node, old, new, origins, keeps)

    def _block_list(
        self, node: Node, old: list[Any], new: list[Any], origins: list[int | None], keeps: list[bool]
    ) -> None:
        dashes = self._dashes(node)
        column = self._column(dashes[0])
        spans = [(dash, max(dash + 1, item.end)) for dash, item in zip(dashes, node.items, strict=True)]
        used = [origin for origin in origins if origin is not None]
        moved = used != sorted(used)
        if moved and self._shares_line(dashes[0]):
            raise ConfigError("items of a list within a list cannot be moved; change the file by hand")
        first = len(self._splices)
        pieces: list[str] = []
        place: int | None = None
        for target, origin in zip(new, origins, strict=True):
            if origin is None:
                pieces.append(self._join(self._item(target, column)))
                if not moved:
                    self._insert(place, next(o for o in used if keeps[o]), dashes, pieces.pop())
                continue
            before = len(self._splices)
            self._value(node.items[origin], old[origin], target, dashes[origin] + 1, column, False)
            place = self._line_end(spans[origin][1])
            if moved:
                begin = self._chunk_start(spans, origin)
                inner = [(start - begin, end - begin, t) for start, end, t in self._splices[before:]]
                pieces.append(applied(self._text[begin:place], inner))
        if moved:
            del self._splices[first:]
            self._splice(self._chunk_start(spans, 0), self._line_end(spans[-1][1]), self._join(pieces))
        else:
            self._remove_lines(spans, keeps, [self._with_comments(dash) for dash in dashes])

    def _insert(self, place: int | None, first_kept: int, dashes: list[int], written: str) -> None:
        """A new item after the line ending at ``place``; before the first item that stays when None."""
        if place is not None:
            self._splice(place, place, self._newline + written)
        elif self._shares_line(dashes[first_kept]):
            self._splice(dashes[0], dashes[0], written.lstrip() + self._newline + " " * self._column(dashes[0]))
        else:
            start = self._line_start(self._with_comments(dashes[first_kept]))
            end = self._end_of_line_before(start)
            self._splice(end, end, self._newline + written)

    def _item(self, value: Any, column: int) -> list[str]:
        return [" " * column + line if line else "" for line in block([value], self._offset)]

    def _remove_in_flow(self, spans: list[tuple[int, int]], keeps: list[bool]) -> None:
        kept_before = False
        for index, keep in enumerate(keeps):
            if keep:
                kept_before = True
            elif (lines := self._own_lines(*spans[index])) is not None:
                self._splice(*lines, "")
            elif kept_before:
                self._splice(spans[index - 1][1], spans[index][1], "")
            else:
                self._splice(spans[index][0], spans[index + 1][0], "")

    def _own_lines(self, start: int, end: int) -> tuple[int, int] | None:
        """The lines of a flow item that shares them with nothing but its comma and its comment; None otherwise."""
        line_end = self._line_end(end)
        if self._shares_line(start) or not _ALONE.fullmatch(self._text[end:line_end]):
            return None
        return self._line_start(start), min(len(self._text), line_end + len(self._newline))

    def _remove_lines(self, spans: list[tuple[int, int]], keeps: list[bool], begins: list[int]) -> None:
        """Take whole lines out; an entry that begins behind something else on its line goes up to the next one."""
        skip = 0
        if spans and not keeps[0] and self._shares_line(spans[0][0]):
            skip = keeps.index(True)
            self._splice(spans[0][0], spans[skip][0], "")
        for index in range(skip, len(spans)):
            if keeps[index]:
                continue
            start = self._line_start(begins[index])
            end = self._line_end(spans[index][1])
            if start == 0:
                self._splice(0, min(len(self._text), end + len(self._newline)), "")
            else:
                self._splice(self._end_of_line_before(start), end, "")

    def _dashes(self, node: Node) -> list[int]:
        """Where the dash of every item of a block list is."""
        first = node.items[0]
        found = [node.start if self._text.startswith("-", node.start) else self._text.rindex("-", 0, first.start)]
        column = self._column(found[0])
        for previous, item in zip(node.items, node.items[1:], strict=False):
            pattern = re.compile(rf"^ {{{column}}}-", re.MULTILINE)
            dash = pattern.search(self._text, self._line_end(max(previous.end, found[-1] + 1)), item.end + 1)
            if dash is None:
                raise ConfigError(f"line {item.line}: this list cannot be edited in place; change it by hand")
            found.append(dash.end() - 1)
        return found

    def _after_colon(self, key: Node, value: Node) -> int:
        colon = self._text.find(":", key.end, max(value.end, key.end + 1) + 1)
        if colon < 0:
            raise ConfigError(f"line {key.line}: this key cannot be edited in place; change it by hand")
        return colon + 1

    def _chunk_start(self, spans: list[tuple[int, int]], index: int) -> int:
        """Where the lines of a list item begin, all comments above it included."""
        if index == 0:
            return self._line_start(self._with_comments(spans[0][0]))
        return self._line_end(spans[index - 1][1]) + len(self._newline)

    def _with_comments(self, position: int) -> int:
        """The start of the comment lines directly above a position, or the position itself.

        Comments further right belong to what stands before them.
        """
        column = self._column(position)
        start = self._line_start(position)
        found = position
        while start > 0:
            above = self._line_start(start - 1)
            line = self._text[above:start]
            if not line.lstrip().startswith("#") or len(line) - len(line.lstrip()) > column:
                break
            found = start = above
        return found

    def _shares_line(self, position: int) -> bool:
        return bool(self._text[self._line_start(position) : position].strip())

    def _line_start(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _line_end(self, position: int) -> int:
        """The end of a position's line, line break excluded."""
        end = self._text.find("\n", position)
        if end < 0:
            return len(self._text)
        return end - 1 if end > position and self._text[end - 1] == "\r" else end

    def _end_of_line_before(self, line_start: int) -> int:
        return self._line_end(self._line_start(line_start - 1)) if line_start else 0

    def _column(self, position: int) -> int:
        return position - self._line_start(position)

    def _indented(self, lines: list[str], indent: int) -> str:
        """Lines whose first stands behind something and whose others are indented."""
        return self._join([lines[0], *(" " * indent + line if line else "" for line in lines[1:])])

    def _join(self, lines: list[str]) -> str:
        return self._newline.join(lines)


def _key_in(data: dict[Any, Any], key: Node) -> Any:
    """The key of ``data`` that a key node stands for."""
    return key.value if key.value in data else next(known for known in data if str(known) == key.value)


def _dash_offset(text: str) -> int:
    """How far the dashes of this file's lists stand right of their keys."""
    found = re.search(r"^( *)[\w-]+:[ ]*(?:#.*)?\r?\n(?:[ ]*#.*\n|\s*\n)*?( *)-[ ]", text, re.MULTILINE)
    return min(8, max(0, len(found[2]) - len(found[1]))) if found else 2
