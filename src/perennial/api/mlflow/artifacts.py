"""Logged files on MLflow's surface: the proxy below `mlflow-artifacts`, and the addresses that name a run or a model.

The proxy takes bytes for any path, streamed in both directions. Where a run's or model's files lie is told by its own
record; the bytes go through here whatever they are kept in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from perennial.api.auth import Auth, Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.mlflow import multipart, packages
from perennial.api.mlflow.downloads import send
from perennial.api.mlflow.endpoint import PREFIX, Endpoint, decode, read_query
from perennial.api.mlflow.errors import refusal
from perennial.api.mlflow.receiving import announced_sha256, heard, receive
from perennial.api.server import Door
from perennial.api.statuses import NotSupported
from perennial.errors import Invalid, StoreError, TooLarge
from perennial.store.actor import acting
from perennial.tracking.artifacts import keep
from perennial.tracking.body import Body
from perennial.tracking.tree import Entry, File, below, checked, checked_folder
from perennial.workspace import Services

__all__ = ["ENDPOINTS", "doors"]

PROXIES = ("/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts")
PREFIXES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
MAX_UPLOAD = 10 << 20  # through `upload-artifact`, which is meant for notes and pictures


class _OfRun(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""
    page_token: str = ""


class _OfModel(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    artifact_directory_path: str = ""
    artifact_file_path: str = ""


class _OfVersion(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: int
    path: str


class _Path(msgspec.Struct, frozen=True, kw_only=True):
    path: str = ""


def doors(dispatcher: Dispatcher, auth: Auth) -> list[Door]:
    """The doors of logged files."""
    ws = Services(dispatcher.workspace)

    async def list_(request: Request, caller: Caller) -> Response:
        asked = decode(_Path, read_query(request.scope["query_string"], _Path))
        return JSONResponse(_files(await run_in_threadpool(_entries, ws, checked_folder(asked.path))))

    async def download(request: Request, caller: Caller) -> Response:
        return await _send(ws, checked(checked_folder(request.path_params["path"])))

    async def upload(request: Request, caller: Caller) -> Response:
        async with heard(request):
            await _take_in(ws, request, caller, request.path_params["path"], ws.artifacts.limit)
        return Response()

    async def delete(request: Request, caller: Caller) -> Response:
        path = request.path_params["path"]

        def perform() -> None:
            with acting(caller.person, caller.origin):
                ws.artifacts.delete(path=path)

        await run_in_threadpool(perform)
        return JSONResponse({})

    async def get_of_run(request: Request, caller: Caller) -> Response:
        asked = decode(_OfRun, read_query(request.scope["query_string"], _OfRun))
        path = checked(checked_folder(asked.path))
        return await _send(ws, await run_in_threadpool(_in_run, ws, asked, path))

    async def get_of_model(request: Request, caller: Caller) -> Response:
        given = read_query(request.scope["query_string"], _OfModel) | request.path_params
        asked = decode(_OfModel, given)
        if not asked.artifact_file_path:
            raise Invalid('Request must include the "artifact_file_path" query parameter.')
        path = checked(checked_folder(asked.artifact_file_path))
        return await _send(ws, await run_in_threadpool(_in_model, ws, asked.model_id, path))

    async def get_of_version(request: Request, caller: Caller) -> Response:
        given = read_query(request.scope["query_string"], _OfVersion)
        checked(checked_folder(str(given.get("path", ""))))  # first: whether there is such a version is another matter
        asked = decode(_OfVersion, given)
        return await _send(ws, await run_in_threadpool(_in_version, ws, asked))

    async def upload_to_run(request: Request, caller: Caller) -> Response:
        async with heard(request):
            asked = decode(_OfRun, read_query(request.scope["query_string"], _OfRun))
            if not _run_id(asked):
                raise Invalid("Request must specify run_uuid.")
            if not asked.path:
                raise Invalid("Request must specify path.")
            checked(asked.path)
            path = await run_in_threadpool(_in_run, ws, asked, asked.path)
            try:
                await _take_in(ws, request, caller, path, MAX_UPLOAD, may_be_empty=False)
            except TooLarge as error:
                raise Invalid("Artifact size is too large. Max size is 10MB.") from error
        return Response(media_type="application/json")

    async def presign(request: Request, caller: Caller) -> Response:
        raise NotSupported("addresses that are signed in advance are not supported", remedy="read the artifact here")

    made: list[Door] = []
    for prefix in PROXIES:
        path = f"{prefix}/artifacts/{{path:path}}"
        made += [
            Door("GET", f"{prefix}/artifacts", "read", list_, "What a folder of logged files holds."),
            Door("GET", path, "read", download, "A logged file."),
            Door("PUT", path, "track", upload, "Log a file."),
            Door("DELETE", path, "write", delete, "Delete a logged file, or a folder of them."),
            Door("GET", f"{prefix}/presigned/{{path:path}}", "read", presign, "Not supported: answers 501."),
            *multipart.doors(ws, prefix),
        ]
    for prefix in PREFIXES:
        of_model = f"{prefix}/logged-models/{{model_id}}/artifacts/files"
        made += [
            Door("POST", f"{prefix}/upload-artifact", "track", upload_to_run, "Log a small file of a run."),
            Door("GET", of_model, "read", get_of_model, "A file of a logged model."),
        ]
    made.append(Door("GET", "/get-artifact", "read", get_of_run, "A file of a run."))
    for path in ("/model-versions/get-artifact", "//model-versions/get-artifact"):  # some callers join with two slashes
        made.append(Door("GET", path, "read", get_of_version, "A file of a model version."))
    return [door._replace(refuse=refusal) for door in made]


def list_of_run(ws: Services, asked: _OfRun, caller: Caller) -> dict[str, Any]:
    """What a folder of a run holds, with paths from the run's root."""
    folder = checked_folder(asked.path)
    uri = _run(ws, asked).artifact_uri
    return {"root_uri": uri} | _files(_entries(ws, _joined(_here(uri), folder)), folder)


def list_of_model(ws: Services, asked: _OfModel, caller: Caller) -> dict[str, Any]:
    """What a folder of a logged model holds, with paths from the model's root."""
    folder = checked_folder(asked.artifact_directory_path)
    uri = ws.logged_models.get(model_id=asked.model_id).artifact_uri
    return {"root_uri": uri} | _files(_entries(ws, _joined(_here(uri), folder)), folder)


ENDPOINTS = (
    Endpoint("GET", f"{PREFIX}artifacts/list", "read", _OfRun, list_of_run, "What a folder of a run holds."),
    Endpoint(
        "GET",
        f"{PREFIX}logged-models/{{model_id}}/artifacts/directories",
        "read",
        _OfModel,
        list_of_model,
        "What a folder of a logged model holds.",
    ),
)


async def _take_in(
    ws: Services, request: Request, caller: Caller, path: str, limit: int, *, may_be_empty: bool = True
) -> None:
    """Let the request's body be the file at this path, which is checked before anything is read."""
    checked(path)
    with Body(ws.artifacts.scratch, limit=limit, with_sha256=announced_sha256(request) is not None) as body:
        await receive(request, body, limit)
        if not body.size and not may_be_empty:
            raise Invalid("Request must specify data.")

        def perform() -> None:
            with acting(caller.person, caller.origin):
                keep(ws.artifacts, path, body)

        await run_in_threadpool(perform)


async def _send(ws: Services, path: str) -> Response:
    def find() -> tuple[File, Iterator[bytes]]:
        file = packages.file_at(ws, path) if packages.is_package(path) else ws.artifacts.get(path=path)
        return file, _blocks(ws, file)

    return await send(*await run_in_threadpool(find))


def _blocks(ws: Services, file: File) -> Iterator[bytes]:
    service = ws.artifacts
    if not file.elsewhere:
        return service.here.read(file.digest, file.size)
    if not service.bytes.is_elsewhere:
        raise StoreError(
            f"{file.path} lies in a bucket that the setting artifacts no longer names", remedy="set it as it was"
        )
    return service.bytes.read(file.digest, file.size)


def _entries(ws: Services, folder: str) -> list[Entry]:
    return packages.entries(ws, folder) if packages.is_package(folder) else ws.artifacts.list(path=folder)


def _files(entries: list[Entry], folder: str = "") -> dict[str, Any]:
    files = [
        {"path": _joined(folder, entry.path), "is_dir": entry.is_dir}
        | ({} if entry.size is None else {"file_size": entry.size})
        for entry in entries
    ]
    return {"files": files} if files else {}


def _run_id(asked: _OfRun) -> str:
    return asked.run_id or asked.run_uuid


def _run(ws: Services, asked: _OfRun) -> Any:
    if not _run_id(asked):
        raise Invalid(
            "Missing value for required parameter 'run_id'. "
            "See the API docs for more information about request parameters."
        )
    return ws.runs.get(run_id=_run_id(asked))


def _in_run(ws: Services, asked: _OfRun, path: str) -> str:
    return _joined(_here(_run(ws, asked).artifact_uri), path)


def _in_model(ws: Services, model_id: str, path: str) -> str:
    return _joined(_here(ws.logged_models.get(model_id=model_id).artifact_uri), path)


def _in_version(ws: Services, asked: _OfVersion) -> str:
    found = ws.model_versions.get(name=asked.name, version=asked.version)
    return _joined(_here(found.storage), asked.path)


def _here(uri: str) -> str:
    folder = below(uri)
    if folder is None:
        raise Invalid(f"these artifacts lie at {uri}, not here", remedy="read them from that store")
    return folder


def _joined(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path
