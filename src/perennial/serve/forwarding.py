"""One front asks another: a client's key is one front's affair, whichever of them the client reached.

Over sockets in a folder that only this user can enter; the other front answers as it would answer the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httptools

from perennial.errors import PerennialError, Unavailable
from perennial.serve.protocols.protocol import HttpRequest, Reply

__all__ = ["address_of", "forward"]

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
    address: Path, request: HttpRequest, timeout_s: float, told: Callable[[Reply | PerennialError], None]
) -> None:
    """Ask the front at this address; `told` gets its reply, or why there is none."""
    try:
        async with asyncio.timeout(timeout_s):
            told(await _ask(address, request))
    except (OSError, TimeoutError, httptools.HttpParserError):
        told(Unavailable("the process that knows this key is not there", remedy="try again in a moment"))


async def _ask(address: Path, request: HttpRequest) -> Reply:
    reader, writer = await asyncio.open_unix_connection(str(address))
    try:
        query = f"?{request.query}" if request.query else ""
        path = "".join(f"%{byte:02X}" if byte in b" %?#" or byte > 126 else chr(byte) for byte in request.path.encode())
        lines = [f"{request.method} {path}{query} HTTP/1.1".encode("latin-1")]
        lines += [b"%b: %b" % header for header in request.headers.items() if header[0] not in _DROPPED]
        lines += [b"content-length: %d" % len(request.body), b"connection: close", b"", request.body]
        writer.write(b"\r\n".join(lines))
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
