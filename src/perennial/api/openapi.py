"""The API as an OpenAPI 3.1 document, derived from the table of operations."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial import __version__
from perennial.api.operations import OPERATIONS
from perennial.api.signatures import signature_of

__all__ = ["describe"]


def describe() -> bytes:
    """The document as JSON."""
    signatures = {name: signature_of(name) for name in OPERATIONS}
    types = [kind for signature in signatures.values() for kind in signature]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for position, operation in enumerate(OPERATIONS.values()):
        noun, _, verb = operation.name.partition(".")
        answer = {"application/json": {"schema": schemas[2 * position + 1]}}
        paths[f"/api/{noun}/{verb}"] = {
            "post": {
                "operationId": operation.name,
                "tags": [noun],
                "summary": operation.says,
                "x-permission": operation.permission,
                "x-max-bytes": operation.max_bytes,
                "requestBody": {"content": {"application/json": {"schema": schemas[2 * position]}}},
                "responses": {
                    "200": {"description": "Done", "content": answer},
                    "default": {"description": "Not done: error_code, message and request_id say why"},
                },
            }
        }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Perennial", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }
    return msgspec.json.encode(document)
