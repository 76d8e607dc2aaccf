"""One front asks another: a client's key is one front's affair, whichever of them the client reached, and so is what is
large, which would hold up the others (a front that answers large requests is started with the first of them).

Over sockets in a folder that only this user can enter; the other front answers as it would answer the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httptools

from perennial.errors import PerennialError, Unavailable
from perennial.serve.protocols.protocol import HttpRequest, Reply

__all__ = ["LARGE_BYTES", "address_of", "forward"]

LARGE_BYTES = 1_000_000  # of a body: 30 MB held a front up for 0.85 s, so this much some 30 ms
STARTING_S = 0.02  # how soon it is seen that the other front is there

_DROPPED = frozenset({b"connection", b"transfer-encoding", b"content-length", b"content-encoding", b"expect"})


def address_of(private: Path, front: int) -> Path:
    """Where this front listens to its siblings."""
    return private / f"front-{front}"


class _Response:
    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.kind = b"application/json"
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self.kind = value
        elif name not in (b"content-length", b"connection"):
            self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = True


async def forward(
    address: Path,
    request: HttpRequest,
    timeout_s: float,
    told: Callable[[Reply | PerennialError], None],
    *,
    waits: bool = False,
) -> None:
    """Ask the front at this address; `told` gets its reply, or why there is none. `waits`: it may be starting yet."""
    try:
        async with asyncio.timeout(timeout_s):
            told(await _ask(address, request, waits=waits))
    except (OSError, TimeoutError, httptools.HttpParserError):
        told(Unavailable("the process that is to answer this is not there", remedy="try again in a moment"))


async def _connected(address: Path, *, waits: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_unix_connection(str(address))
        except (FileNotFoundError, ConnectionRefusedError):
            if not waits:
                raise
            await asyncio.sleep(STARTING_S)


async def _ask(address: Path, request: HttpRequest, *, waits: bool) -> Reply:
    reader, writer = await _connected(address, waits=waits)
    try:
        query = f"?{request.query}" if request.query else ""
        path = "".join(f"%{byte:02X}" if byte in b" %?#" or byte > 126 else chr(byte) for byte in request.path.encode())
        lines = [f"{request.method} {path}{query} HTTP/1.1".encode("latin-1")]
        lines += [b"%b: %b" % header for header in request.headers.items() if header[0] not in _DROPPED]
        if request.is_packed:
            lines.append(b"content-encoding: %b" % request.headers[b"content-encoding"])
        lines += [b"content-length: %d" % len(request.body), b"connection: close", b"", b""]
        writer.write(b"\r\n".join(lines))
        writer.write(request.body)
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        while not response.is_whole:
            data = await reader.read(65536)
            if not data:
                raise OSError("it ended in the middle of its answer")
            parser.feed_data(data)
        return Reply(
            status=parser.get_status_code(), body=b"".join(response.body), kind=response.kind, headers=response.headers
        )
    finally:
        writer.close()
