"""One turn of a loop: nothing twice, nothing half, also when its process dies in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from perennial.api import connect
from perennial.errors import DataError
from perennial.renew.reconcile import Reconciler
from perennial.renew.recording import PROCESS_TAG
from perennial.renew.training import run_job, run_loop
from perennial.workspace import Workspace

LOOP = """
import polars as pl
from perennial import Loop, require, retrain

loop = Loop("heights", target="height", key="person")

@loop.collect
def people():
    return pl.read_parquet("people.parquet")

@loop.features
def features(people):
    return people.with_columns(age_squared=pl.col("age") ** 2)

class Line:
    def __init__(self, slope, start):
        self.slope, self.start = slope, start
    def predict(self, X):
        return (self.start + self.slope * X["age"]).to_numpy()

@loop.train
def line(X, y, *, shrink: float = 1.0):
    age = X["age"].to_numpy()
    slope = ((age - age.mean()) * (y - y.mean())).sum() / ((age - age.mean()) ** 2).sum() * shrink
    return Line(float(slope), float(y.mean() - slope * age.mean()))

loop.require(require.better_than_baseline("rmse"))
loop.retrain(retrain.by_hand(), approval="automatic")
"""


def quiet(text: str) -> None:
    """The turn has something to say; nobody listens."""


def people(rows: int) -> pl.DataFrame:
    ages = [20.0 + number % 40 for number in range(rows)]
    heights = [150.0 + 0.5 * age + (number * 37 % 11) / 10 for number, age in enumerate(ages)]
    return pl.DataFrame({"person": list(range(rows)), "age": ages, "height": heights})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "loop.py").write_text(LOOP)
    people(200).write_parquet(tmp_path / "people.parquet")
    return tmp_path


@pytest.fixture
def ws(project: Path) -> Iterator[Workspace]:
    with connect.open(project / ".perennial") as workspace:
        yield workspace


def test_an_unchanged_loop_leaves_no_second_run_and_no_second_version(ws: Workspace, project: Path) -> None:
    first = run_loop(ws, project, None, quiet)
    again = run_loop(ws, project, None, quiet)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.version == first.version == 1
    assert again.ran == ["people"]
    assert len(ws.runs.list(loop="heights")) == 1


def test_new_rows_are_a_new_data_version_and_a_new_candidate(ws: Workspace, project: Path) -> None:
    run_loop(ws, project, None, quiet)
    people(260).write_parquet(project / "people.parquet")
    outcome = run_loop(ws, project, None, quiet)
    assert (outcome.version, outcome.data) == (2, {"heights.people": 2})


def test_P13_F27_a_job_that_died_after_it_registered_is_found_done(ws: Workspace, project: Path) -> None:
    run_loop(ws, project, None, quiet)
    people(260).write_parquet(project / "people.parquet")
    decide = ws.renew.decide(
        endpoint="heights", key="k", trigger="by_hand", verdict="retrain", reason="asked", evidence={}, live=1
    )
    job = ws.renew.claim(holder="first", gone=[])
    assert job is not None
    assert job.id == decide.job
    first = run_job(ws, job, quiet)  # and dies before it can report
    again = ws.renew.claim(holder="second", gone=["first"])
    assert again is not None
    assert run_job(ws, again, quiet) == first
    assert [found.version for found in ws.models.list(name="heights")] == [1, 2]
    assert len(ws.runs.list(loop="heights")) == 2


def test_P6_a_run_whose_process_is_gone_was_killed(ws: Workspace, project: Path) -> None:
    ghost = ws.runs.start(loop="heights", name="ghost")
    ws.runs.set_tags(run_id=ghost.id, tags={PROCESS_TAG: "nowhere:1:0.00".replace("nowhere", _host())})
    run_loop(ws, project, None, quiet)
    assert ws.runs.get(run_id=ghost.id).status == "killed"


def test_a_failed_turn_is_a_failed_run_with_its_reason(ws: Workspace, project: Path) -> None:
    people(200).drop("height").write_parquet(project / "people.parquet")
    with pytest.raises(DataError):
        run_loop(ws, project, None, quiet)
    (run,) = ws.runs.list(loop="heights")
    assert run.status == "failed"
    assert "height" in (run.error or "")
    assert ws.models.list(name="heights") == []


def test_the_first_version_of_an_automatic_loop_is_live_after_one_look(ws: Workspace, project: Path) -> None:
    run_loop(ws, project, None, quiet)
    reconciler = Reconciler(ws)
    assert reconciler.look(ws.clock.now())  # it acted
    endpoint = ws.endpoints.get(name="heights")
    assert endpoint.live == 1
    assert ws.models.aliases(name="heights") == {"live": 1}
    assert "does not serve" in reconciler.look(ws.clock.now())  # no service runs here, and it says so


def _host() -> str:
    import socket

    return socket.gethostname()
