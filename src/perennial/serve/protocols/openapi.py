"""The service as an OpenAPI 3.1 document, generated from the signatures of its endpoints.

The forms of Perennial are described for each endpoint with its own columns; MLflow's, KServe's and the Open Inference
Protocol as they are everywhere. Examples are real rows where the package has some, else made from the signature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from perennial import __version__
from perennial.models.signature import ColumnType, Field, Signature
from perennial.serve.protocols.openapi_protocols import common_paths, error_schema, json_body, responses

__all__ = ["Described", "describe", "example_row", "schema_of"]

EXAMPLES = 3  # of an endpoint's rows
CATEGORIES = 50  # texts of training that are listed
_TYPES: Mapping[ColumnType, Mapping[str, Any]] = {
    "float64": {"type": "number"},
    "int64": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}
_VALUES: Mapping[ColumnType, Any] = {
    "float64": 0.5,
    "int64": 1,
    "bool": True,
    "string": "text",
    "binary": "AAECAw==",
    "datetime": "2024-05-01T12:30:00Z",
    "date": "2024-05-01",
}
_EXPLAINED = {
    "type": "object",
    "properties": {
        "endpoint": {"type": "string"},
        "version": {"type": ["integer", "null"]},
        "explanations": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["endpoint", "explanations"],
}


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: what it takes and answers, and rows that it could be asked, in JSON values by column.

    `version`: the one that answers; None where none does. `max_rows`: of one request.
    """

    name: str
    signature: Signature
    examples: tuple[Mapping[str, Any], ...] = ()
    version: int | None = None
    max_rows: int = 10_000

    def rows(self) -> list[dict[str, Any]]:
        """Examples as requests have them: only columns of the signature, and always at least one row."""
        names = {field.name for field in self.signature.inputs}
        known = [{name: row[name] for name in row if name in names} for row in self.examples[:EXAMPLES]]
        return known or [example_row(self.signature)]


def describe(endpoints: Sequence[Described]) -> bytes:
    """The document as JSON."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Error": error_schema()}
    for at, endpoint in enumerate(endpoints):
        name = _component(endpoint.name, at)
        schemas[f"{name}.Row"] = _row(endpoint.signature)
        schemas[f"{name}.Request"] = _request(endpoint, f"#/components/schemas/{name}.Row")
        schemas[f"{name}.Prediction"] = _prediction(endpoint.signature)
        paths |= _paths(endpoint, name)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Predictions",
            "version": __version__,
            "description": "The prediction service of a Perennial workspace. `/docs` is a page to try it.",
        },
        "tags": [{"name": endpoint.name, "description": _says(endpoint.signature)} for endpoint in endpoints],
        "paths": paths | common_paths(),
        "components": {"schemas": schemas},
    }
    return msgspec.json.encode(document)


def schema_of(field: Field) -> dict[str, Any]:
    """JSON Schema of one value of a column."""
    schema: dict[str, Any] = dict(_TYPES[field.type])
    for length in reversed(field.shape or []):
        schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
    if field.nullable or not field.required:
        schema["type"] = [schema["type"], "null"]
    told = [f"in {field.unit}"] if field.unit else []
    if field.categories:
        shown = ", ".join(field.categories[:CATEGORIES])
        told.append(f"seen in training: {shown}" + (", ..." if len(field.categories) > CATEGORIES else ""))
    if told:
        schema["description"] = "; ".join(told)
    return schema


def example_row(signature: Signature) -> dict[str, Any]:
    """A row of the right types, where no real one is known; optional columns are left out."""
    return {field.name: _example(field) for field in signature.inputs if field.required}


def _example(field: Field) -> Any:
    value: Any = field.categories[0] if field.categories else _VALUES[field.type]
    for length in reversed(field.shape or []):
        value = [value] * length
    return value


def _component(name: str, at: int) -> str:
    """A name that components may have; the number keeps two apart that differ only in other characters."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{at}"


def _says(signature: Signature) -> str:
    if signature.task == "regression":
        return f"The number {signature.output.name}" + (
            f", in {signature.output.unit}" if signature.output.unit else ""
        )
    labels = ", ".join(str(label) for label in (signature.classes or [])[:CATEGORIES])
    return f"The class {signature.output.name}" + (f": {labels}" if labels else "")


def _row(signature: Signature) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field.name: schema_of(field) for field in signature.inputs},
        "required": [field.name for field in signature.inputs if field.required],
        "additionalProperties": False,
    }


def _request(endpoint: Described, row: str) -> dict[str, Any]:
    def many(items: Any) -> dict[str, Any]:
        return {"type": "array", "items": items, "minItems": 1, "maxItems": endpoint.max_rows}

    inputs = endpoint.signature.inputs
    columns = {
        "type": "object",
        "properties": {field.name: many(schema_of(field)) for field in inputs},
        "required": [field.name for field in inputs if field.required],
        "additionalProperties": False,
    }
    return {
        "oneOf": [
            {
                "title": "by row",
                "type": "object",
                "properties": {"records": many({"$ref": row})},
                "required": ["records"],
                "additionalProperties": False,
            },
            {
                "title": "by column",
                "type": "object",
                "properties": {"columns": columns},
                "required": ["columns"],
                "additionalProperties": False,
            },
        ]
    }


def _prediction(signature: Signature) -> dict[str, Any]:
    value: dict[str, Any] = {"type": ["number", "null"]}
    if signature.task == "classification":
        value = {"enum": [*(signature.classes or []), None]} if signature.classes else {}
    properties: dict[str, Any] = {
        "id": {"type": "string", "description": "name it when you send the true value later"},
        "prediction": {**value, "description": "null where there is no answer: error or flags say why"},
        "version": {"type": "integer", "description": "which version answered; 0 where none did"},
        "arm": {"type": "string", "enum": ["live", "canary", "fallback", "constant", "person"]},
        "error": {"type": "string"},
        "flags": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("guard", "action", "column", "says")},
                "required": ["guard", "action"],
            },
        },
    }
    if signature.task == "regression":
        properties["interval"] = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    else:
        names = [str(label) for label in signature.classes or []]
        share = {"type": "number", "minimum": 0, "maximum": 1}
        properties["probabilities"] = {"type": "object", "properties": dict.fromkeys(names, share)}
        properties["set"] = {"type": "array", "items": value}
    required = ["id", "prediction", "version", "arm"]
    return {"type": "object", "properties": properties, "required": required}


def _paths(endpoint: Described, name: str) -> dict[str, Any]:
    """Our own forms, with the endpoint's columns."""
    rows = endpoint.rows()
    examples = {
        **{f"row {at}": {"value": {"records": [row]}} for at, row in enumerate(rows, 1)},
        "by column": {"value": {"columns": {key: [value] for key, value in rows[0].items()}}},
    }
    asked = json_body({"$ref": f"#/components/schemas/{name}.Request"}, examples=examples)
    stream = {"application/vnd.apache.arrow.stream": {"schema": {"description": "an Arrow IPC stream of the columns"}}}
    answered = {
        "type": "object",
        "properties": {
            "endpoint": {"type": "string"},
            "predictions": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}.Prediction"}},
        },
        "required": ["endpoint", "predictions"],
    }
    tags = [endpoint.name]
    path = quote(endpoint.name, safe="")
    predict = {
        "operationId": f"predict_{name}",
        "summary": _says(endpoint.signature),
        "tags": tags,
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 250},
                "description": "the same key again is the same prediction, not another one",
            },
            {
                "name": "X-Request-Timeout-Ms",
                "in": "header",
                "schema": {"type": "number", "exclusiveMinimum": 0},
                "description": "how long the caller waits; only shortens the service's own time",
            },
        ],
        "requestBody": {"required": True, "content": {**asked["content"], **stream}},
        "responses": responses(answered, also=stream),
    }
    explain = {
        "operationId": f"explain_{name}",
        "summary": f"What drives the answers of {endpoint.name} to these rows",
        "tags": tags,
        "requestBody": {"required": True, **asked},
        "responses": responses(_EXPLAINED),
    }
    return {f"/predict/{path}": {"post": predict}, f"/explain/{path}": {"post": explain}}
