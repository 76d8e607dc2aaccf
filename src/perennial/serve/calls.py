"""What the gRPC server of a front asks: the same routes, guards and capture as every other protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Invalid, PerennialError, Unavailable
from perennial.serve.answer import Answer, Flag
from perennial.serve.app import status_of
from perennial.serve.asked import Asked
from perennial.serve.frames import moment_of
from perennial.serve.intake import Intake
from perennial.serve.job import Wanted
from perennial.serve.journal import share_of
from perennial.serve.protocols.models import ServerState
from perennial.serve.protocols.protocol import HttpRequest, Reply
from perennial.serve.watching import Seen
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.serve.front import Front
    from perennial.serve.route import Route

__all__ = ["Calls"]


class Calls:
    """Answers the calls of one front."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def state(self) -> ServerState:
        return self._front.told()

    async def predict(
        self,
        endpoint: str,
        version: str | None,
        asked_maker: Callable[[Intake], Asked],
        *,
        key: str,
        timeout_s: float | None,
        source: str,
        trace: tuple[str, str] = ("", ""),
    ) -> tuple[Answer, Intake]:
        """See `grpc_service.Predictor`."""
        watch = self._front.watch
        wanted = Wanted(source, self._front.timeout_s if timeout_s is None else min(timeout_s, self._front.timeout_s))
        if watch is None:
            return await self._predict(endpoint, version, asked_maker, key, wanted, trace)
        # What another front is in charge of, it has seen; but for what was refused here.
        is_mine = not key or self._keeps(key)
        try:
            answer, intake = await self._predict(endpoint, version, asked_maker, key, wanted, trace)
        except PerennialError as error:
            if is_mine or not wanted.decoded:
                watch(_seen(endpoint, wanted, trace, status_of(error)))
            raise
        if is_mine:
            watch(_seen(endpoint, wanted, trace, answer.status, answer))
        return answer, intake

    async def _predict(
        self, endpoint: str, version: str | None, asked_maker: Callable[[Intake], Asked], key: str, wanted: Wanted,
        trace: tuple[str, str],
    ) -> tuple[Answer, Intake]:  # fmt: skip
        front = self._front
        route = front.route(endpoint)
        if not front.engine.admits(route):
            front.counters.add("refused_total", (route.name, "overload"))
            raise Unavailable(f"{endpoint} has too many requests waiting", remedy="try again in a moment")
        asked = asked_maker(route.intake)
        wanted.decoded = time.perf_counter()
        if version is not None:
            wanted.arm = route.arm_of(version)
        if key:
            wanted.key = key
            body = _encode({"columns": dict(zip(asked.names, map(list, zip(*asked.rows(), strict=True)), strict=True))})
            wanted.digest = blake2b(body, digest_size=16).hexdigest()
            if not self._keeps(key):
                return await self._elsewhere(route, version, body, key, wanted.timeout_s, trace), route.intake
            if front.is_inheriting:
                inherited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                front.when_inherited(lambda: None if inherited.done() else inherited.set_result(None))
                await inherited
        waiter: asyncio.Future[Answer | PerennialError] = asyncio.get_running_loop().create_future()
        front.engine.submit(route, asked, wanted, lambda told: None if waiter.done() else waiter.set_result(told))
        told = await waiter
        if isinstance(told, PerennialError):
            raise told
        return told, route.intake

    def _keeps(self, key: str) -> bool:
        """Whether this front is in charge of the key; one for large requests is of those that it gets."""
        return self._front.config.is_large or share_of(key, self._front.fronts) == self._front.number

    async def _elsewhere(
        self, route: Route, version: str | None, body: bytes, key: str, timeout_s: float, trace: tuple[str, str]
    ) -> Answer:
        """The answer of the front that is in charge of this key, asked in our own form."""
        headers = {b"host": b"localhost", b"idempotency-key": key.encode("latin-1", "replace"),
                   b"x-perennial-grpc": b"1",
                   b"x-request-timeout-ms": b"%d" % max(1, int(timeout_s * 1000))}  # fmt: skip
        headers |= {name: value.encode("latin-1", "replace") for name, value in
                    zip((b"traceparent", b"tracestate"), trace, strict=True) if value}  # fmt: skip
        query = "" if version is None else f"version={version}"
        request = HttpRequest(method="POST", path=f"/predict/{route.name}", query=query, headers=headers, body=body)
        waiter: asyncio.Future[Reply | PerennialError] = asyncio.get_running_loop().create_future()
        self._front.forward(
            share_of(key, self._front.fronts), request, lambda told: None if waiter.done() else waiter.set_result(told)
        )
        told = await waiter
        if isinstance(told, PerennialError):
            raise told
        found: dict[str, Any] = msgspec.json.decode(told.body)
        if told.status == 200:
            return _answer(route, found["predictions"])
        if told.status in (500, 503, 504):
            return Answer(
                id=found["request_id"], endpoint=route.name, at=0, status=told.status, message=found["message"],
                versions=[], arms=[], values=[],
            )  # fmt: skip
        raise Invalid(found["message"], where=found.get("where", ""))


def _seen(endpoint: str, wanted: Wanted, trace: tuple[str, str], status: int, answer: Answer | None = None) -> Seen:
    seen = Seen(
        wanted.source, endpoint, status, started=wanted.started, decoded=wanted.decoded, answered=wanted.answered,
        written=wanted.written, ended=time.perf_counter(), traceparent=trace[0], tracestate=trace[1],
    )  # fmt: skip
    if answer is None:
        return seen
    return seen._replace(request_id=answer.id, versions=tuple(set(answer.versions)), rows=answer.rows)


def _answer(route: Route, rows: list[dict[str, Any]]) -> Answer:
    """What our own form told, as the answer that it was made of."""
    tables = [list(row["probabilities"].values()) if "probabilities" in row else None for row in rows]
    errors = [row.get("error") for row in rows]
    flags = [msgspec.convert(row.get("flags", []), ready(list[Flag])) for row in rows]
    return Answer(
        id=rows[0]["id"], endpoint=route.name, at=moment_of(rows[0]["id"]),
        versions=[row["version"] for row in rows], arms=[row["arm"] for row in rows],
        values=[row["prediction"] for row in rows], classes=route.classes,
        probabilities=tables if any(tables) else None, errors=errors if any(errors) else None,
        flags=flags if any(flags) else None,
        intervals=[row.get("interval") for row in rows] if any("interval" in row for row in rows) else None,
        sets=[row.get("set") for row in rows] if any("set" in row for row in rows) else None,
    )  # fmt: skip


_encode = msgspec.json.Encoder().encode
