"""Points that wait together are one write; what is wrong with some of them is nobody else's business."""

from __future__ import annotations

import threading

import pytest

from perennial.errors import NotFound
from perennial.store.records import Records
from perennial.tracking.metric_log import Entry, MetricLog
from perennial.tracking.points import Point
from perennial.tracking.runs import Runs


@pytest.mark.parametrize("bad", ["a\0", "\0", "\ud800", "none", "ä" * 32, "x" * 10_000])
def test_a_run_that_cannot_be_takes_no_other_points_with_it(both: Records, bad: str) -> None:
    runs, log = Runs(both), MetricLog(both)
    good = runs.start(name="good").id
    told: dict[str, BaseException | None] = {}
    waiting, done = threading.Event(), threading.Event()
    both.submit(lambda tx: waiting.wait(10), lambda result, error: None)  # so that both wait behind this
    log.submit(Entry(bad, {"loss": [Point(1, 0, 1.0)]}), lambda error: told.update(bad=error))

    def tell(error: BaseException | None) -> None:
        told.update(good=error)
        done.set()

    log.submit(Entry(good, {"loss": [Point(1, 0, 2.0)]}), tell)
    waiting.set()
    assert done.wait(10)
    assert told["good"] is None
    assert isinstance(told["bad"], NotFound)
    assert runs.history(run_id=good, key="loss").value == [2.0]
