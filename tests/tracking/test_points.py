"""Points of metrics: whatever way they came and lie, their history is each point once, in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.clock import FixedClock
from perennial.errors import Corrupt
from perennial.ids import SeededIds
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.tracking.chunks import columns_of, decoded, encoded, merged
from perennial.tracking.points import CHUNK_FROM, Point, compact, evenly, history, picture
from perennial.tracking.runs import MetricPoint, Runs
from perennial.types import Micros

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**63 - 1)
ANY = st.tuples(TIMES, INT64, st.floats(allow_nan=True))
NEAR = st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 1.0, -1.5, math.nan, math.inf, -math.inf]))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    url = f"sqlite:///{tmp_path_factory.mktemp('points')}/records.db"
    import_tables()
    with Records.open(url, clock=FixedClock(Micros(1)), ids=SeededIds(1)) as records:
        create_tables(records)
        yield records


def key_of(point: tuple[int, int, float]) -> tuple[int, int, bool, float]:
    """How points are ordered and told apart: NaN is above all numbers and equal to itself, as -0.0 is to 0.0."""
    at, step, value = point
    return at, step, math.isnan(value), 0.0 if math.isnan(value) else value + 0.0


def in_order(points: list[tuple[int, int, float]]) -> list[tuple[int, int, bool, float]]:
    return sorted({key_of(point) for point in points})


def told(columns: object) -> list[tuple[int, int, bool, float]]:
    at, step, value = (column.tolist() for column in columns)  # type: ignore[attr-defined]
    return [key_of(point) for point in zip(at, step, value, strict=True)]


@given(st.lists(ANY, min_size=1, max_size=50))
def test_a_chunk_tells_back_its_points(points: list[tuple[int, int, float]]) -> None:
    whole = merged([columns_of(*map(list, zip(*points, strict=True)))])
    chunk = encoded(whole)
    back = decoded(chunk.points, chunk.size)
    assert told(back) == in_order(points)
    numbers = [point for point in points if not math.isnan(point[2])]
    assert chunk.low == min((value for *_, value in numbers), default=None)
    assert chunk.high == max((value for *_, value in numbers), default=None)
    assert (chunk.min_at, chunk.max_at) == (min(p[0] for p in points), max(p[0] for p in points))
    assert (chunk.min_step, chunk.max_step) == (min(p[1] for p in points), max(p[1] for p in points))


def test_a_damaged_chunk_is_told() -> None:
    chunk = encoded(columns_of([1, 2], [1, 2], [0.5, 0.25]))
    for broken in (b"", b"\x09" + chunk.points[1:], chunk.points[:-3], chunk.points[:1] + b"x" * 20):
        with pytest.raises(Corrupt):
            decoded(broken, chunk.size)
    with pytest.raises(Corrupt):
        decoded(chunk.points, 3)


@given(
    batches=st.lists(st.lists(NEAR | ANY, max_size=8), min_size=1, max_size=6),
    compacting=st.lists(st.booleans(), min_size=6, max_size=6),
    limit=st.integers(1, 9),
)
def test_F14_a_history_in_pages_is_each_point_once_however_it_lies(
    records: Records, batches: list[list[tuple[int, int, float]]], compacting: list[bool], limit: int
) -> None:
    runs, run = Runs(records), records.ids.new()
    runs.start(loop="points", run_id=run)
    for batch, then_compact in zip(batches, compacting, strict=False):
        points = [MetricPoint(key="m", value=spelled(value), step=step, at=at) for at, step, value in batch]
        runs.log_metrics(run_id=run, metrics=points)
        if then_compact:
            records.write(lambda tx: compact(tx.connection, run, "m"))
    expected = in_order([point for batch in batches for point in batch])
    found: list[tuple[int, int, bool, float]] = []
    after: Point | None = None
    while True:
        page = records.read(lambda c, after=after: history(c, run, "m", limit=limit, after=after))
        found += told(page.points)
        assert len(page.points.at) <= limit
        if page.after is None:
            break
        after = page.after
    assert found == expected
    latest = runs.get(run_id=run).metrics.get("m")
    if expected:
        newest = max(expected, key=lambda point: (point[1], point[0], point[2], point[3]))
        assert latest is not None
        assert (latest.at, latest.step) == newest[:2]
        assert key_of((latest.at, latest.step, float(latest.value))) == newest


def spelled(value: float) -> float | str:
    return "NaN" if math.isnan(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, value)


@pytest.fixture
def long_run(records: Records) -> tuple[Records, str, np.ndarray]:
    """20,000 points of a curve with a peak and a hole, in batches of 1,000."""
    runs, run = Runs(records), records.ids.new()
    runs.start(loop="points", run_id=run)
    values = np.sin(np.arange(20_000) / 700) + np.random.default_rng(0).normal(0, 0.1, 20_000)
    values[12_345], values[777] = 99.0, -77.0
    for start in range(0, 20_000, 1000):
        runs.log_metrics(
            run_id=run,
            metrics=[MetricPoint(key="m", value=float(values[i]), step=i, at=i) for i in range(start, start + 1000)],
        )
    return records, run, values


def test_an_outline_holds_the_extremes_of_each_range(long_run: tuple[Records, str, np.ndarray]) -> None:
    records, run, values = long_run
    thin = records.read(lambda c: picture(c, run, "m", points=200))
    assert len(thin.step) <= 200
    assert thin.step.tolist() == sorted(thin.step.tolist())
    assert all(values[step] == value for step, value in zip(thin.step, thin.value, strict=True))
    width = 19_999 / 100
    for number in range(100):
        within = [i for i in range(20_000) if min(99, int(i / width)) == number]
        shown = [v for s, v in zip(thin.step, thin.value, strict=True) if min(99, int(s / width)) == number]
        assert min(shown) == values[within].min()
        assert max(shown) == values[within].max()


def test_evenly_chosen_points_keep_the_first_and_the_last(long_run: tuple[Records, str, np.ndarray]) -> None:
    records, run, values = long_run
    for first, last, count in ((-(2**63), 2**63 - 1, 100), (5_000, 15_000, 64), (10, 20, 100), (3, 3, 1)):
        thin = records.read(lambda c, f=first, t=last, n=count: evenly(c, run, "m", f, t, n))
        inside = [i for i in range(20_000) if first <= i <= last]
        assert len(thin.step) == min(count, len(inside))
        assert (thin.step[0], thin.step[-1]) == (inside[0], inside[-1]) or count == 1
        assert all(values[step] == value for step, value in zip(thin.step, thin.value, strict=True))
        gaps = np.diff(thin.step)
        assert not len(gaps) or gaps.max() <= 2 * max(1, len(inside) / count)


def test_a_batch_of_many_points_takes_little_room_and_single_ones_are_put_together(tmp_path: Path) -> None:
    import_tables()
    with Records.open(f"sqlite:///{tmp_path}/r.db") as records:
        create_tables(records)
        runs = Runs(records)
        run = runs.start(loop="x").id
        for i in range(2 * CHUNK_FROM):  # one at a time
            runs.log_metrics(run_id=run, metrics=[MetricPoint(key="m", value=i / 7, step=i, at=i)])
        assert rows(records, "metric_points") == 2 * CHUNK_FROM
        runs.finish(run_id=run, status="finished")
        assert (rows(records, "metric_points"), rows(records, "metric_chunks")) == (0, 1)
        assert len(runs.history(run_id=run, key="m").at) == 2 * CHUNK_FROM


def test_rows_become_a_chunk_while_the_run_goes_on(records: Records) -> None:
    runs = Runs(records)
    run = runs.start(loop="x").id
    before = rows(records, "metric_points")
    for start in range(0, 3000, 100):
        points = [MetricPoint(key="m", value=float(i), step=i, at=i) for i in range(start, start + 100)]
        runs.log_metrics(run_id=run, metrics=points)
    assert rows(records, "metric_points") - before <= 1000
    assert runs.history(run_id=run, key="m", limit=5000).step == list(range(3000))


def rows(records: Records, table: str) -> int:
    return records.read(lambda c: c.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())
