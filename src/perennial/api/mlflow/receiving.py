"""Take in the body of an upload: streamed to the store's scratch space, never held in memory, whole or not at all."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from perennial.errors import DataError, Invalid, PerennialError, TooLarge
from perennial.tracking.body import Body

__all__ = ["SILENCE_S", "announced_sha256", "heard", "receive"]

DRAIN_BYTES, DRAIN_S = 32 << 20, 10.0  # read and thrown away of a body that is refused
SILENCE_S = 60  # in which nothing of the body comes: its sender is gone or hostile
PIECE_BYTES = 1 << 20  # handed to the disk at once
_SHA256 = re.compile(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):")


@asynccontextmanager
async def heard(request: Request) -> AsyncGenerator[None]:
    """Read on, within bounds, when the body is refused inside: who still sends would not hear the answer."""
    try:
        yield
    except PerennialError:
        left = DRAIN_BYTES
        with suppress(ClientDisconnect, TimeoutError, RuntimeError):  # the last: all of it was read before
            async with asyncio.timeout(DRAIN_S):
                async for piece in request.stream():
                    left -= len(piece)
                    if left < 0:
                        break
        raise


async def receive(request: Request, body: Body, limit: int) -> None:
    """Read the request's body into `body`.

    Raises:
        TooLarge: It is, or says that it is, larger than the limit of bytes.
        Invalid: Nothing came for a minute, or it ended early.
        DataError: It is not what its Content-Digest says.
        ClientDisconnect: The connection broke off.
    """
    too_large = TooLarge(f"the file is larger than {limit} bytes", where=request.url.path)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    waiting, size = bytearray(), 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise Invalid(f"nothing of the body arrived for {SILENCE_S} s") from error
        if piece is not None:
            waiting += piece
            size += len(piece)
            if size > limit:
                raise too_large
        if len(waiting) >= PIECE_BYTES or (piece is None and waiting):
            await run_in_threadpool(body.write, waiting)
            waiting = bytearray()
        if piece is None:
            break
    if declared.isdecimal() and int(declared) != body.size:
        raise DataError(f"the body has {body.size} bytes, its header says {declared}")
    sent = announced_sha256(request)
    if sent is not None and sent != body.sha256:
        raise DataError("the body is not what its Content-Digest says", remedy="send it again")


def announced_sha256(request: Request) -> bytes | None:
    """The hash that the sender tells (RFC 9530), None when there is none of this kind."""
    found = _SHA256.search(request.headers.get("content-digest", ""))
    try:
        return base64.b64decode(found[1], validate=True) if found else None
    except binascii.Error as error:
        raise Invalid("the header Content-Digest cannot be read") from error
