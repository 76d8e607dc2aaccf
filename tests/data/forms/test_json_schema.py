"""A row as JSON Schema: other programs refuse what we refuse, and nothing is lost on the way there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from perennial.data.forms.json_schema import from_json_schema, to_json_schema
from perennial.data.forms.patterns import whole
from perennial.data.schema import Check, Column, Schema
from perennial.errors import Invalid

from .made import schemas

WAGES = Schema(
    columns=[
        Column(name="person", type="int64", at_least=1.0, unique=True),
        Column(name="wage", type="float64", nullable=True, minimum=0.0, maximum=9.0, at_most=1000.0),
        Column(name="state", type="string", categories=["NY", "CA"], missing=["?"], nullable=True),
        Column(name="zip", type="string", patterns=["[0-9]{5}", "none"], missing=["n/a"]),
        Column(name="born", type="date"),
        Column(name="union", type="bool", absent_in=["serving"]),
    ],
    checks=[Check(name="wage", where="wage > 0")],
)
GOOD: dict[str, Any] = {
    "person": 7, "wage": 12.5, "state": "NY", "zip": "12345", "born": "1990-01-31", "union": True,
}  # fmt: skip


def only(property: dict[str, Any], *, required: bool = True) -> tuple[Column, list[str]]:
    document = {"type": "object", "properties": {"x": property}, "required": ["x"] if required else []}
    schema, lost = from_json_schema(document)
    return schema.columns[0], lost


@given(schemas())
def test_a_schema_comes_back_from_json_schema_as_it_was(schema: Schema) -> None:
    document = json.loads(json.dumps(to_json_schema(schema)))
    Draft202012Validator.check_schema(document)
    assert from_json_schema(document) == (schema, [])


@pytest.mark.parametrize(
    "different",
    [{}, {"wage": None}, {"state": "?"}, {"state": None}, {"zip": "none"}, {"person": 1}, {"wage": 12}, {"more": 1}],
)
def test_a_row_that_fits_is_valid(different: dict[str, Any]) -> None:
    assert Draft202012Validator(to_json_schema(WAGES)).is_valid(GOOD | different)


@pytest.mark.parametrize(
    "different",
    [
        {"person": 0},
        {"person": 1.5},
        {"person": None},
        {"wage": 1000.1},
        {"wage": "12"},
        {"state": "TX"},
        {"zip": "1234"},
        {"zip": "123456"},
        {"zip": "n/a"},
        {"born": 1990},
        {"union": "yes"},
    ],
)
def test_a_row_that_breaks_a_demand_is_not_valid(different: dict[str, Any]) -> None:
    assert not Draft202012Validator(to_json_schema(WAGES)).is_valid(GOOD | different)


def test_a_column_is_required_where_it_has_to_be_there() -> None:
    row = {name: value for name, value in GOOD.items() if name != "union"}
    assert not Draft202012Validator(to_json_schema(WAGES)).is_valid(row)
    assert Draft202012Validator(to_json_schema(WAGES, environment="serving")).is_valid(row)
    assert from_json_schema(to_json_schema(WAGES, environment="serving")).schema == WAGES


def test_the_standards_words_win_where_somebody_changed_them() -> None:
    document = to_json_schema(WAGES, name="wages")
    document["properties"]["person"]["minimum"] = 5
    document["properties"]["state"]["enum"].append("TX")
    schema, lost = from_json_schema(document)
    person, _, state = schema.columns[:3]
    assert (person.at_least, person.unique) == (5.0, True)
    assert state.categories == ["NY", "CA", "?", "TX"]
    assert (schema.checks, lost) == (WAGES.checks, [])


def test_what_pydantic_writes_is_read() -> None:
    document: dict[str, Any] = {
        "$defs": {"Color": {"enum": ["red", "green"], "title": "Color", "type": "string"}},
        "properties": {
            "id": {"exclusiveMinimum": 0, "title": "Id", "type": "integer"},
            "color": {"$ref": "#/$defs/Color"},
            "price": {"anyOf": [{"type": "number", "maximum": 9.5}, {"type": "null"}], "default": None},
            "at": {"format": "date-time", "title": "At", "type": "string"},
            "tags": {"items": {"type": "string"}, "type": "array"},
        },
        "required": ["id", "color", "at", "tags"],
        "title": "Item",
        "type": "object",
    }
    assert from_json_schema(document) == (
        Schema(
            columns=[
                Column(name="id", type="int64", at_least=1.0, severity="error"),
                Column(name="color", type="string", categories=["red", "green"], severity="error"),
                Column(name="price", type="float64", nullable=True, at_most=9.5, severity="error"),
                Column(name="at", type="datetime", severity="error"),
                Column(name="tags", type="list<item: string>", severity="error"),
            ]
        ),
        [],
    )
    listed = {"type": "array", "items": {"$ref": "#/$defs/Item"}, "$defs": {"Item": document, **document["$defs"]}}
    assert from_json_schema(listed).schema == from_json_schema(document).schema


@pytest.mark.parametrize(
    "property, expected",
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"enum": ["a", None]}, {"type": "string", "nullable": True, "categories": ["a"]}),
        ({"const": "a"}, {"categories": ["a"]}),
        ({"type": "string", "pattern": "^a+$"}, {"patterns": ["a+"]}),
        ({"type": "string", "pattern": "a+"}, {"patterns": ["(?s:.*)(?:a+)(?s:.*)"]}),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "binary"}),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": False}, {"at_least": 1.0}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"at_least": 2.0}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": 4}, {"at_least": 5.0}),
        ({"type": "integer", "maximum": 4, "exclusiveMaximum": 4}, {"at_most": 3.0}),
        ({"type": ["integer", "number"]}, {"type": "float64"}),
    ],
)
def test_words_of_the_standard_are_understood(property: dict[str, Any], expected: dict[str, Any]) -> None:
    column, lost = only(property)
    assert {name: getattr(column, name) for name in expected} == expected
    assert lost == []


def test_what_is_not_required_may_be_missing() -> None:
    assert only({"type": "string"}, required=False)[0].nullable


@pytest.mark.parametrize(
    "property, told",
    [
        ({"type": "string", "minLength": 3}, "minLength"),
        ({"type": "string", "format": "email"}, "format"),
        ({"type": "number", "multipleOf": 0.5}, "multipleOf"),
        ({"type": "number", "exclusiveMaximum": 3}, "that 3 itself is excluded"),
        ({"type": "integer", "enum": [1, 2]}, "its closed set"),
    ],
)
def test_what_cannot_be_said_here_is_told(property: dict[str, Any], told: str) -> None:
    assert only(property)[1] == [f"property 'x': {told}"] or told in only(property)[1][0]


def test_what_is_no_column_is_left_out_and_told() -> None:
    document = {
        "properties": {"x": {"type": "integer"}, "y": {"type": "object"}, "z": {}},
        "required": ["x"],
        "additionalProperties": False,
        "allOf": [],
    }
    schema, lost = from_json_schema(document)
    assert [column.name for column in schema.columns] == ["x"]
    assert [told.split(":")[0] for told in lost] == [
        "property 'y'", "property 'z'", "additionalProperties of the object", "allOf of the object",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document, says",
    [
        ({}, "no JSON Schema of an object"),
        ({"properties": {}}, "no JSON Schema of an object"),
        ({"properties": {"x": {"$ref": "#/$defs/y"}}}, "leads nowhere"),
        ({"properties": {"x": {"$ref": "other.json"}}}, "leads nowhere"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "leads nowhere"),
        ({"properties": {"x": True}}, "is no JSON Schema"),
        ({"properties": {"x": {"type": "integer", "x-perennial": {"type": 3}}}}, "x-perennial of property 'x'"),
        ({"properties": {"x": {"type": "integer"}}, "x-perennial": {"keys": [["y"]]}}, "there is no column 'y'"),
        ({"properties": {"x": {"type": "integer"}}, "x-perennial": {"keys": 3}}, "x-perennial"),
        ({"properties": {"x": {"type": "string", "pattern": "(?=a)"}}}, "not a regular expression"),
    ],
)
def test_what_is_wrong_is_refused(document: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        from_json_schema(document)


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("^(?:a|b)$", "(?:a|b)"),
        ("^(?:a)|(?:b)$", "(?s:.*)(?:^(?:a)|(?:b)$)(?s:.*)"),
        ("^a\\$", "(?s:.*)(?:^a\\$)(?s:.*)"),
        ("^a|b$", "(?s:.*)(?:^a|b$)(?s:.*)"),
    ],
)
def test_a_search_becomes_a_match_of_the_whole(pattern: str, expected: str) -> None:
    assert whole(pattern) == expected
