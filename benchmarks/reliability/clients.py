"""S11 and S12: clients that are slow on purpose, and payloads that are not what they say."""

from __future__ import annotations

import gzip
import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from service import Running
from traffic.asking import Asking, ask

from reliability.trial import SOURCES, Held, Trial, ms

__all__ = ["lying", "slow"]

LIMIT = 10 * 1024 * 1024


def slow(trial: Trial) -> list[Held]:
    """1,000 connections that send a byte now and then, in the headers or in the body, beside ordinary callers."""
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.linear(workspace, 1)))
    count = 1000
    found = list[Held]()
    with trial.start(workspace) as running:
        load = trial.load(running)
        alone = ask(trial.opened(load, 200.0, 8.0, clients=64))
        for name, first, drip, limit in (
            ("headers", b"POST /predict/wage HTTP/1.1\r\nhost: localhost\r\n", b"x-a: b\r\n", 10.0),
            ("body", b"POST /predict/wage HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n{", b" ", 60.0),
            ("nothing at all", b"", b"", 10.0),
        ):
            watch_s = limit + 5.0 if not trial.short or limit <= 10 else 12.0
            with Asking(trial.opened(load, 200.0, 2 * watch_s, clients=64)) as asking:
                asking.begun()
                crowd = _Crowd(running, count)
                crowd.begin(first)
                closed = crowd.drip(drip, watch_s)
                told = asking.stop()
            crowd.close()
            moved = told["accepted"]["p99"] / alone["accepted"]["p99"]
            lost = told["failed"] + told["refused"] + told["wrong"]
            found.append(
                Held(
                    f"{count} connections with slow {name}: p99 of others at most 1.5 x, none lost",
                    f"{moved:.2f} x ({ms(alone['accepted']['p99'])} to {ms(told['accepted']['p99'])}); {lost} lost of "
                    f"{told['requests']:,}; {crowd.refused} of the slow ones were not let in",
                    moved <= 1.5 and lost == 0,
                )
            )
            rest = crowd.count - len(closed)
            # A body that comes below 1 KiB/s is cut off earlier than one that is merely long.
            says = "10 s" if limit <= 10 else "60 s, or below 1 KiB/s"
            if watch_s <= limit and rest:
                measured = f"{len(closed)} closed within the {watch_s:g} s that a short run looks"
                found.append(Held(f"slow {name}: closed after {says}", measured, None))
                continue
            last = max(closed, default=0.0)
            found.append(
                Held(
                    f"slow {name}: closed after {says}",
                    f"{len(closed)} of {crowd.count} closed, the last after {last:.1f} s"
                    + (f"; {rest} still open" if rest else ""),
                    rest == 0 and last <= limit + 2.0,
                )
            )
    return found


class _Crowd:
    """Many connections, each with its own address and port."""

    def __init__(self, running: Running, count: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._opened: dict[int, float] = {}
        self.refused = 0
        for i in range(count):
            sock = socket.socket()
            try:
                source = SOURCES[i % len(SOURCES)]
                if source:
                    sock.bind((source, 0))
                sock.settimeout(2.0)
                sock.connect((running.host, running.port))
            except OSError:
                self.refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._opened[sock.fileno()] = time.perf_counter()
        self.count = len(self._sockets)

    def begin(self, data: bytes) -> None:
        self._send(data)

    def drip(self, data: bytes, seconds: float) -> list[float]:
        """Send a little each second; after how long each connection was closed."""
        closed = list[float]()
        ends = time.perf_counter() + seconds
        poll = select.poll()
        for fd in self._sockets:
            poll.register(fd, select.POLLIN)
        last = time.perf_counter()
        while self._sockets and time.perf_counter() < ends:
            for fd, _ in poll.poll(100):
                if self._ended(fd):
                    closed.append(time.perf_counter() - self._opened[fd])
                    poll.unregister(fd)
                    self._sockets.pop(fd).close()
            if data and time.perf_counter() - last >= 1.0:
                last = time.perf_counter()
                self._send(data)
        return closed

    def _ended(self, fd: int) -> bool:
        try:
            return not self._sockets[fd].recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _send(self, data: bytes) -> None:
        for sock in self._sockets.values():
            try:
                sock.send(data)
            except OSError:
                continue  # the end of it is seen when it is read

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()


def lying(trial: Trial) -> list[Held]:
    """Each of these on a connection of its own; then a good request."""
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.linear(workspace, 1)))
    good = json.dumps({"records": [{"x": 1.0}]}).encode()
    found = list[Held]()
    with trial.start(workspace) as running:
        payloads = _payloads(good)
        _sent(running, payloads[0][1])  # starts the process for large requests, whose memory is no growth
        before = running.memory()["pss_mb"]
        for what, payload, allowed in payloads:
            status, took = _sent(running, payload)
            found.append(
                Held(f"{what}: {_said(allowed)}", f"{status or 'closed'} after {took:.2f} s", status in allowed)
            )
        grown = running.memory()["pss_mb"] - before
        alive = running.answers("wage", {"x": 1.0})
        found.append(
            Held(
                "the service goes on, memory + 50 MB at most",
                f"{'answers' if alive else 'dead'}, {grown:+.1f} MB",
                alive and grown <= 50,
            )
        )
    return found


def _said(allowed: tuple[int, ...]) -> str:
    return " or ".join("the connection is closed" if status == 0 else str(status) for status in allowed)


Payload = tuple[str, Callable[[socket.socket], None] | bytes, tuple[int, ...]]


def _payloads(good: bytes) -> list[Payload]:
    def head(*lines: str) -> bytes:
        every = ("POST /predict/wage HTTP/1.1", "host: localhost", "content-type: application/json", *lines)
        return ("\r\n".join(every) + "\r\n\r\n").encode()

    def endless(sock: socket.socket) -> None:
        """Chunks without end; stops when the other side has had enough."""
        sock.sendall(head("transfer-encoding: chunked"))
        for _ in range(400):
            sock.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    def one_below(sock: socket.socket) -> None:
        body = good + b" " * (LIMIT - len(good))
        sock.sendall(head(f"content-length: {len(body)}") + body)

    def one_above(sock: socket.socket) -> None:
        sock.sendall(head(f"content-length: {LIMIT + 1}") + b" " * 1000)

    bomb = gzip.compress(b" " * (64 * LIMIT), 9)
    size = f"content-length: {len(good)}"
    return [
        ("a body of exactly 10 MiB", one_below, (200,)),
        ("a body said to have one byte more", one_above, (413,)),
        ("a body said to have 10^18 bytes", head("content-length: 1000000000000000000") + b"{", (413,)),
        ("chunks without end", endless, (413, 0)),
        ("headers of 64 KiB", head(f"x-a: {'a' * 65536}", size) + good, (431, 400)),
        ("5,000 headers", head(*(f"x-{i}: a" for i in range(5000)), size) + good, (431, 400)),
        ("a path of 64 KiB", b"POST /predict/" + b"a" * 65536 + b" HTTP/1.1\r\nhost: a\r\n\r\n", (414, 431, 400, 404)),
        ("a gzip bomb of 640 MiB", head("content-encoding: gzip", f"content-length: {len(bomb)}") + bomb, (413, 415)),
        ("gzip that is none", head("content-encoding: gzip", size) + good, (400, 415, 422)),
        ("an encoding nobody knows", head("content-encoding: zebra", size) + good, (415, 400)),
        ("two lengths that differ", head("content-length: 5", size) + good, (400, 0)),
        ("a length and chunks", head("transfer-encoding: chunked", size) + good, (400, 0)),
        ("a negative length", head("content-length: -1") + good, (400, 0)),
        ("a length that is no number", head("content-length: 1e3") + good, (400, 0)),
        ("a chunk whose size is no number", head("transfer-encoding: chunked") + b"zz\r\n" + good, (400, 0)),
        ("a chunk said to have 2^64 bytes", head("transfer-encoding: chunked") + b"f" * 18 + b"\r\n", (400, 413, 0)),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, (400, 0)),
        ("HTTP of a version to come", b"POST /predict/wage HTTP/9.9\r\nhost: localhost\r\n\r\n", (400, 505, 0)),
        ("a line without an end", b"POST " + b"a" * 200_000, (400, 414, 431, 0)),
        ("a NUL in a header", head("x-a: a\0b", size) + good, (400, 0)),
    ]  # fmt: skip


def _sent(running: Running, payload: Any) -> tuple[int, float]:
    """The status of the answer, 0 when the connection was closed without one."""
    began = time.perf_counter()
    with socket.create_connection((running.host, running.port), timeout=20.0) as sock:
        try:
            payload(sock) if callable(payload) else sock.sendall(payload)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has had enough; what it said is read below
        got = b""
        try:
            while b"\r\n" not in got and (came := sock.recv(65536)):
                got += came
        except ConnectionResetError:
            pass
        except TimeoutError:
            return -1, time.perf_counter() - began
    words = got.split(None, 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), time.perf_counter() - began
