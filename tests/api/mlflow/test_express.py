"""The fast way of points: what happens when the server ends before it can tell."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from perennial.api.mlflow.express import Express
from perennial.store.records import Records
from perennial.store.schema import ensure_schema
from perennial.tracking.metric_log import Entry
from perennial.tracking.points import Point
from perennial.tracking.runs import Runs


def test_a_loop_that_has_ended_does_not_stop_the_writer(tmp_path: Path) -> None:
    with Records.open(f"sqlite:///{tmp_path}/records.db") as records:
        ensure_schema(records)
        run, hold, way = Runs(records).start(loop="x").id, threading.Event(), Express(records)
        records.submit(lambda tx: hold.wait(10), lambda *_: None)

        async def leave() -> None:  # as a server does that is told to stop
            waiting = asyncio.create_task(way.write(Entry(run, {"m": [Point(1, 1, 1.0)]})))
            await asyncio.sleep(0)
            assert not waiting.done()

        asyncio.run(leave())
        hold.set()
        assert records.write(lambda tx: "still here") == "still here"
        assert Runs(records).history(run_id=run, key="m").step == [1]
