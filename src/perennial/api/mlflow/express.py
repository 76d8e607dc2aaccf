"""The fast way of metric points: no thread is taken, and all points that come together are one write.

`runs/log-metric`, `log-batch` with nothing but metrics, and our own `runs.log_metrics` go here. Bodies that are plain
are decoded straight into their struct; whatever else the protocol allows (other spellings, texts for numbers, metrics
of models) takes the general way, with the same answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from threading import Lock

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perennial.api.auth import Caller
from perennial.api.mlflow.metrics import LogMetric
from perennial.api.mlflow.receiving import heard
from perennial.api.mlflow.runs import Batch, Metric, batch_parts, point_of
from perennial.api.server import Door, read_body
from perennial.errors import PerennialError, TooLarge
from perennial.store.decoding import ready
from perennial.store.records import Records
from perennial.tracking.metric_log import Entry, MetricLog
from perennial.tracking.names import checked_key
from perennial.tracking.points import Point
from perennial.tracking.run_rows import entry_of
from perennial.tracking.runs import MetricPoint

__all__ = ["Express", "express"]


# Another field may be one of these in the other spelling, so it is not passed over here.
class _Metric(LogMetric, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class _Point(Metric, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class _Batch(Batch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    metrics: Sequence[_Point] = ()


_METRIC: msgspec.json.Decoder[_Metric] = msgspec.json.Decoder(ready(_Metric))
_BATCH: msgspec.json.Decoder[_Batch] = msgspec.json.Decoder(ready(_Batch))


class _Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run_id: str
    metrics: list[MetricPoint]


_OWN: msgspec.json.Decoder[_Own] = msgspec.json.Decoder(ready(_Own))

Decode = Callable[[bytes], Entry | None]


class Express:
    """Writes points for the event loop, and wakes it once for all that became durable together."""

    def __init__(self, records: Records) -> None:
        self._log = MetricLog(records)
        self._lock = Lock()
        self._done: deque[tuple[asyncio.Future[None], BaseException | None]] = deque()

    async def write(self, entry: Entry) -> None:
        """Returns when the points are durable.

        Raises:
            NotFound: There is no such run. Invalid: It is deleted.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def tell(error: BaseException | None) -> None:  # on the writer's thread
            with self._lock:
                self._done.append((future, error))
                is_first = len(self._done) == 1
            if is_first:
                try:
                    loop.call_soon_threadsafe(self._settle)
                except RuntimeError:  # the server has ended meanwhile: nobody waits, and what is written is written
                    return

        self._log.submit(entry, tell)
        await future

    def _settle(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
        for future, error in done:
            if future.done():  # the client went away
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


def express(door: Door, way: Express) -> Door:
    """The same door with the fast way in front, where it has one."""
    decode = _DECODERS.get(door.path.replace("/ajax-api/", "/api/", 1))
    if decode is None:
        return door
    answer = b"null" if decode is _own else b"{}"
    return door._replace(enter=_entering(door.enter, decode, way, answer))


def _entering(
    slow: Callable[[Request, Caller], Awaitable[Response]], decode: Decode, way: Express, answer: bytes
) -> Callable[[Request, Caller], Awaitable[Response]]:
    async def enter(request: Request, caller: Caller) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            try:
                body = await read_body(request, 1 << 20)
            except TooLarge:
                async with heard(request):
                    raise
            entry = decode(body)
            if entry is not None:
                await way.write(entry)
                return Response(answer, media_type="application/json")
        return await slow(request, caller)

    return enter


def _metric(body: bytes) -> Entry | None:
    try:
        asked = _METRIC.decode(body)
        if not asked.run_id or asked.model_id or asked.key is None:
            return None
        point = point_of(asked, "")
    except (msgspec.MsgspecError, PerennialError):
        return None
    return Entry(asked.run_id, {checked_key(asked.key): [Point(point.at, point.step, float(point.value))]})


def _batch(body: bytes) -> Entry | None:
    try:
        asked = _BATCH.decode(body)
    except msgspec.MsgspecError:
        return None
    if not asked.run_id or asked.params or asked.tags or any(metric.model_id for metric in asked.metrics):
        return None
    points, _, _ = batch_parts(asked)
    return entry_of(asked.run_id, points)


def _own(body: bytes) -> Entry | None:
    try:
        asked = _OWN.decode(body)
    except msgspec.MsgspecError:
        return None
    return entry_of(asked.run_id, asked.metrics)


_DECODERS: dict[str, Decode] = {
    "/api/2.0/mlflow/runs/log-metric": _metric,
    "/api/2.0/mlflow/runs/log-batch": _batch,
    "/api/runs/log_metrics": _own,
}
