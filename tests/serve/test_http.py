"""HTTP at protocol level, over a loopback socket: what is a request, in which order answers leave, who is cut off."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from perennial.serve import http
from perennial.serve.http import Connection, Connections, Limits
from perennial.serve.protocols.protocol import HttpRequest, Reply

HEAD = b"POST /predict/wage?a=1 HTTP/1.1\r\nHost: localhost\r\n"


class Server:
    """Answers each request with its method, path and body; those to /late when it is told to, newest first."""

    def __init__(self) -> None:
        self.seen: list[HttpRequest] = []
        self.late: list[tuple[HttpRequest, Connection, int]] = []
        self.connections = Connections(self.handle, Limits(1000, self.refuse, connections=3))
        self.port = 0

    def handle(self, request: HttpRequest, connection: Connection, ticket: int) -> None:
        self.seen.append(request)
        if request.path == "/late":
            self.late.append((request, connection, ticket))
        else:
            connection.reply(ticket, told(request), is_head=request.method == "HEAD")

    def refuse(self, status: int, code: str, message: str) -> Reply:
        return Reply(status=status, body=f"{code}: {message}".encode(), kind=b"text/plain")

    def answer_late(self) -> None:
        while self.late:
            request, connection, ticket = self.late.pop()
            connection.reply(ticket, told(request))

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, data: bytes) -> bytes:
        """All that comes back until the server closes, or nothing more does."""
        reader, writer = await self.open()
        writer.write(data)
        back = await all_of(reader)
        writer.close()
        return back


def told(request: HttpRequest) -> Reply:
    return Reply(body=b"%b %b %b" % (request.method.encode(), request.path.encode(), request.body), kind=b"text/plain")


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not claim():  # noqa: ASYNC110 - the server has no events for tests
            await asyncio.sleep(0.005)


async def all_of(reader: asyncio.StreamReader, count: int = 0) -> bytes:
    """Until the end, or so many answers."""
    back = b""
    while not count or back.count(b"HTTP/1.1 ") < count or not back.endswith(b"."):
        piece = await asyncio.wait_for(reader.read(65536), 60)
        if not piece:
            return back
        back += piece
    return back


@pytest.fixture
def served() -> Callable[[Callable[[Server], Awaitable[None]]], None]:
    def run(work: Callable[[Server], Awaitable[None]]) -> None:
        async def main() -> None:
            server = Server()
            made = await asyncio.get_running_loop().create_server(server.connections.make, "127.0.0.1", 0)
            server.port = made.sockets[0].getsockname()[1]
            server.connections.begin()
            try:
                await work(server)
            finally:
                server.connections.close()
                made.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    return run


def request(body: bytes = b"", *headers: bytes, path: bytes = b"/x", method: bytes = b"POST") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, path), b"host: localhost", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CLOSE = b"connection: close"


def test_a_request_in_any_pieces_is_the_same_request(served: Any) -> None:
    data = HEAD + b"X-A: 1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

    async def work(server: Server) -> None:
        for size in (1, 2, 7, len(data)):
            reader, writer = await server.open()
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await all_of(reader)).endswith(b"\r\n\r\nPOST /predict/wage hello")
            writer.close()
        assert {(seen.path, seen.query, seen.body) for seen in server.seen} == {("/predict/wage", "a=1", b"hello")}
        assert all(seen.headers[b"x-a"] == b"1" for seen in server.seen)

    served(work)


def test_answers_leave_in_the_order_of_their_requests_whenever_they_are_known(served: Any) -> None:
    async def work(server: Server) -> None:
        reader, writer = await server.open()
        paths = [b"/late", b"/one", b"/late", b"/two"]
        writer.write(b"".join(request(b"%d." % at, path=path) for at, path in enumerate(paths)))
        await until(lambda: len(server.seen) == 4)
        server.answer_late()
        back = await all_of(reader, 4)
        bodies = [piece.rpartition(b"\r\n\r\n")[2] for piece in back.split(b"HTTP/1.1 ")[1:]]
        assert bodies == [b"POST /late 0.", b"POST /one 1.", b"POST /late 2.", b"POST /two 3."]
        writer.close()

    served(work)


def test_who_sends_more_ahead_than_may_wait_is_read_on_when_the_first_are_answered(served: Any) -> None:
    async def work(server: Server) -> None:
        reader, writer = await server.open()
        for at in range(60):  # one by one, so that reading can stop in between
            writer.write(request(b"%d." % at, path=b"/late"))
            await writer.drain()
            await asyncio.sleep(0.001)
        back = b""
        while back.count(b"HTTP/1.1 200") < 60:
            assert len(server.late) <= 60
            server.answer_late()
            back += await asyncio.wait_for(reader.read(65536), 60)
        writer.close()

    served(work)


def test_rubbish_behind_a_good_request_does_not_cost_its_answer(served: Any) -> None:
    async def work(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(request(b"0.", path=b"/late") + b"RUBBISH\x00\r\n\r\n")
        await until(lambda: bool(server.late))
        await asyncio.sleep(0.05)
        server.answer_late()
        back = await all_of(reader)
        assert [piece[:3] for piece in back.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]
        writer.close()

    served(work)


@pytest.mark.parametrize(
    "data, status",
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: x\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (HEAD + b"X y: 1\r\n\r\n", b"400"),
        (b"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 1001\r\n\r\n", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001, b"413"),
        (request(b"", path=b"/" + b"a" * 8200, method=b"GET"), b"431"),
        (request(b"", b"x: " + b"a" * 16_400), b"431"),
        (request(b"a", b"content-encoding: br"), b"415"),
        (request(b"no gzip", b"content-encoding: gzip"), b"400"),
        (request(gzip.compress(b"cut", mtime=0)[:-9], b"content-encoding: gzip"), b"400"),
        (request(gzip.compress(b"one", mtime=0) + b"more", b"content-encoding: gzip"), b"400"),
        (request(gzip.compress(b"a" * 1001, mtime=0), b"content-encoding: gzip"), b"413"),
        (request(gzip.compress(b"\0" * 900_000, mtime=0), b"content-encoding: gzip"), b"413"),
    ],
)
def test_what_is_no_request_here_is_refused_and_the_connection_ends(served: Any, data: bytes, status: bytes) -> None:
    async def work(server: Server) -> None:
        back = await server.send(data)
        assert back[:13] == b"HTTP/1.1 %b " % status
        assert b"connection: close" in back
        assert server.seen == []

    served(work)


def test_bodies_may_come_in_chunks_or_compressed(served: Any) -> None:
    async def work(server: Server) -> None:
        trailer = b"content-encoding: br\r\nidempotency-key: k\r\n"
        chunks = b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n" + trailer + b"\r\n"
        await server.send(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)
        await server.send(request(gzip.compress(b"hello"), CLOSE, b"content-encoding: gzip"))
        await server.send(request(zlib.compress(b"hello"), CLOSE, b"content-encoding: deflate"))
        await server.send(request(gzip.compress(b"a" * 1000), CLOSE, b"content-encoding: gzip"))
        assert [seen.body for seen in server.seen] == [b"hello"] * 3 + [b"a" * 1000]
        assert b"idempotency-key" not in server.seen[0].headers  # behind a body nothing is said any more

    served(work)


def test_100_continue_comes_before_the_body_and_only_where_it_will_be_taken(served: Any) -> None:
    async def work(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(HEAD + b"Content-Length: 6\r\nExpect: 100-continue\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello.")
        assert b"200 OK" in await all_of(reader, 1)
        writer.close()
        back = await server.send(HEAD + b"Content-Length: 6000\r\nExpect: 100-continue\r\n\r\n")
        assert (b"413" in back, b"100 Continue" in back) == (True, False)

    served(work)


def test_whoever_wants_another_protocol_is_answered_in_this_one(served: Any) -> None:
    async def work(server: Server) -> None:
        wanted = (b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__")
        data = request(b"hello.", *wanted)
        for size in (1, len(data)):
            reader, writer = await server.open()
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)
            back = await all_of(reader, 1)
            assert back.startswith(b"HTTP/1.1 200 OK")
            assert back.endswith(b"POST /x hello.")
            writer.close()
        assert b"501" in await server.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")

    served(work)


def test_head_has_the_length_and_no_body_and_http_1_0_ends_after_one(served: Any) -> None:
    async def work(server: Server) -> None:
        back = await server.send(request(b"", CLOSE, method=b"HEAD"))
        assert b"content-length: 8" in back  # as of GET: "HEAD /x "
        assert back.endswith(b"\r\n\r\n")
        assert (await server.send(b"GET /x HTTP/1.0\r\n\r\n")).endswith(b"GET /x ")

    served(work)


def test_S11_who_sends_too_slowly_is_cut_off_and_others_are_not(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten seconds and a minute in the service itself; `check` is told the time.
    async def work(server: Server) -> None:
        slow_head, slow_body, idle = await server.open(), await server.open(), await server.open()
        slow_head[1].write(b"GET / HT")
        slow_body[1].write(HEAD + b"Content-Length: 900\r\n\r\na")
        idle[1].write(request(b"."))
        await all_of(idle[0], 1)
        now = asyncio.get_running_loop().time()
        every = list(server.connections.open)
        for after, ended in ((9.0, []), (11.0, [b"408", b"408"]), (76.0, [b"408", b"408", b""])):
            for connection in every:
                connection.check(now + after)
            if after == 76.0:
                assert (await asyncio.wait_for(idle[0].read(), 10)) == b""
            elif ended:
                told = [await asyncio.wait_for(reader.readline(), 10) for reader in (slow_head[0], slow_body[0])]
                assert [line.split()[1] for line in told] == ended
        for _, writer in (slow_head, slow_body, idle):
            writer.close()

    assert (http.HEAD_S, http.SLOW_S, http.BODY_RATE, http.IDLE_S) == (10.0, 10.0, 1024.0, 75.0)
    served(work)


def test_more_connections_than_the_limit_are_told_so(served: Any) -> None:
    async def work(server: Server) -> None:
        held = [await server.open() for _ in range(3)]
        await until(lambda: len(server.connections.open) == 3)
        reader, writer = await server.open()
        assert (await all_of(reader)).startswith(b"HTTP/1.1 503 ")
        assert server.connections.refused == 1
        for _, one in (*held, (reader, writer)):
            one.close()

    served(work)


def test_while_it_ends_each_connection_is_closed_with_its_next_answer(served: Any) -> None:
    async def work(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(request(b"0.", path=b"/late"))
        await until(lambda: bool(server.late))
        server.connections.drain()
        assert server.connections.busy == 1
        server.answer_late()
        assert b"connection: close" in await all_of(reader)
        writer.close()

    served(work)
