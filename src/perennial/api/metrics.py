"""`GET /metrics` of the owner: what the monitors know, for Prometheus. Those of the prediction service are its own."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from perennial.api.auth import Auth, Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.server import Door
from perennial.monitor.incidents.exposition import exposition, known

__all__ = ["PROMETHEUS", "doors"]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def doors(dispatcher: Dispatcher, auth: Auth) -> list[Door]:
    """The one door."""
    workspace, records = dispatcher.workspace, dispatcher.records

    def told() -> bytes:
        feedback, windows = workspace.incidents.feedback(), workspace.maintenance.list(active=True)
        return exposition(records.read(known), feedback, windows, now=workspace.clock.now())

    async def enter(request: Request, caller: Caller) -> Response:
        return Response(await run_in_threadpool(told), headers={"content-type": PROMETHEUS})

    return [Door("GET", "/metrics", "read", enter, "What the monitors know, in Prometheus' text format.")]
