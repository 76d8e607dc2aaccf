"""A row of a table as JSON Schema (draft 2020-12), and back.

What can be said of one row stands in the standard's own words: type, missing, closed set, limits, patterns, presence in
an environment. The rest, such as what was merely seen or holds between rows, is kept under "x-perennial", which other
programs pass over; reading it back, the standard's words win where somebody changed them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import msgspec
from msgspec.structs import replace

from perennial.data.forms import Imported
from perennial.data.forms.patterns import whole
from perennial.data.forms.sound import check_sound
from perennial.data.schema import Column, Schema
from perennial.errors import Invalid
from perennial.store.decoding import ready

__all__ = ["from_json_schema", "to_json_schema"]

Json: TypeAlias = dict[str, Any]
Note: TypeAlias = Callable[[str], None]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OURS = "x-perennial"
_TYPES: Mapping[str, Json] = {
    "float64": {"type": "number"},
    "int64": {"type": "integer"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}
_ITEMS = {"number": "double", "integer": "int64", "boolean": "bool", "string": "string"}
_SAY_NOTHING = frozenset(  # they demand nothing of a value
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)


def to_json_schema(schema: Schema, *, name: str = "", environment: str = "training") -> Json:
    """A row in this environment as an object; columns that need not be there are not required."""
    rest = msgspec.to_builtins(schema)
    del rest["columns"]
    return {
        "$schema": DIALECT,
        **({"title": name} if name else {}),
        "type": "object",
        "properties": {column.name: _property(column) | {OURS: _said(column)} for column in schema.columns},
        "required": [column.name for column in schema.columns if environment not in column.absent_in],
        **({OURS: rest} if rest else {}),
    }


def from_json_schema(document: Mapping[str, Any]) -> Imported:
    """The schema of a table whose rows are such objects. Drafts 4 to 2020-12, with references within the document.

    A property that is not required may be missing in a row.

    Raises:
        Invalid: Not a JSON Schema of an object with properties.
    """
    lost: list[str] = []
    root = _resolved(document, document)
    if root.get("type") == "array" and isinstance(root.get("items"), dict):
        root = _resolved(root["items"], document)
    properties = root.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise Invalid(
            "this is no JSON Schema of an object with properties",
            remedy='give {"type": "object", "properties": {...}}, or an array of such',
        )
    required = set(cast("list[str]", root.get("required", [])))
    columns = [
        column
        for name, found in cast("dict[str, Any]", properties).items()
        if (column := _column(name, _resolved(found, document), name in required, lost)) is not None
    ]
    ours = root.get(OURS, {})
    known = {"type", "properties", "required", "$defs", "definitions", OURS} | _SAY_NOTHING
    if root.get("additionalProperties") in (True, None):
        known |= {"additionalProperties"}
    lost += [f"{key} of the object" for key in root if key not in known]
    try:
        schema = msgspec.convert({**ours, "columns": []}, ready(Schema))
    except (msgspec.ValidationError, TypeError) as error:
        raise Invalid(f"{OURS}: {error}", remedy=f"remove {OURS}, or write it as it was exported") from None
    schema = replace(schema, columns=columns)
    check_sound(schema)
    return Imported(schema, lost)


def _said(column: Column) -> Json:
    said = msgspec.to_builtins(column)
    del said["name"]
    return said


def _property(column: Column) -> Json:
    """What the standard can say of a value."""
    found = dict(_TYPES.get(column.type, {}))
    if column.type in ("float64", "int64"):
        whole = column.type == "int64"
        for key, bound in (("minimum", column.at_least), ("maximum", column.at_most)):
            if isinstance(bound, float):
                found[key] = int(bound) if whole and bound.is_integer() else bound
    missing = (column.missing or []) if column.nullable else []
    if column.categories is not None and column.coverage == 1.0:
        found["enum"] = [*column.categories, *missing]
    if column.patterns:
        found["pattern"] = f"^(?:{'|'.join([*column.patterns, *map(re.escape, missing)])})$"
    if column.missing and not column.nullable:
        found["not"] = {"enum": column.missing}
    if column.nullable and "type" in found:
        found["type"] = [found["type"], "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return found


def _column(name: str, found: Json, required: bool, lost: list[str]) -> Column | None:
    def note(says: str) -> None:
        lost.append(f"property {name!r}: {says}")

    ours = found.pop(OURS, None)
    known: Column | None = None
    if ours is not None:
        try:
            known = msgspec.convert({**ours, "name": name}, ready(Column))
        except (msgspec.ValidationError, TypeError) as error:
            raise Invalid(f"{OURS} of property {name!r}: {error}", remedy=f"remove it from {name!r}") from None
        if _property(known) == {key: value for key, value in found.items() if key not in _SAY_NOTHING}:
            return known
    column = _read(name, dict(found), note)
    if column is None:
        note("left out, as its type is not one of a column")
        return None
    if not required and not (known and known.absent_in):
        column = replace(column, nullable=True)
    if known is None:
        return column
    standard = ("type", "nullable", "categories", "patterns", "at_least", "at_most")
    return replace(known, **{field: getattr(column, field) for field in standard})


def _read(name: str, found: Json, note: Note) -> Column | None:
    nullable = False
    for key in ("anyOf", "oneOf"):  # as pydantic and others say that a value may be null
        options = found.get(key)
        if isinstance(options, list) and {"type": "null"} in options and len(cast("list[Any]", options)) == 2:
            nullable = True
            del found[key]
            found |= next(option for option in cast("list[Json]", options) if option != {"type": "null"})
    kinds = found.pop("type", None)
    kinds = list(cast("list[str]", kinds)) if isinstance(kinds, list) else [kinds] if kinds else []
    enum = found.pop("enum", [found.pop("const")] if "const" in found else None)
    values = [value for value in cast("list[object]", enum or []) if value is not None]
    nullable |= "null" in kinds or len(values) < len(cast("list[object]", enum or []))
    kinds = [kind for kind in kinds if kind != "null"] or sorted({_kind(value) for value in values})
    kinds = ["number"] if set(kinds) == {"integer", "number"} else kinds
    type_ = _type(kinds[0], found) if len(kinds) == 1 else None
    if type_ is None:
        return None
    column = Column(name=name, type=type_, nullable=nullable, severity="error")
    if enum is not None:
        if type_ == "string":
            column = replace(column, categories=[str(value) for value in values])
        elif type_ != "bool" or len(set(values)) < 2:
            note("its closed set, as it holds no texts")
    column = _limited(column, found, note)
    if (pattern := found.pop("pattern", None)) is not None and type_ == "string":
        column = replace(column, patterns=[whole(str(pattern))])
    for key in found.keys() - _SAY_NOTHING:
        note(key)
    return column


def _type(kind: str, found: Json) -> str | None:
    if kind == "array":
        items = found.pop("items", {})
        item = _ITEMS.get(items.get("type", "")) if isinstance(items, dict) else None
        return f"list<item: {item}>" if item else None
    form, encoding = found.get("format"), found.get("contentEncoding")
    for type_, said in _TYPES.items():
        if said == {"type": kind} | ({"format": form} if form in ("date-time", "date") else {}) | (
            {"contentEncoding": encoding} if encoding == "base64" else {}
        ):
            for key in said.keys() - {"type"}:
                del found[key]
            return type_
    return None


def _limited(column: Column, found: Json, note: Note) -> Column:
    if column.type not in ("float64", "int64"):
        return column
    for key, field, step in (("minimum", "at_least", 1), ("maximum", "at_most", -1)):
        bound = found.pop(key, None)
        beyond = found.pop(f"exclusive{key.title()}", None)
        if beyond is True:  # draft 4 says it beside the bound
            bound, beyond = None, bound
        if isinstance(beyond, int | float) and not isinstance(beyond, bool):
            if column.type == "int64":
                beyond = beyond + step
            else:
                note(f"that {beyond} itself is excluded")
            bound = beyond if bound is None else max(bound * step, beyond * step) * step
        if bound is not None:
            column = replace(column, **{field: float(bound)})
    return column


def _kind(value: object) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return next((kind for python, kind in kinds.items() if isinstance(value, python)), "object")


def _resolved(found: object, document: Mapping[str, Any], depth: int = 0) -> Json:
    """The schema itself where there is a reference to it."""
    if not isinstance(found, Mapping):
        raise Invalid(f"{str(found)[:40]!r} is no JSON Schema", remedy="give an object such as {...}")
    here = dict(cast("Mapping[str, Any]", found))
    reference = here.pop("$ref", None)
    if reference is None:
        return here
    target: Any = document
    for part in str(reference).removeprefix("#").lstrip("/").split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        target = target.get(part) if isinstance(target, Mapping) else None  # pyright: ignore[reportUnknownMemberType]
    if not str(reference).startswith("#/") or target is None or depth > 20:
        raise Invalid(
            f"the reference {reference!r} leads nowhere in this document", remedy="put what it means in place"
        )
    return _resolved(target, document, depth + 1) | here
