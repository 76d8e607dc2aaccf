"""A step of a loop logs to the run of its turn; a turn in which nothing is new and nothing logged leaves no run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import perennial
from perennial.api import connect
from perennial.errors import NotFound, UserCodeError
from perennial.renew.training import run_loop
from perennial.workspace import Workspace

LOOP = """
import perennial
import polars as pl
from perennial import Loop, require, retrain

loop = Loop("heights", target="height", key="person")

@loop.collect
def people():
    if COLLECT:
        perennial.current_run().log(rows=200.0)
    return pl.read_parquet("people.parquet")

class Mean:
    def __init__(self, value):
        self.value = value
    def predict(self, X):
        return [self.value] * len(X)

@loop.train
def mean(X, y):
    run = perennial.current_run()
    for epoch in range(5):
        run.log({"train/loss": 1 / (epoch + 1)}, step=epoch)
    run.log_text("what it saw", "notes.txt")
    if FAIL:
        raise RuntimeError("no good")
    return Mean(float(y.mean()))

loop.retrain(retrain.by_hand(), approval="automatic")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ages = [20.0 + number % 40 for number in range(200)]
    rows = {"person": list(range(200)), "age": ages, "height": [150.0 + age / 2 for age in ages]}
    pl.DataFrame(rows).write_parquet(tmp_path / "people.parquet")
    return tmp_path


@pytest.fixture
def ws(project: Path) -> Iterator[Workspace]:
    with connect.open(project / ".perennial") as workspace:
        yield workspace


def quiet(text: str) -> None:
    """The turn has something to say; nobody listens."""


def write(project: Path, *, fail: bool = False, collect: bool = False) -> None:
    (project / "loop.py").write_text(LOOP.replace("FAIL", str(fail)).replace("COLLECT", str(collect)))


def test_a_step_logs_to_the_run_of_its_turn(ws: Workspace, project: Path) -> None:
    write(project)
    run_loop(ws, project, None, quiet)
    (listed,) = ws.runs.list(loop="heights")
    run = ws.runs.get(run_id=listed.id)
    assert run.status == "finished"
    assert run.metrics["train/loss"].value == 0.2
    assert "notes.txt" in [file.path for file in run.artifacts]
    run_loop(ws, project, None, quiet)  # nothing is new
    assert len(ws.runs.list(loop="heights")) == 1
    with pytest.raises(NotFound, match="no run goes on here"):
        perennial.current_run()


def test_what_a_failed_step_logged_is_there(ws: Workspace, project: Path) -> None:
    write(project, fail=True)
    with pytest.raises(UserCodeError):
        run_loop(ws, project, None, quiet)
    (run,) = ws.runs.list(loop="heights")
    assert run.status == "failed"
    assert run.metrics["train/loss"].step == 4


def test_what_is_logged_while_data_are_collected_makes_a_run_that_ends(ws: Workspace, project: Path) -> None:
    write(project, collect=True)
    run_loop(ws, project, None, quiet)
    run_loop(ws, project, None, quiet)
    runs = ws.runs.list(loop="heights")
    assert [run.status for run in runs] == ["finished"] * len(runs)
    assert all(run.metrics["rows"].value == 200.0 for run in runs)
