"""The service over HTTP: `POST /predict/{endpoint}`, and what tells of its health.

A plain ASGI application: five routes need no framework, and what is not done is not waited for. Bad input is answered
with a 4xx that points at the value; a body over the limit is refused before it is read. Pages of other sites cannot
use it through a browser: Host must be an address or localhost, and Origin, where there is one, must be ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from perennial.errors import (
    Conflict,
    Failure,
    Forbidden,
    Invalid,
    Mistake,
    NotFound,
    PerennialError,
    TooLarge,
    Unavailable,
)
from perennial.serve.frames import Predicted, row_ids
from perennial.serve.service import PredictionService
from perennial.serve.workers import Deadline

__all__ = ["make_app"]

log = logging.getLogger("perennial.serve")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

RECEIPT_S = 60.0  # for the rest of a body after its first piece
MAX_KEY = 250  # characters of an Idempotency-Key
RETRY_S = 1  # told with every 503
LINGER_S = 1.0  # for a client that sends its whole body before it looks at the answer
LINGER_BYTES = 64 * 1024 * 1024
_STATUS: tuple[tuple[type[PerennialError], int], ...] = (
    (NotFound, 404), (Conflict, 409), (TooLarge, 413), (Forbidden, 403), (Deadline, 504), (Unavailable, 503),
    (Mistake, 422),
)  # fmt: skip
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_JSON = b"application/json"


class _Bad(Mistake):
    """The request is not even HTTP or JSON as it should be."""


class _Method(Mistake):
    """The route knows other methods."""


class _Request(msgspec.Struct):
    """The headers that matter here."""

    length: int = 0
    key: str = ""
    host: str = ""
    origin: str = ""
    site: str = ""


def make_app(service: PredictionService, *, max_body_bytes: int) -> App:
    """The ASGI application for this service."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            request = _headers(scope)
            path: str = scope["path"]
            if path.startswith("/predict/"):
                _expect(scope, "POST")
                body = await _body(request.length, receive, max_body_bytes)
                frame = await service.predict(path.removeprefix("/predict/"), body, request.key)
                await _reply(send, *_answer(frame))
                return
            _expect(scope, "GET")
            await _reply(send, *_tell(service, path))
        except PerennialError as error:
            rest = receive if isinstance(error, TooLarge) else None
            await _reply(send, _status(error), _error(error, os.urandom(8).hex()), rest=rest)
        except Exception:  # the boundary of a request: a fault of ours is told as such, and the log has the rest
            request_id = os.urandom(8).hex()
            log.exception("request %s failed", request_id)
            failure = Failure("the prediction service failed", remedy="look for the request id in its log")
            await _reply(send, 500, _error(failure, request_id))

    return app


def _headers(scope: Message) -> _Request:
    request = _Request()
    for name, value in scope["headers"]:
        if name == b"content-length":
            request.length = int(value) if value.isdigit() else 0
        elif name == b"idempotency-key":
            request.key = value.decode("latin-1")
        elif name == b"host":
            request.host = value.decode("latin-1").lower()
        elif name == b"origin":
            request.origin = value.decode("latin-1").lower()
        elif name == b"sec-fetch-site":
            request.site = value.decode("latin-1")
    if len(request.key) > MAX_KEY:
        raise _Bad(f"an Idempotency-Key has at most {MAX_KEY} characters, this one {len(request.key)}")
    if not _is_local_name(request.host):
        raise Forbidden(f"the host {request.host!r} is not this service", remedy="use its IP address or localhost")
    if request.site in ("cross-site", "same-site") or (
        request.origin and request.origin.partition("://")[2] != request.host
    ):
        raise Forbidden("requests from pages of other sites are not answered", remedy="call it from a program")
    return request


_known_hosts: dict[str, bool] = {}


def _is_local_name(host: str) -> bool:
    """Whether a Host header can be meant for us: an attacker's name that was pointed at loopback is neither."""
    known = _known_hosts.get(host)
    if known is None:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        try:
            known = name in ("", "localhost") or bool(ipaddress.ip_address(name.strip("[]")))
        except ValueError:
            known = False
        if len(_known_hosts) < 1000:
            _known_hosts[host] = known
    return known


def _expect(scope: Message, method: str) -> None:
    if scope["method"] != method:
        raise _Method(f"{scope['path']} takes {method}, not {scope['method']}", remedy=f"use {method}")


async def _body(length: int, receive: Receive, limit: int) -> bytes:
    if length > limit:
        raise TooLarge(f"the body has {length} bytes, the limit is {limit}", remedy="split the request")
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        pieces = [body]
        total = len(body)
        try:
            async with asyncio.timeout(RECEIPT_S):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Bad("the body ended too early")
                    pieces.append(message.get("body", b""))
                    total += len(pieces[-1])
                    if total > limit:
                        raise TooLarge(f"the body has over {limit} bytes", remedy="split the request")
        except TimeoutError:
            raise _Bad(f"the body was not there after {RECEIPT_S:g} s") from None
        body = b"".join(pieces)
    return body


def _answer(frame: Predicted) -> tuple[int, bytes]:
    if frame.status != 200:
        code = {500: "USER_CODE_ERROR", 504: "DEADLINE_EXCEEDED"}.get(frame.status, "TEMPORARILY_UNAVAILABLE")
        error = {"error_code": code, "message": frame.outputs[0].get("error"), "request_id": frame.id}
        return frame.status, msgspec.json.encode(error)
    rows = zip(row_ids(frame.id, len(frame.inputs)), frame.outputs, frame.versions, frame.arms, strict=True)
    predictions = [{"id": row, **output, "version": version, "arm": arm} for row, output, version, arm in rows]
    return 200, msgspec.json.encode({"endpoint": frame.endpoint, "predictions": predictions})


def _tell(service: PredictionService, path: str) -> tuple[int, bytes, bytes]:
    if path == "/livez":
        return 200, b'{"status":"ok"}', _JSON
    status = service.status()
    if path in ("/health", "/readyz"):
        said = {"status": "ok" if status.ready and not status.problem else "degraded" if status.ready else "not ready"}
        return (200 if status.ready else 503), msgspec.json.encode({**said, "problem": status.problem}), _JSON
    if path == "/status":
        return 200, msgspec.json.encode(status), _JSON
    if path == "/metrics":
        rows = {"received": status.received, "stored": status.stored, "dropped": status.dropped}
        lines = [
            f"# TYPE perennial_predictions_{name}_total counter\nperennial_predictions_{name}_total {n}"
            for name, n in rows.items()
        ]
        gauges = {
            "predictions_pending": status.pending,
            "shadow_pending": status.shadow_pending,
            "ready": int(status.ready),
        }
        lines += [f"# TYPE perennial_{name} gauge\nperennial_{name} {n}" for name, n in gauges.items()]
        return 200, ("\n".join(lines) + "\n").encode(), _TEXT
    raise NotFound(
        f"there is no {path}", remedy="POST /predict/{endpoint}, GET /health /livez /readyz /status /metrics"
    )


def _status(error: PerennialError) -> int:
    if isinstance(error, _Method):
        return 405
    if isinstance(error, _Bad) or (isinstance(error, Invalid) and not error.where):
        return 400  # no value of the request to point at: it is no request
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _error(error: PerennialError, request_id: str) -> bytes:
    told: Mapping[str, str] = {"error_code": error.code, "message": str(error), "request_id": request_id}
    return msgspec.json.encode({**told, "where": error.where} if error.where else told)


async def _reply(send: Send, status: int, body: bytes, kind: bytes = _JSON, *, rest: Receive | None = None) -> None:
    """Send an answer; with `rest` before the body was read, which ends the connection."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_S))
    if rest is not None:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": rest is not None})
    if rest is not None:
        await _linger(rest)
        await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """Throw away what still comes, for a moment: closing at once would reset the connection and lose the answer."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
