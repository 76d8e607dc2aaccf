"""The least that a flood costs: a process that refuses whatever it is asked, at once and with 503.

Where the load generator has no processors of its own it takes time from the service, whoever it asks. Beside this one
instead of the service it shows how much of a delay is the generator's, and how much the service's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import uvloop

__all__ = ["Refusing"]

BODY = b'{"error_code":"TEMPORARILY_UNAVAILABLE","message":"too many requests are waiting"}'
REPLY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nretry-after: 1\r\n\r\n%s" % (len(BODY), BODY)
)


class _Refuses(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            at = self._buffer.lower().find(b"content-length:", 0, end)
            length = int(self._buffer[at + 15 : self._buffer.find(b"\r", at)]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._transport.write(REPLY)
            self._buffer = self._buffer[end + 4 + length :]


class Refusing:
    """Runs it. A context manager that ends it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._process.stdout.close()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Refuses, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
