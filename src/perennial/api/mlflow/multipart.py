"""Uploads in parts on MLflow's artifact proxy: create, send each part to the address that was given for it, complete.

The parts come to this server, so that nothing else needs to be reachable. Each part is answered with an ETag, which is
its digest; to complete, the client names them all.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import decode, json_object
from perennial.api.mlflow.receiving import announced_sha256, heard, receive
from perennial.api.server import Door, read_body
from perennial.errors import Invalid
from perennial.store.actor import acting
from perennial.tracking.body import Body
from perennial.tracking.tree import checked, checked_folder
from perennial.tracking.uploads import complete, keep_part
from perennial.workspace import Services

__all__ = ["doors"]

MAX_BODY = 4 << 20  # 10,000 parts with their addresses


class _Create(msgspec.Struct, frozen=True, kw_only=True):
    path: str  # the file on the client's disk: only its last part counts
    num_parts: int = 1


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    part_number: int
    etag: str = ""
    url: str = ""


class _Complete(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    upload_id: str
    parts: list[_Part]


class _Abort(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    upload_id: str


def doors(ws: Services, prefix: str) -> list[Door]:
    """The doors below this prefix."""

    async def create(request: Request, caller: Caller) -> Response:
        asked: _Create = await _asked(request, _Create)
        path = _target(request, asked.path)
        with acting(caller.person, caller.origin):
            upload = await run_in_threadpool(lambda: ws.uploads.begin(path=path, parts=asked.num_parts))
        base = _address(request)
        # A part is sent without the client's own headers, so what let it in here is handed back to it.
        authorization = request.headers.get("authorization")
        headers = {} if authorization is None else {"Authorization": authorization}
        credentials = [
            {"url": f"{base}/mpu/part/{upload.id}/{number}", "part_number": number, "headers": headers}
            for number in range(1, upload.parts + 1)
        ]
        return JSONResponse({"upload_id": upload.id, "credentials": credentials})

    async def part(request: Request, caller: Caller) -> Response:
        upload_id, number = request.path_params["upload_id"], request.path_params["number"]
        limit = ws.artifacts.limit
        async with heard(request):
            await run_in_threadpool(lambda: ws.uploads.get(upload_id=upload_id))  # before anything is read
            with Body(ws.artifacts.scratch, limit=limit, with_sha256=announced_sha256(request) is not None) as body:
                await receive(request, body, limit)
                kept = await run_in_threadpool(keep_part, ws.uploads, upload_id, number, body)
        return Response(headers={"etag": f'"{kept.digest}"'})

    async def finish(request: Request, caller: Caller) -> Response:
        asked: _Complete = await _asked(request, _Complete)
        path = _target(request, asked.path)
        told = [(part.part_number, part.etag.strip('"')) for part in asked.parts]

        def perform() -> None:
            with acting(caller.person, caller.origin):
                complete(ws.uploads, ws.artifacts, upload_id=asked.upload_id, path=path, told=told)

        await run_in_threadpool(perform)
        return JSONResponse({})

    async def abort(request: Request, caller: Caller) -> Response:
        asked: _Abort = await _asked(request, _Abort)
        _target(request, asked.path)
        await run_in_threadpool(lambda: ws.uploads.abort(upload_id=asked.upload_id))
        return JSONResponse({})

    says = "an upload of a file in parts."
    return [
        *(
            Door("POST", f"{prefix}/mpu/{verb}{tail}", "track", enter, f"{verb.capitalize()} {says}")
            for verb, enter in (("create", create), ("complete", finish), ("abort", abort))
            for tail in ("", "/{path:path}")
        ),
        Door("PUT", f"{prefix}/mpu/part/{{upload_id}}/{{number:int}}", "track", part, "One part of a file."),
    ]


async def _asked(request: Request, kind: type[msgspec.Struct]) -> Any:
    body = await read_body(request, MAX_BODY)
    return decode(kind, json_object(body, request.headers.get("content-type", "")))


def _target(request: Request, local: str) -> str:
    """The file's path here: the folder of the address, and the last part of its name on the client's disk."""
    folder = checked_folder(request.path_params.get("path", ""))
    name = local.replace("\\", "/").rpartition("/")[2]
    return checked(f"{folder}/{name}" if folder else name)


def _address(request: Request) -> str:
    """The address of the proxy as the client knows it, with a prefix that a server between us may have put there."""
    address = str(request.url)
    base, found, _ = address.partition("/mpu/create")
    if not found or urlsplit(base).hostname is None:
        raise Invalid("the address of this request cannot be read")
    return base
