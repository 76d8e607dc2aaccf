"""The owner's HTTP server: every route, each with its permission, behind one guard.

`python -m perennial.api.server` is the process that owns an embedded workspace. It never imports user code, never
loads a model, and listens on loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perennial.api import openapi
from perennial.api.auth import Auth, Caller
from perennial.api.dispatch import Dispatcher, check_permission
from perennial.api.guard import check_content_type, check_host, check_origin, plain_headers
from perennial.api.http import Protocol
from perennial.api.operations import OPERATIONS, Operation, Permission
from perennial.api.statuses import document, retry_after_s, status_of
from perennial.config import Settings, read_settings
from perennial.errors import Conflict, Failure, Invalid, Mistake, NotFound, PerennialError, TooLarge
from perennial.store.workspace_folder import WorkspaceFolder, open_folder
from perennial.supervise.parent import die_with_parent
from perennial.workspace import Owned

__all__ = ["HEADERS", "SURFACES", "Door", "app_of", "build_app", "operation_doors", "read_body", "serve"]

HANDOVER_S = 1.0
SWITCH_S = 0.0005  # the writer's thread gets its turn in time beside a busy event loop; Python's own is ten times that
RECEIPT_S = 60  # a body that takes longer to arrive is a broken or hostile client
_log = logging.getLogger("perennial.api")

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    # With `no-referrer` a browser sends `Origin: null` from our own forms, which could not be told from a foreign page.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


Enter = Callable[[Request], Awaitable[Response]]


# As bytes once, not with each answer; a request is named by its process and its number there.
_ENCODED = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())
_PROCESS, _NUMBER = secrets.token_hex(4), count(1)


class Door(NamedTuple):
    """One route: without a permission it cannot be written down. `refuse` tells an error in another way than ours."""

    method: str
    path: str
    permission: Permission
    enter: Callable[[Request, Caller], Awaitable[Response]]
    says: str
    refuse: Callable[[PerennialError, Request], Response] | None = None


def operation_doors(dispatcher: Dispatcher) -> list[Door]:
    """One door for each operation: POST /api/NOUN/VERB with the arguments as a JSON object."""

    def door(operation: Operation) -> Door:
        async def enter(request: Request, caller: Caller) -> Response:
            check_content_type(request.headers, "application/json")
            body = await read_body(request, operation.max_bytes)
            key = request.headers.get("idempotency-key", "")
            if len(key) > 128:
                raise Invalid("the key has more than 128 characters", where="header idempotency-key")
            answer = await run_in_threadpool(dispatcher.call, operation.name, body, caller, key)
            return Response(answer, media_type="application/json")

        return Door("POST", "/api/" + operation.name.replace(".", "/"), operation.permission, enter, operation.says)

    return [door(operation) for operation in OPERATIONS.values()]


def own_doors(auth: Auth) -> list[Door]:
    """What is no operation on the workspace: health, the description of the API, new one-time links."""

    async def health(request: Request, caller: Caller) -> Response:
        return JSONResponse({"status": "ok"})

    async def describe(request: Request, caller: Caller) -> Response:
        return Response(await run_in_threadpool(openapi.describe), media_type="application/json")

    async def new_link(request: Request, caller: Caller) -> Response:
        check_content_type(request.headers, "application/json")
        return JSONResponse({"path": f"/login?code={auth.new_link()}"})

    return [
        Door("GET", "/health", "read", health, "Whether the owner answers."),
        Door("GET", "/openapi.json", "read", describe, "All operations as OpenAPI 3.1."),
        Door("POST", "/api/link", "system", new_link, "A new link that lets one person in once."),
    ]


def build_app(doors: Sequence[Door], auth: Auth) -> ASGIApp:
    """The application: guard, then route, then permission, then what is behind the door."""

    def entrance(door: Door) -> Enter:
        refuse = door.refuse or _refusal

        async def enter(request: Request) -> Response:
            try:
                caller = auth.caller(request.state.headers, request.method)
                request.state.trusted = bool(caller.person)
                check_permission(caller, door.permission, f"{door.method} {door.path}")
                return await door.enter(request, caller)
            except PerennialError as error:
                return refuse(error, request)

        return enter

    return _Guarded([entrance(door) for door in doors], doors)


class _Guarded:
    """Checks what holds for every request, finds the door, and turns an unforeseen error into a record and a 500."""

    def __init__(self, entrances: Sequence[Enter], doors: Sequence[Door]) -> None:
        self.doors = tuple(doors)
        # Most addresses have no variable part: looking one up costs the same however many there are.
        self._plain: dict[str, dict[str, Enter]] = {}
        self._routes: list[Route] = []
        for enter, door in zip(entrances, doors, strict=True):
            if "{" in door.path:
                self._routes.append(Route(door.path, enter, methods=[door.method]))
            else:
                self._plain.setdefault(door.path, {})[door.method] = enter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = f"{_PROCESS}{next(_NUMBER):08x}"
        started = False

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                told = {name for name, _ in message["headers"]}
                message["headers"] += [header for header in _ENCODED if header[0] not in told]
                message["headers"].append((b"perennial-request-id", request_id.encode()))
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        request = Request(scope, receive)
        try:
            headers = request.state.headers = plain_headers(scope)
            check_host(headers.get("host"))
            check_origin(headers, request.method)
            await self._enter(request, scope, receive, stamped)
        except PerennialError as error:
            await _refusal(error, request)(scope, receive, stamped)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001  the boundary of a request: recorded with its id, told without its inside
            _log.exception("request %s failed: %s %s", request_id, request.method, scope["path"])
            if not started:
                failure = Failure("something went wrong here; the owner's log has the details under this request id")
                await _refusal(failure, request)(scope, receive, stamped)

    async def _enter(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        plain = self._plain.get(scope["path"])
        if plain is not None:
            enter = plain.get("GET" if scope["method"] == "HEAD" else scope["method"])
            if enter is None:
                response = PlainTextResponse("Method Not Allowed", 405, {"allow": ", ".join(sorted(plain))})
            else:
                response = await enter(request)
            await response(scope, receive, send)
            return
        partial: Route | None = None
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                await route.handle(scope, receive, send)
                return
            partial = route if match is Match.PARTIAL else partial
        if partial is None:
            raise NotFound("there is nothing at this address", remedy="GET /openapi.json lists what there is")
        await partial.handle(scope, receive, send)  # answers 405 and names the methods


async def read_body(request: Request, limit: int) -> bytes:
    """The body, which ends within the limit of bytes and of time.

    Raises:
        TooLarge: It does not; nothing more is read.
        Invalid: It does not arrive in time.
    """
    held: bytes | None = getattr(request.state, "body", None)  # another way in has looked at it
    if held is not None:
        return held
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(request, limit)
    body = bytearray()
    try:
        async with asyncio.timeout(RECEIPT_S):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise _too_large(request, limit)
    except TimeoutError as error:
        raise Invalid(f"the body did not arrive within {RECEIPT_S} s") from error
    request.state.body = bytes(body)
    return request.state.body


def _too_large(request: Request, limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes", where=request.scope["path"])


def _refusal(error: PerennialError, request: Request) -> Response:
    status = status_of(error)
    if status >= 500:
        _log.error("request %s: %s", request.state.request_id, error)
    told = document(error, request.state.request_id, trusted=getattr(request.state, "trusted", False))
    wait = retry_after_s(status)
    headers: Mapping[str, str] = {"retry-after": str(wait)} if wait is not None else {}
    if status == 413:
        headers = {"connection": "close"}
    return Response(msgspec.json.encode(told), status, headers, "application/json")


# What is served beside the operations, resolved when the owner starts.
SURFACES = (
    "perennial.ui.pages:doors",
    "perennial.api.metrics:doors",
    "perennial.api.mlflow.artifacts:doors",
    "perennial.api.mlflow.surface:doors",
)


def app_of(owned: Owned, auth: Auth) -> ASGIApp:
    """Everything that the owner of this workspace serves."""
    from perennial.api.mlflow.express import Express, express  # here: it is made of doors itself

    dispatcher = Dispatcher(owned.workspace, owned.records)
    doors = [*operation_doors(dispatcher), *own_doors(auth)]
    for surface in SURFACES:
        module, _, name = surface.partition(":")
        doors += getattr(import_module(module), name)(dispatcher, auth)
    way = Express(owned.records)
    return build_app([express(door, way) for door in doors], auth)


def serve(owned: Owned, listening: socket.socket, *, tied: bool = False) -> None:
    """Answer on this socket until told to stop (SIGTERM, SIGINT; `tied`: also when the parent is gone)."""
    assert owned.lock.info is not None
    auth = Auth(
        token=owned.lock.info.token,
        cookie=f"perennial_{owned.workspace.folder.id[:12]}",
        require_token=owned.workspace.settings.require_token,
    )
    config = uvicorn.Config(
        app_of(owned, auth),
        http=Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    sys.setswitchinterval(SWITCH_S)

    def stop() -> None:
        server.should_exit = True

    if tied:
        die_with_parent(stop)
    host, port = listening.getsockname()[:2]
    owned.lock.publish(f"http://{host}:{port}")
    server.run(sockets=[listening])


def main(argv: Sequence[str] | None = None) -> int:
    """Own a workspace and serve it: the first process of `perennial up`."""
    parser = argparse.ArgumentParser(prog="python -m perennial.api.server", description=main.__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the workspace")
    parser.add_argument("--descriptor", type=int, required=True, help="a listening socket that the parent opened")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when standard input ends")
    options = parser.parse_args(argv)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        folder = open_folder(options.workspace)
        owned = _owned_soon(folder, read_settings(folder.root.parent, os.environ))
    except Mistake as error:
        sys.stderr.write(f"{error}\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn hands the signal on once it has stopped in order
    with owned.workspace:
        serve(owned, socket.socket(fileno=options.descriptor), tied=options.die_with_parent)
    return 0


def _owned_soon(folder: WorkspaceFolder, settings: Settings) -> Owned:
    ends = time.monotonic() + HANDOVER_S
    while True:
        try:
            return Owned(folder, settings)
        except Conflict:  # a predecessor that is just ending, or somebody who only looks whether the place is taken
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
