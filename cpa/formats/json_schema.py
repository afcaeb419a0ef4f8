"""JSON schemas of tools on their way to upstreams that understand only a part of JSON Schema.

:func:`clean_for_gemini` reduces a schema to the keywords Gemini's function declarations accept and says in the
``description`` what had to go, so that the model still knows. :func:`from_openapi` turns Google's OpenAPI flavour
(upper-case types, ``nullable``, integers as strings) into JSON Schema.

Both know which maps hold names and which hold keywords: a property called ``pattern`` or ``$ref`` is a property.
"""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.parts import Json

Schema = dict[str, Any]

_MAX_DEPTH = 100
_MAX_NODES = 20_000
_KEPT = ("minimum", "maximum", "multipleOf", "propertyOrdering")
_HINTED = (
    "minLength",
    "maxLength",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "format",
    "default",
    "examples",
)
_KEYWORDS = frozenset(
    (
        *_KEPT,
        *_HINTED,
        "type",
        "properties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "$ref",
        "$schema",
        "$defs",
        "definitions",
        "required",
        "description",
        "title",
        "additionalProperties",
        "if",
        "not",
        "$id",
        "$comment",
    )
)
_PLACEHOLDER = "Brief explanation of why you are calling this tool"


def clean_for_gemini(schema: Json) -> Schema:
    """The schema of a tool's arguments as Gemini accepts it; always an object schema.

    Local ``$ref`` are inlined (a cycle or an unresolved one becomes a hint), ``allOf`` is merged, of ``anyOf`` and
    ``oneOf`` the richest branch stays, ``const`` becomes ``enum``, enums become strings, constraints become hints
    such as ``(minLength: 3)``. Terminates on any input; cleaning twice changes nothing more.
    """
    if not isinstance(schema, dict) or not schema:
        return {"type": "object", "properties": {}}
    if _is_bare_property_map(schema):
        schema = {"type": "object", "properties": schema}
    cleaned = _Cleaner(schema).node(schema, (), 0)
    if cleaned.get("type") != "object":
        if "properties" not in cleaned:
            return {"type": "object", "properties": {}}
        cleaned = {"type": "object", **{key: value for key, value in cleaned.items() if key != "type"}}
    return cleaned


def _is_bare_property_map(schema: Schema) -> bool:
    """``{"a": {"type": "string"}}``: properties without the object around them."""
    return not (_KEYWORDS & schema.keys()) and all(isinstance(value, dict) for value in schema.values())


class _Cleaner:
    """Cleans the nodes of one document, resolving references inside it."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._nodes = 0

    def node(self, schema: Json, refs: tuple[str, ...], depth: int) -> Schema:
        """One schema node; ``refs`` are the references being expanded, to stop at cycles."""
        self._nodes += 1
        if not isinstance(schema, dict):
            return {}
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            return {"type": "object"}
        schema, refs = self._expand(schema, refs)
        schema, refs = self._merge_all_of(schema, refs)
        schema = _merge_conditions(schema)
        for key in ("anyOf", "oneOf"):
            branches = schema.get(key)
            if isinstance(branches, list) and branches:
                return self._choose(schema, key, branches, refs, depth)
        return self._plain(schema, refs, depth)

    # -- references ----------------------------------------------------------------------------------------

    def _expand(self, schema: Schema, refs: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Follow ``$ref``; siblings of it win over what it points to."""
        while "$ref" in schema:
            ref = schema["$ref"]
            target = self._resolve(ref) if isinstance(ref, str) and ref not in refs else None
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            if target is None:
                name = str(ref).rstrip("/").rsplit("/", 1)[-1]
                return {"type": "object", "description": _hinted(siblings.get("description"), f"See: {name}")}, refs
            refs = (*refs, str(ref))
            schema = {**target, **siblings}
        return schema, refs

    def _resolve(self, ref: str) -> Schema | None:
        if not ref.startswith("#"):
            return None
        found: Any = self._root
        for segment in ref[1:].split("/")[1:]:
            name = segment.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                return None
            found = found[name]
        return found if isinstance(found, dict) else None

    # -- combinations --------------------------------------------------------------------------------------

    def _merge_all_of(self, schema: Schema, refs: tuple[str, ...], depth: int = 0) -> tuple[Schema, tuple[str, ...]]:
        branches = schema.get("allOf")
        if not isinstance(branches, list):
            return schema, refs
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for branch in branches:
            self._nodes += 1
            if not isinstance(branch, dict) or self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
                continue
            expanded, inner = self._expand(branch, refs)
            expanded, refs = self._merge_all_of(expanded, inner, depth + 1)
            _merge_into(merged, expanded)
        return merged, refs

    def _choose(self, schema: Schema, key: str, branches: list[Any], refs: tuple[str, ...], depth: int) -> Schema:
        """Of several alternatives keep the one that tells the model most."""
        rest = {name: value for name, value in schema.items() if name != key}
        if "properties" in rest or "items" in rest:
            return self.node(rest, refs, depth + 1)
        cleaned = [self.node(branch, refs, depth + 1) for branch in branches]
        types = [_type_name(branch, result) for branch, result in zip(branches, cleaned, strict=True)]
        values = _joined_enum(types, cleaned)
        if values is not None:
            best: Schema = self._plain({"enum": values}, refs, depth)
        else:
            best = max(cleaned, key=_score)
        best = dict(best)
        _describe(best, _joined_description(rest.get("description"), best.get("description")))
        if values is None and len(set(types)) > 1:
            _add_hint(best, f"Accepts: {' | '.join(types)}")
        return best

    # -- a node without combinations -----------------------------------------------------------------------

    def _plain(self, schema: Schema, refs: tuple[str, ...], depth: int) -> Schema:
        result: Schema = {}
        names, nullable = _types(schema.get("type"))
        if names:
            result["type"] = names[0]
        _describe(result, schema.get("description"))
        self._enumerate(schema, result)
        if schema.get("additionalProperties") is False:
            _add_hint(result, "No extra properties allowed")
        for key in _HINTED:
            value = schema.get(key)
            if isinstance(value, (str, int, float)):
                _add_hint(result, f"{key}: {_text(value)}")
        if len(names) > 1:
            _add_hint(result, f"Accepts: {' | '.join(names)}")
        if nullable and names:
            _add_hint(result, "(nullable)")
        for key in _KEPT:
            if key in schema:
                result[key] = schema[key]
        self._children(schema, result, refs, depth)
        return result

    def _enumerate(self, schema: Schema, result: Schema) -> None:
        values = schema.get("enum")
        if not isinstance(values, list):
            values = [schema["const"]] if "const" in schema else []
        if not values:
            return
        texts = list(dict.fromkeys(_text(value) for value in values))
        result["type"] = "string"
        result["enum"] = texts
        if 2 <= len(texts) <= 10:
            _add_hint(result, f"Allowed: {', '.join(texts)}")

    def _children(self, schema: Schema, result: Schema, refs: tuple[str, ...], depth: int) -> None:
        items = schema.get("items")
        if isinstance(items, dict):
            result["items"] = self.node(items, refs, depth + 1)
        prefix = items if isinstance(items, list) else schema.get("prefixItems")
        if isinstance(prefix, list):
            result["prefixItems"] = [self.node(item, refs, depth + 1) for item in prefix]
        properties = schema.get("properties")
        if isinstance(properties, dict):
            self._properties(schema, properties, result, refs, depth)
        elif isinstance(required := schema.get("required"), list) and (names := _names(required)):
            result["required"] = names

    def _properties(
        self, schema: Schema, properties: Schema, result: Schema, refs: tuple[str, ...], depth: int
    ) -> None:
        required = _names(schema.get("required"))
        kept: Schema = {}
        for name, value in properties.items():
            if name == "_" or (name == "reason" and len(properties) == 1 and _is_placeholder(value)):
                continue
            kept[name] = self.node(value, refs, depth + 1)
            if isinstance(value, dict):
                if value.get("required") is True and name not in required:
                    required.append(name)
                if name in required and _types(self._expand(value, refs)[0].get("type"))[1]:
                    required.remove(name)
        result["properties"] = kept
        required = [name for name in required if name in kept]
        if required:
            result["required"] = required


def _merge_into(merged: Schema, branch: Schema) -> None:
    """Add one ``allOf`` branch: its properties win, ``required`` are united, the rest fills gaps."""
    for key, value in branch.items():
        if key == "properties" and isinstance(value, dict):
            own = merged.get("properties")
            merged["properties"] = {**(own if isinstance(own, dict) else {}), **value}
        elif key == "required" and isinstance(value, list):
            merged["required"] = _names([*_names(merged.get("required")), *value])
        else:
            merged.setdefault(key, value)


def _merge_conditions(schema: Schema) -> Schema:
    """Properties that ``if`` / ``then`` / ``else`` mention exist, whatever the condition."""
    branches = [schema[key] for key in ("if", "then", "else") if isinstance(schema.get(key), dict)]
    found: Schema = {}
    for branch in branches:
        properties = branch.get("properties")
        if isinstance(properties, dict):
            found = {**properties, **found}
    if not found:
        return schema
    own = schema.get("properties")
    merged = dict(own) if isinstance(own, dict) else {}
    for name, value in found.items():
        if name not in merged and isinstance(value, dict) and set(value) - {"const", "enum"}:
            merged[name] = value
    return {**schema, "properties": merged}


def _joined_enum(types: list[str], cleaned: list[Schema]) -> list[str] | None:
    """All values, when every alternative is an enumeration."""
    values: list[str] = []
    for name, branch in zip(types, cleaned, strict=True):
        if name == "null" and "enum" not in branch:
            continue
        if not branch.get("enum"):
            return None
        values.extend(branch["enum"])
    return list(dict.fromkeys(values)) or None


def _type_name(raw: Json, cleaned: Schema) -> str:
    names, _ = _types(raw.get("type")) if isinstance(raw, dict) else ([], False)
    name = names[0] if names else cleaned.get("type")
    return name if isinstance(name, str) else "null"


def _score(schema: Schema) -> int:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return 3
    if kind == "array" or "items" in schema:
        return 2
    return 1 if isinstance(kind, str) and kind != "null" else 0


def _types(value: Json) -> tuple[list[str], bool]:
    """Type names in lower case without ``null``, and whether a list named ``null``."""
    if isinstance(value, str):
        return [value.lower()], False
    if not isinstance(value, list):
        return [], False
    names = list(dict.fromkeys(name.lower() for name in value if isinstance(name, str)))
    others = [name for name in names if name != "null"]
    return others or ["string"], "null" in names


def _names(value: Json) -> list[str]:
    if not isinstance(value, list):
        return []
    return list(dict.fromkeys(name for name in value if isinstance(name, str)))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else _dump(value)


def _dump(value: Json) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return str(value)


def _is_placeholder(schema: Json) -> bool:
    return isinstance(schema, dict) and schema.get("description") == _PLACEHOLDER


def _describe(schema: Schema, description: Json) -> None:
    if isinstance(description, str) and description:
        schema["description"] = description


def _add_hint(schema: Schema, hint: str) -> None:
    schema["description"] = _hinted(schema.get("description"), hint)


def _hinted(description: Json, hint: str) -> str:
    """``description (hint)``; a hint that is there already is not added again."""
    if not isinstance(description, str) or not description:
        return hint
    wrapped = hint if hint.startswith("(") else f"({hint})"
    if wrapped in description or description == hint or description.startswith(f"{hint} ("):
        return description
    return f"{description} {wrapped}"


def _joined_description(parent: Json, child: Json) -> str | None:
    own = parent if isinstance(parent, str) and parent else None
    other = child if isinstance(child, str) and child else None
    if own is None or other is None or own == other:
        return own or other
    return f"{own} ({other})"


# -- OpenAPI flavour ---------------------------------------------------------------------------------------

_NAME_MAPS = frozenset({"properties", "patternProperties", "$defs", "defs", "definitions", "dependentSchemas"})
_SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS = frozenset({"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"})
_INTEGERS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def from_openapi(schema: Json) -> Json:
    """A Google ``Schema`` (``{"type": "STRING", "nullable": true}``) as JSON Schema.

    The very same object when there is nothing to change; the input is never changed.
    """
    return _converted(schema, 0)


def _converted(schema: Json, depth: int) -> Json:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return schema
    result: Schema = {}
    changed = False
    for key, value in schema.items():
        new = _converted_member(key, value, depth)
        changed = changed or new is not value
        result[key] = new
    nullable = result.get("nullable")
    if isinstance(nullable, bool):
        del result["nullable"]
        changed = True
        if nullable and isinstance(result.get("type"), str):
            result["type"] = [result["type"], "null"]
    return result if changed else schema


def _converted_member(key: str, value: Json, depth: int) -> Json:
    if key == "type":
        if isinstance(value, str):
            return value if value.islower() else value.lower()
        return value
    if key in _INTEGERS:
        return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if key in _SCHEMAS:
        return _converted(value, depth + 1)
    if key in _SCHEMA_LISTS and isinstance(value, list):
        items = [_converted(item, depth + 1) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if key in _NAME_MAPS and isinstance(value, dict):
        members = {name: _converted(item, depth + 1) for name, item in value.items()}
        return value if all(members[name] is item for name, item in value.items()) else members
    return value
