"""Kept-alive HTTP/1.1 connections over bare sockets, as little as a load generator needs."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Any, NamedTuple

__all__ = ["READ", "WRITE", "Connection", "Poller", "Response", "response_in"]

_BIND_ADDRESS_NO_PORT = 24  # Linux: the port is chosen when connecting, so that many connections share few ports
READ, WRITE = 1, 4  # as epoll counts them


class Poller:
    """Which sockets are ready. `wait` takes fractions of a millisecond seriously, as a schedule needs."""

    def __init__(self) -> None:
        self._queue: Any = select.epoll() if hasattr(select, "epoll") else _Queue()

    def add(self, fd: int, events: int = READ) -> None:
        self._queue.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._queue.modify(fd, events)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        ready = self._queue.poll(0)
        if ready or seconds <= 0:
            return ready
        if seconds >= 0.01:
            return self._queue.poll(seconds)
        # epoll waits for whole milliseconds; select on epoll's own descriptor does not.
        select.select([self._queue.fileno()], [], [], seconds)
        return self._queue.poll(0)


class _Queue:
    """kqueue with epoll's methods."""

    def __init__(self) -> None:
        self._queue = select.kqueue()  # type: ignore[attr-defined]

    def fileno(self) -> int:
        return self._queue.fileno()

    def register(self, fd: int, events: int) -> None:
        self.modify(fd, events)

    def modify(self, fd: int, events: int) -> None:
        kinds = {READ: select.KQ_FILTER_READ, WRITE: select.KQ_FILTER_WRITE}  # type: ignore[attr-defined]
        for flag, kind in kinds.items():
            action = select.KQ_EV_ADD if events & flag else select.KQ_EV_DELETE  # type: ignore[attr-defined]
            with contextlib.suppress(FileNotFoundError):
                self._queue.control([select.kevent(fd, kind, action)], 0, 0)  # type: ignore[attr-defined]

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        write = select.KQ_FILTER_WRITE  # type: ignore[attr-defined]
        return [(e.ident, WRITE if e.filter == write else READ) for e in self._queue.control(None, 1024, seconds)]


class Connection:
    """One socket and the request under way on it. `due` is when that request was to be sent, `sent` when it was."""

    __slots__ = ("_sock", "attempt", "buffer", "due", "fd", "rest", "sample", "sent")

    def __init__(self, host: str, port: int, source: str = "") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if source:
                with contextlib.suppress(OSError):  # only a saving
                    self._sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                self._sock.bind((source, 0))
            self._sock.settimeout(10.0)
            self._sock.connect((host, port))
        except OSError:
            self._sock.close()
            raise
        self._sock.setblocking(False)
        self.fd = self._sock.fileno()
        self.buffer = b""
        self.rest = b""
        self.sample = self.attempt = 0
        self.due = self.sent = 0.0

    def send(self, request: bytes) -> bool:
        """Whether all of it went out; if not, call `flush` when the socket takes more."""
        self.buffer = b""
        count = self._sock.send(request)
        self.rest = request[count:] if count < len(request) else b""
        return not self.rest

    def flush(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.rest = self.rest[self._sock.send(self.rest) :]
        return not self.rest

    def receive(self) -> bytes:
        """What has come; nothing when the other side closed."""
        return self._sock.recv(262_144)

    def close(self) -> None:
        self._sock.close()


class Response(NamedTuple):
    """A whole response."""

    status: int
    body: bytes
    closes: bool
    has_retry_after: bool


class _Head(NamedTuple):
    """What matters in the lines before a body; a negative length is `CHUNKED` or `UNTIL_CLOSED`."""

    status: int
    length: int
    closes: bool
    has_retry_after: bool


CHUNKED, UNTIL_CLOSED = -1, -2
MAX_HEADS = 10_000
_heads: dict[bytes, _Head] = {}  # most responses of a second have the same lines, so they are read once


def response_in(buffer: bytes, *, ended: bool = False) -> Response | None:
    """The response in this buffer; None while a part is missing. `ended`: the other side closed."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = buffer[:end]
    head = _heads.get(lines) or _read(lines)
    body = buffer[end + 4 :]
    if head.length >= 0:
        if len(body) < head.length:
            return None
    elif head.length == CHUNKED:
        if not body.endswith(b"0\r\n\r\n"):
            return None
        body = _joined(body)
    elif not ended:
        return None
    return Response(head.status, body, head.closes, head.has_retry_after)


def _read(lines: bytes) -> _Head:
    small = lines.lower()
    at = small.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(small[at + 17 :].partition(b"\r\n")[0])
    else:
        length = CHUNKED if b"\r\ntransfer-encoding: chunked" in small else UNTIL_CLOSED
    closes = b"\r\nconnection: close" in small or length == UNTIL_CLOSED
    head = _Head(int(small[9:12]), length, closes, b"\r\nretry-after:" in small)
    if len(_heads) >= MAX_HEADS:
        _heads.clear()
    _heads[lines] = head
    return head


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        count = int(size.partition(b";")[0], 16)
        if not count:
            break
        body, chunks = body + chunks[:count], chunks[count + 2 :]
    return body
