"""The API as an OpenAPI 3.1 document, derived from the table of operations and from those of MLflow's calls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perennial import __version__
from perennial.api.operations import OPERATIONS
from perennial.api.signatures import signature_of

if TYPE_CHECKING:
    from perennial.api.mlflow.endpoint import Endpoint

__all__ = ["describe"]

_ERROR = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("error_code", "message", "request_id")},
    "required": ["error_code", "message", "request_id"],
}
_SCHEMAS = "#/components/schemas/"


def describe() -> bytes:
    """The document as JSON."""
    from perennial.api.mlflow.surface import endpoints  # here: a surface is made of doors, and this is behind one

    signatures = {name: signature_of(name) for name in OPERATIONS}
    calls = endpoints()
    types = [kind for signature in signatures.values() for kind in signature]
    requests = list({call.request: None for call in calls})
    schemas, components = msgspec.json.schema_components([*types, *requests], ref_template=_SCHEMAS + "{name}")
    asked = {
        request: components[schema["$ref"].removeprefix(_SCHEMAS)]
        for request, schema in zip(requests, schemas[len(types) :], strict=True)
    }
    for schema in schemas[len(types) :]:
        components.pop(schema["$ref"].removeprefix(_SCHEMAS), None)  # they stand where they are asked for
    paths = _operations(schemas)
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _call(call, asked[call.request])
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Perennial", "version": __version__},
        "paths": paths,
        "components": {"schemas": components | {"Error": _ERROR}},
    }
    return msgspec.json.encode(document)


def _operations(schemas: Sequence[Any]) -> dict[str, Any]:
    """Those of ours: POST /api/NOUN/VERB. Of the schemas, two belong to each: what it takes and gives."""
    paths: dict[str, Any] = {}
    for position, operation in enumerate(OPERATIONS.values()):
        noun, _, verb = operation.name.partition(".")
        paths[f"/api/{noun}/{verb}"] = {
            "post": {
                "operationId": operation.name,
                "tags": [noun],
                "summary": operation.says,
                "x-permission": operation.permission,
                "x-max-bytes": operation.max_bytes,
                "requestBody": _json(schemas[2 * position]),
                "responses": _responses(schemas[2 * position + 1]),
            }
        }
    return paths


def _call(call: Endpoint, asked: Mapping[str, Any]) -> dict[str, Any]:
    """One of MLflow's: its arguments are in the path, and else in the query of a GET, in the body of all others."""
    fields, required = dict(asked["properties"]), set(asked.get("required", ()))
    in_path = re.findall(r"\{(\w+)\}", call.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": fields.pop(name)} for name in in_path]
    told: dict[str, Any] = {
        "operationId": f"mlflow.{call.method.lower()}.{call.path.partition('/mlflow/')[2]}",
        "tags": ["mlflow"],
        "summary": call.says,
        "x-permission": call.permission,
        "x-max-bytes": call.max_body,
        "responses": _responses({"type": "object"}),
    }
    if call.method == "GET":
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in fields.items()
        ]
    else:
        left = sorted(required & fields.keys())
        told["requestBody"] = _json({"type": "object", "properties": fields, "required": left})
    return told | ({"parameters": parameters} if parameters else {})


def _json(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _responses(answer: Any) -> dict[str, Any]:
    return {
        "200": {"description": "Done", **_json(answer)},
        "default": {
            "description": "Not done: error_code, message and request_id say why",
            **_json({"$ref": _SCHEMAS + "Error"}),
        },
    }
