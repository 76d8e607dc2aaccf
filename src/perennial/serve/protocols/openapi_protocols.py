"""The parts of the OpenAPI document that are the same for every endpoint: other protocols, health, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["common_paths", "error_schema", "json_body", "responses"]

_REFUSALS: Mapping[str, str] = {
    "400": "no request of this protocol",
    "404": "there is no such endpoint",
    "413": "over a limit: body, or what it unpacks to",
    "415": "a content type that this address does not take",
    "422": "a value that does not fit its column; `where` points at it",
    "429": "too many requests; `Retry-After` says when to come back",
    "503": "not now; `Retry-After` says when to come back",
    "504": "not answered in time",
}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "description": "the endpoint"}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "examples": ["FP64", "INT64", "BOOL", "BYTES"]},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
    "required": ["name", "shape", "datatype"],
}


def error_schema() -> dict[str, Any]:
    """What every refusal of our own protocols looks like."""
    return {
        "type": "object",
        "properties": {
            "error_code": {"type": "string"},
            "message": {"type": "string"},
            "request_id": {"type": "string"},
            "where": {"type": "string", "description": "the value that is wrong, as records[3].education"},
        },
        "required": ["error_code", "message", "request_id"],
    }


def json_body(schema: Any, *, examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A body of JSON."""
    told = {"schema": schema, **({"examples": dict(examples)} if examples else {})}
    return {"content": {"application/json": told}}


def responses(answer: Any, *, also: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The answers of an address that predicts."""
    refused = {"description": "", **json_body({"$ref": "#/components/schemas/Error"})}
    return {
        "200": {
            "description": "The answers, one for each row",
            "content": {**json_body(answer)["content"], **(also or {})},
        },
        **{status: {**refused, "description": says} for status, says in _REFUSALS.items()},
    }


def common_paths() -> dict[str, Any]:
    """Everything but what has an endpoint's own columns."""
    return {**_later(), **_mlflow(), **_inference(), **_kserve(), **_health()}


def _later() -> dict[str, Any]:
    """What is known of a prediction only later: its true value, and a person's answer."""
    value = {"type": ["number", "string", "boolean"], "description": "the true value"}
    label = {
        "oneOf": [
            {
                "type": "object",
                "properties": {"id": {"type": "string", "description": "of the prediction"}, "label": value},
                "required": ["id", "label"],
            },
            {
                "type": "object",
                "properties": {"entity": {"type": "string", "description": "the value of the key"}, "label": value},
                "required": ["entity", "label"],
            },
        ]
    }
    many = {
        "type": "object",
        "properties": {"labels": {"type": "array", "items": label, "minItems": 1}},
        "required": ["labels"],
    }
    accepted = {
        "type": "object",
        "properties": {"endpoint": {"type": "string"}, "accepted": {"type": "integer", "minimum": 1}},
        "required": ["endpoint", "accepted"],
    }
    told = responses(accepted)
    told["202"] = {**told.pop("200"), "description": "Written down; it counts once the owner has taken it in"}
    feedback = {
        "operationId": "feedback",
        "summary": "True values of past predictions, however late",
        "tags": ["Later"],
        "requestBody": {"required": True, **json_body({"oneOf": [*label["oneOf"], many]})},
        "responses": told,
    }
    prediction = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/feedback/{model}": {"parameters": [_MODEL], "post": feedback},
        "/answers/{id}": {
            "parameters": [prediction],
            "get": _get("A person's answer to a prediction that was left to people", "answers", "Later"),
        },
    }


def _mlflow() -> dict[str, Any]:
    rows = {"type": "array", "items": {"type": "object"}, "minItems": 1}
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "items": {"type": "array"}},
            "index": {"type": "array"},
        },
        "required": ["data"],
    }
    forms: dict[str, Any] = {"dataframe_split": split, "dataframe_records": rows, "instances": {}, "inputs": {}}
    asked = {
        "oneOf": [
            {"type": "object", "properties": {name: schema, "params": {"type": ["object", "null"]}}, "required": [name]}
            for name, schema in forms.items()
        ]
    }
    content = {
        **json_body(asked)["content"],
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"description": "a Parquet file"}},
    }
    answer = {"type": "object", "properties": {"predictions": {"type": "array"}}, "required": ["predictions"]}
    told = {
        "summary": "MLflow's scoring protocol",
        "tags": ["MLflow"],
        "requestBody": {"required": True, "content": content},
        "responses": responses(answer),
    }
    only = "Of a service with one endpoint."
    return {
        "/invocations": {"post": {**told, "operationId": "invocations", "description": only}},
        "/invocations/{model}": {"parameters": [_MODEL], "post": {**told, "operationId": "invocations_of_endpoint"}},
        "/endpoints/{model}/invocations": {
            "parameters": [_MODEL],
            "post": {**told, "operationId": "invocations_of_deployment", "summary": "For MLflow's deployment client"},
        },
        "/ping": {"get": _get("Whether it is ready, for MLflow's clients", "ping", "MLflow", text=True)},
        "/version": {"get": _get("The version of MLflow that is spoken here", "version", "MLflow", text=True)},
    }


def _inference() -> dict[str, Any]:
    tag = "Open Inference Protocol"
    asked = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["inputs"],
    }
    answer = {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": _TENSOR},
        },
        "required": ["model_name", "outputs"],
    }
    binary = {"application/octet-stream": {"schema": {"description": "JSON, then tensors as raw bytes"}}}
    header = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "schema": {"type": "integer", "minimum": 0},
        "description": "length of the JSON where tensors follow it",
    }
    infer = {
        "summary": "Predictions from tensors, one for each column",
        "tags": [tag],
        "parameters": [header],
        "requestBody": {"required": True, "content": {**json_body(asked)["content"], **binary}},
        "responses": responses(answer, also=binary),
    }
    model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    found: dict[str, Any] = {
        "/v2": {"get": _get("The server and its extensions", "v2_server", tag)},
        "/v2/health/live": {"get": _get("Whether the process lives", "v2_live", tag)},
        "/v2/health/ready": {"get": _get("Whether every endpoint answers", "v2_ready", tag)},
    }
    for path, parameters, name in ((model, [_MODEL], "v2"), (version, [_MODEL, _VERSION], "v2_version")):
        found[path] = {"parameters": parameters, "get": _get("Inputs and outputs", f"{name}_model", tag)}
        found[f"{path}/ready"] = {
            "parameters": parameters,
            "get": _get("Whether it answers", f"{name}_model_ready", tag),
        }
        found[f"{path}/infer"] = {"parameters": parameters, "post": {**infer, "operationId": f"{name}_infer"}}
    return found


def _kserve() -> dict[str, Any]:
    asked = {
        "oneOf": [
            {"type": "object", "properties": {key: {"type": "array", "minItems": 1}}, "required": [key]}
            for key in ("instances", "inputs")
        ]
    }
    answer = {"type": "object", "properties": {"predictions": {"type": "array"}}, "required": ["predictions"]}
    predict = {
        "operationId": "v1_predict",
        "summary": "Predictions from instances",
        "tags": ["KServe v1"],
        "requestBody": {"required": True, **json_body(asked)},
        "responses": responses(answer),
    }
    return {
        "/v1/models": {"get": _get("Names of the endpoints", "v1_models", "KServe v1")},
        "/v1/models/{model}": {"parameters": [_MODEL], "get": _get("Whether it answers", "v1_model", "KServe v1")},
        "/v1/models/{model}:predict": {"parameters": [_MODEL], "post": predict},
    }


def _health() -> dict[str, Any]:
    tag = "Health"
    return {
        "/livez": {"get": _get("Whether the process lives", "livez", tag)},
        "/readyz": {"get": _get("Whether it answers", "readyz", tag)},
        "/health": {"get": _get("Whether it answers", "health", tag)},
        "/status": {"get": _get("What runs, and what was counted", "status", tag)},
        "/metrics": {"get": _get("Counters and histograms for Prometheus", "metrics", tag, text=True)},
        "/openapi.json": {"get": _get("This document", "openapi", tag)},
        "/docs": {"get": _get("A page to try it", "docs", tag, text=True)},
    }


def _get(says: str, operation: str, tag: str, *, text: bool = False) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}} if text else json_body({"type": "object"})["content"]
    return {
        "operationId": operation,
        "summary": says,
        "tags": [tag],
        "responses": {
            "200": {"description": "Done", "content": content},
            "default": {"description": "Not now", **json_body({"$ref": "#/components/schemas/Error"})},
        },
    }
