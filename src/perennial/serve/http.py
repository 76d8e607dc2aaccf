"""HTTP/1.1 at protocol level: one `Connection` for each client, nothing between the bytes and the answer.

An ASGI server costs as much as a model here, and has no limits for clients that send slowly. Limits (RELIABILITY 9):
headers within 10 s and 16 KiB, a body within 60 s, at least 1 KiB/s and under the limit, expanded size and ratio of
what is compressed, requests that wait on one connection. What is over a limit is refused before the rest is read.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import httptools

from perennial.serve.protocols.protocol import HttpRequest, Reply

__all__ = ["Connection", "Connections", "Handler", "Limits"]

MAX_HEAD = 16 * 1024  # bytes of request line and headers: 431 beyond
MAX_PATH = 8 * 1024
HEAD_S = 10.0  # to receive the headers, from their first byte
BODY_S = 60.0
BODY_RATE = 1024.0  # bytes per second that a body must come with at least, once it takes longer than a moment
SLOW_S = 10.0  # that moment
IDLE_S = 75.0  # between two requests
WRITE_S = 60.0  # for a client that does not read its answer
AHEAD = 16  # requests that one connection may have waiting
RATIO = 200  # of what is expanded to what was sent
SWEEP_S = 1.0
LINGER_S = 1.0  # for a client that sends its whole body before it looks at the answer
LINGER_BYTES = 64 * 1024 * 1024
_REASONS = {
    200: b"OK", 202: b"Accepted", 204: b"No Content", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden",
    404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict",
    411: b"Length Required", 413: b"Content Too Large", 415: b"Unsupported Media Type", 422: b"Unprocessable Content",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 503: b"Service Unavailable", 504: b"Gateway Timeout", 507: b"Insufficient Storage",
}  # fmt: skip
_OF_UPGRADES = frozenset({b"connection", b"upgrade", b"http2-settings"})
_LINES = {status: b"HTTP/1.1 %d %s\r\ncontent-type: " % (status, reason) for status, reason in _REASONS.items()}
_JSON_OK = _LINES[200] + b"application/json\r\ncontent-length: "

Handler = Callable[[HttpRequest, "Connection", int], None]
"""Takes a whole request, its connection, and its ticket: `Connection.reply(ticket, reply)` answers it, at any time."""


class Limits:
    """What of a request is taken at most. `refuse` makes the reply to what is over: (status, code, message).

    Of a compressed body no more than `expands` bytes are expanded here: what is larger goes to the handler as it came.
    """

    def __init__(
        self, max_body: int, refuse: Callable[[int, str, str], Reply], *, connections: int = 10_000,
        expands: int | None = None,
    ) -> None:  # fmt: skip
        self.expands = max_body if expands is None else expands
        self.max_body = max_body
        self.refuse = refuse
        self.connections = connections


class Connections:
    """All connections of one process: makes them, cuts the slow ones off, ends them.

    `handler` gets the requests; `peer` says who forwarded them (a socket between the processes of the service).
    """

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler = handler
        self.limits = limits
        self.open: set[Connection] = set()
        self.is_draining = False
        self.giving: Callable[[int], bool] | None = None
        self.refused = 0
        self._timer: asyncio.TimerHandle | None = None

    def make(self) -> Connection:
        return Connection(self)

    def begin(self) -> None:
        """Start to look after slow clients."""
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.open):
            connection.check(now)
        self.begin()

    def drain(self) -> None:
        """Answer what was asked; each connection is closed with its next answer, or when it stays idle."""
        self.is_draining = True

    def give(self, giving: Callable[[int], bool]) -> None:
        """Give each connection away that waits for a request, at once or with its next answer; call it again and again.

        `giving` gets the descriptor and says whether somebody took it. What cannot be given away (TLS has a state of
        its own) is answered once more and closed with that answer.
        """
        self.is_draining = True
        self.giving = giving
        for connection in list(self.open):
            connection.give(giving)

    def finish(self) -> None:
        """Take no more requests; what was answered still goes out."""
        for connection in list(self.open):
            connection.finish()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.open):
            connection.close()

    @property
    def busy(self) -> int:
        """Connections with a request that is not answered yet."""
        return sum(connection.is_busy for connection in self.open)


class Connection(asyncio.Protocol):
    """One client. Requests on one connection are answered in their order."""

    __slots__ = (
        "_answers", "_chunks", "_connections", "_due", "_head", "_headers", "_is_closing", "_is_full", "_lingered",
        "_next", "_parser", "_receiving", "_started", "_state", "_tickets", "_transport", "_unfinished", "_url",
        "_write_due",
    )  # fmt: skip

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = None
        self._tickets: deque[int] = deque()  # of requests that are not answered, oldest first
        self._answers: dict[int, tuple[bytes, bool]] = {}  # those that wait for an older one
        self._next = 0
        self._is_closing = self._is_full = False
        self._lingered = 0
        self._due = time.monotonic() + HEAD_S
        self._write_due = 0.0
        self._reset()

    def _reset(self) -> None:
        self._state = "idle"
        self._head = self._unfinished = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._receiving = 0
        self._started = 0.0

    # from the network

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        connections = self._connections
        if len(connections.open) >= connections.limits.connections:
            connections.refused += 1
            self._fail(503, "TEMPORARILY_UNAVAILABLE", "too many connections")
        connections.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        self._connections.open.discard(self)

    def eof_received(self) -> bool:
        # Half-closed clients still get what they asked for.
        if not self._tickets:
            return False
        self._is_closing = True
        return True

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self._transport.abort()
            return
        if self._state == "idle":
            self._state = "head"
            self._due = time.monotonic() + HEAD_S
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self._stay(data[error.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._is_closing:
                self._fail(400, "INVALID_PARAMETER_VALUE", f"this is not HTTP/1.1: {error}")
            return
        if self._state == "head":
            self._unfinished += len(data)
            if self._unfinished > 2 * MAX_HEAD:  # a header that does not end, which the parser keeps for itself
                self._fail(431, "INVALID_PARAMETER_VALUE", f"the headers have over {MAX_HEAD} bytes")

    # from the parser

    def on_message_begin(self) -> None:
        if self._state != "head":  # the next one of several in one piece
            self._state = "head"
            self._due = time.monotonic() + HEAD_S

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._measure(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._state == "head":  # else it stands behind the body, where nothing that matters may come
            self._headers[name.lower()] = value
        self._measure(len(name) + len(value) + 4)

    def _measure(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            self._fail(431, "INVALID_PARAMETER_VALUE", f"the headers have over {MAX_HEAD} bytes")

    def _stay(self, rest: bytes) -> None:
        """Read a request that asks for another protocol, as some clients always do, as one that does not."""
        if self._is_closing:
            return
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._fail(501, "NOT_IMPLEMENTED", "this service is no proxy")
            return
        kept = [b"%b: %b\r\n" % told for told in self._headers.items() if told[0] not in _OF_UPGRADES]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self._url, b"".join(kept))
        self._reset()
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def on_headers_complete(self) -> None:
        if self._is_closing or self._parser.should_upgrade():
            return
        now = time.monotonic()
        self._state = "body"
        self._started = now
        self._due = now + BODY_S
        headers = self._headers
        if len(self._url) > MAX_PATH:
            self._fail(431, "INVALID_PARAMETER_VALUE", f"the address has over {MAX_PATH} bytes")
            return
        length = headers.get(b"content-length")
        if length is not None:
            if b"transfer-encoding" in headers:
                self._fail(400, "INVALID_PARAMETER_VALUE", "a request has a content-length or a transfer-encoding")
            elif int(length) > self._connections.limits.max_body:
                self._too_large(int(length))
        if headers.get(b"expect", b"").lower() == b"100-continue" and not self._is_closing:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._is_closing:
            return
        self._chunks.append(body)
        self._receiving += len(body)
        if self._receiving > self._connections.limits.max_body:
            self._too_large(self._receiving)

    def on_message_complete(self) -> None:
        if self._is_closing or self._parser.should_upgrade():
            return
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        headers = self._headers
        method: str = self._parser.get_method().decode("latin-1")
        path, _, query = self._url.partition(b"?")
        is_packed = False
        if b"content-encoding" in headers:
            expanded = self._expand(headers[b"content-encoding"].lower(), body)
            if self._is_closing:
                return
            if expanded is None:
                is_packed = True
            else:
                body = expanded
        try:
            decoded = unquote_to_bytes(path).decode() if b"%" in path else path.decode()
        except UnicodeDecodeError:
            self._fail(400, "INVALID_PARAMETER_VALUE", "the address is not UTF-8")
            return
        request = HttpRequest(method=method, path=decoded, query=query.decode("latin-1"), headers=headers, body=body)
        request.is_packed = is_packed
        keep = self._parser.should_keep_alive()
        ticket = self._next
        self._next += 1
        self._tickets.append(ticket)
        self._reset()
        self._due = time.monotonic() + IDLE_S
        if not keep:
            self._is_closing = True
        if len(self._tickets) > AHEAD:
            self._is_full = True
            self._transport.pause_reading()
        self._connections.handler(request, self, ticket)

    def _expand(self, coding: bytes, body: bytes) -> bytes | None:
        """What was compressed; None when it is larger than what is expanded here, or was refused."""
        if coding in (b"identity", b""):
            return body
        if coding not in (b"gzip", b"x-gzip", b"deflate"):
            self._fail(415, "INVALID_PARAMETER_VALUE", f"the encoding {coding.decode('latin-1')!r} is not known here")
            return None
        limits = self._connections.limits
        limit = min(limits.max_body, max(RATIO * len(body), 64 * 1024))
        if len(body) > limits.expands:
            return None
        try:
            unzip = zlib.decompressobj(31 if b"gzip" in coding else 15)
            found = unzip.decompress(body, min(limit, limits.expands) + 1)
        except zlib.error as error:
            self._fail(400, "INVALID_PARAMETER_VALUE", f"the body is not {coding.decode()}: {error}")
            return None
        if len(found) > limits.expands and limit > limits.expands:
            return None
        if len(found) > limit:
            self._too_large(len(found))
            return None
        if not unzip.eof or unzip.unused_data:
            self._fail(400, "INVALID_PARAMETER_VALUE", f"the body is not one whole piece of {coding.decode()}")
            return None
        return found

    # to the network

    def reply(self, ticket: int, reply: Reply, *, is_head: bool = False) -> None:
        """Answer the request with this ticket; kept until the older ones of this connection are answered."""
        transport = self._transport
        if transport.is_closing():
            return
        tickets = self._tickets
        connections = self._connections
        is_last = (
            self._is_closing or (connections.is_draining and not (connections.giving is not None and self._can_move))
        ) and ticket == self._next - 1
        data = _bytes(reply, is_last=is_last, is_head=is_head)
        if tickets and tickets[0] == ticket:
            tickets.popleft()
            transport.write(data)
            while tickets and tickets[0] in self._answers:
                more, last = self._answers.pop(tickets.popleft())
                transport.write(more)
                is_last = is_last or last
            if is_last:
                self._end()
            elif connections.giving is not None and not tickets and self._state == "idle":
                transport.pause_reading()  # the next request is the next front's
            elif self._is_full and len(tickets) <= AHEAD // 2:
                self._is_full = False
                transport.resume_reading()
        else:
            self._answers[ticket] = (data, is_last)

    def _end(self) -> None:
        self._is_closing = True
        self._transport.close()

    def _too_large(self, length: int) -> None:
        limit = self._connections.limits.max_body
        self._fail(413, "INVALID_PARAMETER_VALUE", f"the body has {length} bytes or more, the limit is {limit}")

    def _fail(self, status: int, code: str, message: str) -> None:
        """Refuse what cannot be a request, and close when the client has had time to see why."""
        if self._is_closing:
            return
        self._is_closing = True
        data = _bytes(self._connections.limits.refuse(status, code, message), is_last=True, is_head=False)
        if self._tickets:  # older requests of this connection are answered first
            self._tickets.append(self._next)
            self._answers[self._next] = (data, True)
            self._next += 1
            return
        self._transport.write(data)
        # Closing at once would reset the connection, and the answer be lost to a client that still sends.
        self._due = time.monotonic() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def pause_writing(self) -> None:
        self._write_due = time.monotonic() + WRITE_S
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._write_due = 0.0
        self._transport.resume_reading()

    # looking after

    @property
    def is_busy(self) -> bool:
        return bool(self._tickets)

    def check(self, now: float) -> None:
        """Cut a client off that takes too long, or that stays idle while the service ends."""
        if self._write_due and now > self._write_due:
            self._transport.abort()
            return
        if self._tickets:
            return
        if self._is_closing:
            if now > self._due:
                self._transport.abort()
            return
        if self._state == "body":
            took = now - self._started
            if now > self._due or (took > SLOW_S and self._receiving < BODY_RATE * took):
                self._fail(408, "INVALID_PARAMETER_VALUE", "the body comes too slowly")
        elif self._state == "head":
            if now > self._due:
                self._fail(408, "INVALID_PARAMETER_VALUE", "the headers come too slowly")
        elif now > self._due or (self._connections.is_draining and self._connections.giving is None):
            self._transport.close()

    def give(self, giving: Callable[[int], bool]) -> None:
        """Give this connection away, if nothing of a request or an answer is here."""
        transport = self._transport
        if self._tickets or self._is_closing or not self._can_move:
            return
        if self._state != "idle":  # half a request is here, and its end shall come
            transport.resume_reading()
            return
        if transport.is_closing() or transport.get_write_buffer_size() > 0:
            return
        transport.pause_reading()
        if giving(transport.get_extra_info("socket").fileno()):
            self._is_closing = True
            transport.abort()  # our descriptor alone: the connection lives on with the other one

    @property
    def _can_move(self) -> bool:
        return self._transport.get_extra_info("ssl_object") is None

    def finish(self) -> None:
        self._end()

    def close(self) -> None:
        self._transport.abort()


def _bytes(reply: Reply, *, is_last: bool, is_head: bool) -> bytes:
    body = reply.body
    if reply.status == 200 and reply.kind == b"application/json" and not (reply.headers or is_last or is_head):
        return b"%b%d\r\n\r\n%b" % (_JSON_OK, len(body), body)
    line = _LINES.get(reply.status) or b"HTTP/1.1 %d -\r\ncontent-type: " % reply.status
    pieces = [line, reply.kind, b"\r\ncontent-length: %d\r\n" % len(body)]
    if reply.status in (429, 503) and not any(name == b"retry-after" for name, _ in reply.headers):
        pieces.append(b"retry-after: 1\r\n")
    pieces += [b"%b: %b\r\n" % header for header in reply.headers]
    if is_last:
        pieces.append(b"connection: close\r\n")
    pieces += [b"\r\n", b"" if is_head else body]
    return b"".join(pieces)
