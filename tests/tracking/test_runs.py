"""Runs: what is logged is there once, also when it is sent twice, and is told back as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.clock import FixedClock
from perennial.errors import Invalid, NotFound, TooLarge
from perennial.ids import SeededIds
from perennial.store.actor import acting
from perennial.store.events import Events
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.tracking.runs import MetricPoint, Runs, StepRecord
from perennial.types import Micros

ID = "0123456789abcdef" * 2


BOTH = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    url = f"sqlite:///{tmp_path}/records.db"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("pg_tables")
    import_tables()
    with Records.open(url, clock=FixedClock(Micros(1_000)), ids=SeededIds(1)) as records:
        if records.path is not None:
            create_tables(records)
        yield records


def point(key: str, value: float, step: int = 0, at: int = 0) -> MetricPoint:
    text = {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, value)
    return MetricPoint(key=key, value="NaN" if value != value else text, step=step, at=at)  # type: ignore[arg-type]


@BOTH
def test_a_run_tells_back_what_was_logged(records: Records) -> None:
    runs = Runs(records)
    with acting("ada", "test"):
        given = {"seed": 7, "params": {"max_iter": "200"}, "dataset": {"survey": "d" * 64}}
        run = runs.start(loop="salary", **given, reason="by hand")  # type: ignore[arg-type]
    runs.log_params(run_id=run.id, params={"model.depth": "3", "empty": ""})
    runs.set_tags(run_id=run.id, tags={"note": "first"})
    runs.set_tags(run_id=run.id, tags={"note": "second"})
    runs.log_metrics(run_id=run.id, metrics=[point("rmse", 0.5), point("rmse", 0.4, 1)])
    runs.add_artifact(run_id=run.id, path="plots/roc.svg", digest="a" * 64, size=3)
    output = {"digest": "b" * 64}
    step = StepRecord(name="features", fingerprint="f" * 64, state="done", output=output, started=1, ended=2)
    runs.step(run_id=run.id, step=step)
    done = runs.finish(run_id=run.id, status="finished")
    assert done == runs.get(run_id=run.id) == runs.list(loop="salary")[0]
    assert (done.person, done.loop, done.seed, done.status, done.ended) == ("ada", "salary", 7, "finished", 1_000)
    assert done.params == {"max_iter": "200", "model.depth": "3", "empty": ""}
    assert done.tags == {"note": "second"}
    assert done.metrics["rmse"].value == 0.4
    assert done.dataset == {"survey": "d" * 64}
    assert [artifact.path for artifact in done.artifacts] == ["plots/roc.svg"]
    assert done.steps == [step]
    assert Events(records).head() == 0


@BOTH
def test_F14_every_write_may_be_repeated(records: Records) -> None:
    runs = Runs(records)
    for _ in range(2):
        runs.start(loop="salary", run_id=ID, params={"a": "1"}, dataset={"x": "d" * 64})
        runs.log_params(run_id=ID, params={"a": "1"})
        runs.log_metrics(run_id=ID, metrics=[point("rmse", 0.5, at=3)] * 2)
        runs.add_artifact(run_id=ID, path="a", digest="a" * 64, size=1)
        step = StepRecord(name="s", fingerprint=None, state="failed", error="no", started=0, ended=0)
        runs.step(run_id=ID, step=step)
        runs.finish(run_id=ID, status="failed", error="no")
    run = runs.get(run_id=ID)
    assert len(runs.list()) == len(runs.history(run_id=ID, key="rmse").at) == len(run.steps) == len(run.artifacts) == 1


@BOTH
def test_F33_numbers_that_are_none_are_kept_as_they_are(records: Records) -> None:
    runs = Runs(records)
    runs.start(loop="salary", run_id=ID)
    values = [math.nan, math.inf, -math.inf, -0.0, 1e308, 5e-324]
    runs.log_metrics(run_id=ID, metrics=[point(f"m{i}", value) for i, value in enumerate(values)])
    told = [runs.get(run_id=ID).metrics[f"m{i}"].value for i in range(len(values))]
    assert told == ["NaN", "Infinity", "-Infinity", 0.0, 1e308, 5e-324]


@BOTH
def test_the_newest_point_is_the_greatest_by_step_time_and_value(records: Records) -> None:
    runs = Runs(records)
    runs.start(loop="salary", run_id=ID)
    runs.log_metrics(run_id=ID, metrics=[point("a", 5.0, 2, 10), point("a", 9.0, 1, 99)])
    runs.log_metrics(run_id=ID, metrics=[point("a", 4.0, 2, 10), point("a", 1.0, 0, 100)])
    assert runs.get(run_id=ID).metrics["a"].value == 5.0
    assert runs.history(run_id=ID, key="a").at == [10, 10, 99, 100]
    assert runs.history(run_id=ID, key="a").value[:2] == [4.0, 5.0]


def test_a_parameter_is_written_once_and_a_conflict_rejects_the_batch(records: Records) -> None:
    runs = Runs(records)
    runs.start(loop="salary", run_id=ID, params={"a": "1"})
    with pytest.raises(Invalid, match="already logged with value='1'"):
        runs.log_params(run_id=ID, params={"b": "2", "a": "3"})
    assert runs.get(run_id=ID).params == {"a": "1"}


@pytest.mark.parametrize("key", ["", "a" * 251, "../x", "/x", "a//b", "a\n", "ä\0", "a,b", "\ud800"])
def test_a_key_that_cannot_be_stored_is_told_by_its_place(records: Records, key: str) -> None:
    runs = Runs(records)
    runs.start(loop="salary", run_id=ID)
    with pytest.raises(Invalid) as caught:
        runs.log_metrics(run_id=ID, metrics=[point("ok", 1.0), point(key, 1.0)])
    assert "metrics[1].key" in caught.value.what
    assert runs.get(run_id=ID).metrics == {}


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "C:x", "%2e", "a/.", "a\0"])
def test_C01_an_artifact_path_leads_nowhere_else(records: Records, path: str) -> None:
    runs = Runs(records)
    runs.start(loop="salary", run_id=ID)
    with pytest.raises(Invalid):
        runs.add_artifact(run_id=ID, path=path, digest="a" * 64, size=1)


def test_limits_hold_one_below_and_one_above(records: Records) -> None:
    runs = Runs(records)
    runs.start(loop="salary", run_id=ID)
    runs.log_metrics(run_id=ID, metrics=[point("a", 1.0, step) for step in range(1_000)])
    with pytest.raises(TooLarge):
        runs.log_metrics(run_id=ID, metrics=[point("a", 1.0, step) for step in range(1_001)])
    runs.log_params(run_id=ID, params={"p": "x" * 6_000})
    with pytest.raises(Invalid):
        runs.log_params(run_id=ID, params={"q": "x" * 6_001})
    with pytest.raises(Invalid):
        runs.log_metrics(run_id=ID, metrics=[point("a", 1.0, step=2**63)])


def test_an_unknown_run_is_not_found(records: Records) -> None:
    runs = Runs(records)
    with pytest.raises(NotFound):
        runs.get(run_id=ID)
    with pytest.raises(NotFound):
        runs.log_metrics(run_id=ID, metrics=[])
    with pytest.raises(Invalid, match="id of a run"):
        runs.start(loop="salary", run_id="../x")


@BOTH
def test_the_cache_finds_the_newest_step_that_was_really_run(records: Records) -> None:
    runs = Runs(records)
    prints = "f" * 64
    assert runs.cached_step(fingerprint=prints) is None
    ids = [runs.start(loop="salary").id for _ in range(3)]
    for run_id, state, ended in zip(ids, ["done", "done", "cached"], [5, 6, 7], strict=True):
        output = {"kind": "polars", "digest": "b" * 64, "logical_digest": "c" * 64}
        step = StepRecord(name="s", fingerprint=prints, state=state, output=output, started=1, ended=ended)  # type: ignore[arg-type]
        runs.step(run_id=run_id, step=step)
    found = runs.cached_step(fingerprint=prints)
    assert found is not None
    assert found.cached_from == ids[1]
    assert found.output is not None
    assert found.output["kind"] == "polars"


@BOTH
def test_runs_are_listed_by_loop_newest_first(records: Records) -> None:
    runs = Runs(records)
    clock = records.clock
    assert isinstance(clock, FixedClock)
    made: list[str] = []
    for loop in ("a", "b", "a"):
        clock.advance(1)
        made.append(runs.start(loop=loop).id)
    assert [run.id for run in runs.list(loop="a")] == [made[2], made[0]]
    assert [run.id for run in runs.list(limit=2)] == [made[2], made[1]]
    assert [run.loop for run in runs.list()] == ["a", "b", "a"]
