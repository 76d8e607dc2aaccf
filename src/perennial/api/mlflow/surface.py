"""The doors of MLflow's surface: every endpoint, under each of its addresses, with MLflow's errors.

Reads and writes run on a few threads. Logging points does not: see `express`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from perennial.api.auth import Auth, Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.mlflow.endpoint import Endpoint, decode, json_object, lean, read_query
from perennial.api.mlflow.errors import refusal
from perennial.api.mlflow.receiving import heard
from perennial.api.mlflow.unsupported import UNSUPPORTED
from perennial.api.server import Door, read_body
from perennial.api.statuses import NotSupported
from perennial.errors import NotFound
from perennial.store.actor import acting
from perennial.workspace import Services

__all__ = ["ENDPOINTS", "SPOKEN", "addresses", "doors", "endpoints"]

SPOKEN = "3.17.2"  # the version of MLflow that the surface is held against
THREADS = 8

# Each module's table, resolved when the owner starts.
ENDPOINTS = (
    "perennial.api.mlflow.experiments:ENDPOINTS",
    "perennial.api.mlflow.runs:ENDPOINTS",
    "perennial.api.mlflow.metrics:ENDPOINTS",
    "perennial.api.mlflow.datasets:ENDPOINTS",
    "perennial.api.mlflow.logged_models:ENDPOINTS",
    "perennial.api.mlflow.artifacts:ENDPOINTS",
    "perennial.api.mlflow.registry:ENDPOINTS",
    "perennial.api.mlflow.evaluation_datasets:ENDPOINTS",
)


def endpoints() -> list[Endpoint]:
    """All of them."""
    found: list[Endpoint] = []
    for home in ENDPOINTS:
        module, _, name = home.partition(":")
        found += getattr(import_module(module), name)
    return found


def addresses(path: str) -> tuple[str, str]:
    """Where an endpoint answers: for programs, and for pages."""
    return path, path.replace("/api/", "/ajax-api/", 1)


def doors(dispatcher: Dispatcher, auth: Auth) -> list[Door]:
    """The doors of the whole surface."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mlflow")
    ws = Services(dispatcher.workspace)

    def door(endpoint: Endpoint, path: str) -> Door:
        async def enter(request: Request, caller: Caller) -> Response:
            given = await _given(endpoint, request)
            asked = decode(endpoint.request, given)

            def perform() -> bytes:
                with acting(caller.person or "unknown", "mlflow"):
                    return msgspec.json.encode(lean(endpoint.answer(ws, asked, caller)))

            answer = await asyncio.get_running_loop().run_in_executor(pool, perform)
            return Response(answer, media_type="application/json")

        return Door(endpoint.method, path, endpoint.permission, enter, endpoint.says, refusal)

    found = [door(endpoint, path) for endpoint in endpoints() for path in addresses(endpoint.path)]
    return [*found, *_about(), *_rest()]


async def _given(endpoint: Endpoint, request: Request) -> Mapping[str, Any]:
    if endpoint.method == "GET":
        given: dict[str, Any] = read_query(request.scope["query_string"], endpoint.request)
    else:
        async with heard(request):
            body = await read_body(request, endpoint.max_body)
        kind = request.headers.get("content-type", "")
        # What is deleted may stand in the address alone: then clients send neither a body nor its type.
        is_bare = endpoint.method == "DELETE" and not body and not kind
        given = {} if is_bare else json_object(body, kind)
    return given | request.path_params


def _about() -> list[Door]:
    """What a client asks to learn with whom it speaks."""

    async def version(request: Request, caller: Caller) -> Response:
        return PlainTextResponse(SPOKEN)

    async def server_info(request: Request, caller: Caller) -> Response:
        return JSONResponse(
            {
                "store_type": "SqlStore",
                "workspaces_enabled": False,
                "artifact_serving_enabled": True,
                "multipart_uploads_enabled": True,
                "multipart_downloads_enabled": False,
                "artifacts_presigned_only": False,
                "trace_archival_enabled": False,
            }
        )

    return [
        Door("GET", "/version", "read", version, "The version of MLflow that is spoken here.", refusal),
        *(
            Door("GET", path, "read", server_info, "What this server can do.", refusal)
            for path in addresses("/api/3.0/mlflow/server-info")
        ),
    ]


def _rest() -> list[Door]:
    """Whatever else MLflow has: told apart from a mistyped address."""

    async def enter(request: Request, caller: Caller) -> Response:
        rest = request.path_params["rest"]
        why = UNSUPPORTED.get(rest.partition("/")[0])
        if why is not None:
            raise NotSupported(f"{rest} is not supported: {why}", remedy="docs/mlflow-compatibility.md lists what is")
        raise NotFound(f"there is nothing at {request.method} /mlflow/{rest}")

    return [
        Door(method, f"/{root}/{{number}}/mlflow/{{rest:path}}", "read", enter, "What is not supported.", refusal)
        for root in ("api", "ajax-api")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ]
