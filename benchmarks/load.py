"""Ask one address over kept-alive connections, each sending its next request when the last one is answered.

Reads what to do as JSON from standard input, prints what came of it as JSON. In the headers and the body `{n}` becomes
a number that no other request has, counted from `first`; where `points` is given, the body holds that many copies of
`point`, separated by commas, between `before` and `after`, each with a number of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from typing import Any

import uvloop


class Load:
    """The requests to send and what came back."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self.taken: list[float] = []
        self.failed = 0
        self.said = ""
        self.began = 0.0
        self.open = 0
        self.finished = asyncio.get_running_loop().create_future()
        self._number = count(wanted.get("first", 0))
        self._limit = wanted["limit"] + self._first
        names = {"content-type": "application/json"} | wanted.get("headers", {})
        lines = [f"POST {wanted['path']} HTTP/1.1", f"host: {wanted['host']}:{wanted['port']}"]
        self._head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in names.items()), ""]).encode()
        numbers = range(self._first, self._limit) if wanted.get("points") else ()
        self._made = {number: self._request(number) for number in numbers}  # large ones before the clock runs

    @property
    def _first(self) -> int:
        return self.wanted.get("first", 0)

    def next(self) -> bytes | None:
        """One more request; None when it is time to stop."""
        number = next(self._number)
        if number >= self._limit or time.perf_counter() - self.began > self.wanted["seconds"]:
            return None
        return self._made.get(number) or self._request(number)

    def _request(self, number: int) -> bytes:
        head, body = self._head.replace(b"{n}", str(number).encode()), self._body(number)
        return b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)

    def _body(self, number: int) -> bytes:
        points = self.wanted.get("points")
        if not points:
            return self.wanted["body"].replace("{n}", str(number)).encode()
        made = ",".join(self.wanted["point"].replace("{n}", str(number * points + i)) for i in range(points))
        return (self.wanted["before"] + made + self.wanted["after"]).encode()


class Client(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._load.open += 1

    def begin(self) -> None:
        request = self._load.next()
        if request is None:
            self._transport.close()
        else:
            self._sent = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].partition(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        load = self._load
        load.taken.append(time.perf_counter() - self._sent)
        if head[9:12] != b"200":
            load.failed += 1
            load.said = self._buffer[end + 4 :].decode(errors="replace")[:500]
        self._buffer = b""
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.open -= 1
        if exc is not None:
            self._load.failed, self._load.said = self._load.failed + 1, str(exc)
        if not self._load.open and not self._load.finished.done():
            self._load.finished.set_result(None)


async def main(wanted: dict[str, Any]) -> dict[str, Any]:
    load = Load(wanted)
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for _ in range(wanted["clients"]):
        _, client = await loop.create_connection(lambda: Client(load), wanted["host"], wanted["port"])
        clients.append(client)
    load.began = time.perf_counter()
    for client in clients:
        client.begin()
    await load.finished
    seconds = time.perf_counter() - load.began
    taken = sorted(load.taken)
    return {
        "answered": len(taken),
        "seconds": seconds,
        "per_s": len(taken) / seconds,
        "p50_ms": taken[len(taken) // 2] * 1e3 if taken else None,
        "p99_ms": taken[len(taken) * 99 // 100] * 1e3 if taken else None,
        "failed": load.failed,
        "said": load.said,
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main(json.load(sys.stdin)))))
