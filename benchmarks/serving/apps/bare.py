"""The least that HTTP costs in Python: an asyncio protocol on uvloop that parses a row and answers a constant.

python bare.py PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import orjson
import uvloop

ANSWER = b'{"predictions":[0]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


class Bare(asyncio.Protocol):
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
            if length:
                orjson.loads(self._buffer[end + 4 : end + 4 + length])
            self._transport.write(REPLY)
            self._buffer = self._buffer[end + 4 + length :]


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port, backlog=1024)
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
