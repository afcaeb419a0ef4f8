"""Tool schemas for Gemini: what stays, what becomes a hint, what goes."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.formats.json_schema import clean_for_gemini, from_openapi

STRING = {"type": "string"}


def cleaned(fragment: Any, **root: Any) -> Any:
    """A property of an object schema after cleaning."""
    schema = {"type": "object", "properties": {"p": fragment}, **root}
    return clean_for_gemini(schema)["properties"]["p"]


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ({"type": "string", "const": "K"}, {"type": "string", "enum": ["K"]}),
        ({"type": "string", "description": "N", "minLength": 3}, {"type": "string", "description": "N (minLength: 3)"}),
        (
            {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"kind": STRING}}]},
            {"type": "object", "properties": {"kind": STRING}, "description": "Accepts: null | object"},
        ),
        ({"oneOf": [STRING, {"type": "integer"}]}, {"type": "string", "description": "Accepts: string | integer"}),
        (
            {"description": "Parent", "anyOf": [{"type": "string", "description": "Child"}, {"type": "integer"}]},
            {"type": "string", "description": "Parent (Child) (Accepts: string | integer)"},
        ),
        (
            {
                "type": "object",
                "allOf": [
                    {"properties": {"a": STRING}, "required": ["a"]},
                    {"properties": {"b": STRING}, "required": ["b"]},
                ],
            },
            {"type": "object", "properties": {"a": STRING, "b": STRING}, "required": ["a", "b"]},
        ),
        ({"description": "D", "$ref": "#/definitions/User"}, {"type": "object", "description": "D (See: User)"}),
        ({"type": "integer", "enum": [0, 1]}, {"type": "string", "enum": ["0", "1"], "description": "Allowed: 0, 1"}),
        ({"enum": [True, 1.5]}, {"type": "string", "enum": ["true", "1.5"], "description": "Allowed: true, 1.5"}),
        (
            {"type": "array", "description": "Ids", "uniqueItems": True, "items": STRING},
            {"type": "array", "description": "Ids (uniqueItems: true)", "items": STRING},
        ),
        (
            {"type": ["string", "integer"], "additionalProperties": False},
            {"type": "string", "description": "No extra properties allowed (Accepts: string | integer)"},
        ),
        ({"type": "integer", "minimum": 1, "maximum": 5}, {"type": "integer", "minimum": 1, "maximum": 5}),
        (
            {"anyOf": [{"const": "a"}, {"const": "b"}]},
            {"type": "string", "enum": ["a", "b"], "description": "Allowed: a, b"},
        ),
        (
            {"anyOf": [{"allOf": [{"properties": {"a": STRING}}], "type": "object"}, STRING]},
            {"type": "object", "properties": {"a": STRING}, "description": "Accepts: object | string"},
        ),
        (True, {}),
    ],
)
def test_fragments(fragment: Any, expected: Any) -> None:
    assert cleaned(fragment) == expected


def test_many_values_give_no_hint() -> None:
    assert "description" not in cleaned({"enum": [str(number) for number in range(11)]})


def test_references_are_inlined() -> None:
    definitions = {"Color": {"type": "string", "enum": ["red"], "title": "Color"}}
    fragment = {"allOf": [{"$ref": "#/$defs/Color"}], "description": "mine"}
    assert cleaned(fragment, **{"$defs": definitions}) == {"type": "string", "enum": ["red"], "description": "mine"}


def test_cycles_end() -> None:
    node = {"type": "object", "properties": {"child": {"$ref": "#/definitions/Node"}}}
    child = cleaned({"$ref": "#/definitions/Node"}, definitions={"Node": node})["properties"]["child"]
    assert child == {"type": "object", "description": "See: Node"}


def test_references_that_multiply_end() -> None:
    definitions: dict[str, Any] = {"L0": STRING}
    for level in range(1, 30):
        ref = {"$ref": f"#/$defs/L{level - 1}"}
        definitions[f"L{level}"] = {"type": "object", "properties": {"a": ref, "b": ref, "c": {"allOf": [ref, ref]}}}
    schema = {"type": "object", "properties": {"p": {"$ref": "#/$defs/L29"}}, "$defs": definitions}
    assert clean_for_gemini(schema)["type"] == "object"


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        schema = {"type": "object", "properties": {"a": schema}}
    assert clean_for_gemini(schema)["type"] == "object"
    assert from_openapi(schema) is schema


def test_nullable_properties_are_not_required() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": ["string", "null"]}, "o": STRING},
        "required": ["name", "o", "x"],
    }
    assert clean_for_gemini(schema) == {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "(nullable)"}, "o": STRING},
        "required": ["o"],
    }


def test_names_of_properties_are_not_keywords() -> None:
    names = [
        "pattern",
        "$id",
        "$ref",
        "title",
        "format",
        "x-data",
        "a.b",
        "const",
        "enum",
        "required",
        "properties",
        "type",
    ]
    schema = {"type": "object", "properties": dict.fromkeys(names, STRING), "required": ["a.b", "enum"]}
    assert clean_for_gemini(schema) == schema


def test_metadata_goes() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "root",
        "title": "T",
        "x-vendor": 1,
        "type": "object",
        "properties": {"p": {"type": "object", "prefill": "h", "patternProperties": {"^x-": STRING}, "nullable": True}},
    }
    assert clean_for_gemini(schema) == {"type": "object", "properties": {"p": {"type": "object"}}}


def test_alternatives_beside_properties_do_not_hide_them() -> None:
    schema = {"type": "object", "properties": {"a": STRING}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert clean_for_gemini(schema) == {"type": "object", "properties": {"a": STRING}}


def test_the_root_is_an_object() -> None:
    empty = {"type": "object", "properties": {}}
    for schema in (None, {}, [], {"type": "string"}, "x"):
        assert clean_for_gemini(schema) == empty
    assert clean_for_gemini(empty) == empty
    assert clean_for_gemini({"a": STRING}) == {"type": "object", "properties": {"a": STRING}}
    chosen = clean_for_gemini({"oneOf": [{"type": "object", "properties": {"a": STRING}}, {"type": "object"}]})
    assert chosen["properties"] == {"a": STRING}


def test_required_on_a_property_moves_to_its_object() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "required": True}}}
    assert clean_for_gemini(schema)["required"] == ["a"]


def test_conditions_leave_their_properties() -> None:
    schema = {
        "type": "object",
        "properties": {"kind": STRING},
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"properties": {"extra": STRING}},
    }
    assert set(clean_for_gemini(schema)["properties"]) == {"kind", "extra"}


def test_openapi_flavour() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True},
            "l": {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"},
        },
    }
    before = copy.deepcopy(schema)
    assert from_openapi(schema) == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"]},
            "l": {"type": "array", "items": {"type": "number"}, "minItems": 2},
        },
    }
    assert schema == before


_keywords = (
    "type enum const anyOf oneOf allOf $ref properties items required description title default pattern minimum "
    "additionalProperties nullable if then prefixItems $defs definitions"
)
_schemas = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from(["string", "object", "null", "a", "#/$defs/a", "#", "#/properties/a"])
    | st.lists(st.sampled_from(["a", "b", "null", "string"]), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_keywords.split(), "a", "reason", "_"]), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(_schemas)
def test_cleaning_settles_and_changes_no_input(schema: Any) -> None:
    before = orjson.dumps(schema)
    once = clean_for_gemini(schema)
    assert orjson.dumps(schema) == before
    assert clean_for_gemini(once) == once
    from_openapi(schema)
    assert orjson.dumps(schema) == before
