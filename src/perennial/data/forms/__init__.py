"""A schema in the forms in which people and other programs write it: TOML, TFDV's text, pandera, JSON Schema.

One file per form. `sound` says what cannot be meant in any of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from perennial.data.schema import Schema
from perennial.errors import Invalid

__all__ = ["READ", "WRITTEN", "Imported", "read", "written"]

READ: Mapping[str, str] = {
    "toml": "our own",
    "tfdv": "TensorFlow Data Validation's schema.pbtxt",
    "json-schema": "JSON Schema of a row",
    "pandera": "pandera's YAML",
}
WRITTEN: Mapping[str, str] = {name: READ[name] for name in ("toml", "json-schema", "pandera")}


class Imported(NamedTuple):
    """A schema that was written for another program, and what it said that ours cannot, one sentence each."""

    schema: Schema
    lost: list[str]


def read(text: str, form: str) -> Imported:
    """The schema that a file of one of the forms `READ` describes.

    Raises:
        Invalid: Not of this form, or it contradicts itself.
        ConfigError: pandera is not installed.
    """
    match form:
        case "toml":
            from perennial.data.forms.toml import from_toml

            return Imported(from_toml(text), [])
        case "tfdv":
            from perennial.data.forms.tfdv import from_tfdv

            return from_tfdv(text)
        case "json-schema":
            from perennial.data.forms.json_schema import from_json_schema

            try:
                document = json.loads(text)
            except ValueError as error:
                raise Invalid(f"this is not JSON: {error}", remedy="give a JSON Schema") from None
            if not isinstance(document, dict):
                raise Invalid("this is no JSON Schema", remedy='give an object: {"type": "object", ...}')
            return from_json_schema(document)
        case _:
            from perennial.data.forms.pandera import from_yaml

            return from_yaml(text)


def written(schema: Schema, form: str, *, name: str = "", environment: str = "training") -> str:
    """The text of a schema in one of the forms `WRITTEN`.

    Raises:
        ConfigError: pandera is not installed.
    """
    match form:
        case "toml":
            from perennial.data.forms.toml import to_toml

            return to_toml(schema, name=name)
        case "json-schema":
            from perennial.data.forms.json_schema import to_json_schema

            return json.dumps(to_json_schema(schema, name=name, environment=environment), indent=2, ensure_ascii=False)
        case _:
            from perennial.data.forms.pandera import to_yaml

            return to_yaml(schema, environment=environment)
