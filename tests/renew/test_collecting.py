"""What a collect step may say and return: sources, a cursor, checks, a schema, and what happens to bad rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.api import connect
from perennial.data.forms.toml import to_toml
from perennial.data.scan import scan_manifest
from perennial.errors import PerennialError, Refused, UserCodeError
from perennial.renew.training import run_loop
from perennial.types import Digest
from perennial.workspace import Workspace

LOOP = """
import polars as pl
from perennial import Loop
from perennial.data import sources

loop = Loop("heights", target="height", key="person")
tall_enough = pl.col("height") > LOW
LOW = 100

def aged():
    return pl.col("age") < 150

def whole(rows):
    return rows["person"] >= 0

@loop.collect(checks=[tall_enough, aged, whole], bad_rows="quarantine")
def people():
    return sources.sql("sqlite:///people.db", "people", cursor="person")

@loop.step
def older(people):
    assert isinstance(people, pl.LazyFrame)
    return people.filter(pl.col("age") > 20)

@loop.train
def line(X, y):
    return Mean(float(y.mean()))

class Mean:
    def __init__(self, mean):
        self.mean = mean
    def predict(self, X):
        return [self.mean] * len(X)
""".replace('tall_enough = pl.col("height") > LOW\nLOW = 100', 'LOW = 100\ntall_enough = pl.col("height") > LOW')


def quiet(text: str) -> None:
    """The turn has something to say; nobody listens."""


def insert(project: Path, *rows: tuple[object, ...]) -> None:
    with sqlite3.connect(project / "people.db") as connection:
        connection.execute("create table if not exists people (person integer, age real, height real)")
        connection.executemany("insert into people values (?, ?, ?)", rows)
    connection.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "loop.py").write_text(LOOP)
    insert(tmp_path, *((i, 20.0 + i % 40, 150.0 + i % 7) for i in range(100)), (100, 30.0, 17.0))
    return tmp_path


@pytest.fixture
def ws(project: Path) -> Iterator[Workspace]:
    with connect.open(project / ".perennial") as workspace:
        yield workspace


def test_f31_a_source_is_collected_by_its_cursor_and_bad_rows_never_train(ws: Workspace, project: Path) -> None:
    run_loop(ws, project, None, quiet)
    first = ws.datasets.get(name="heights.people")
    assert (first.rows, first.version) == (100, 1)
    assert first.quarantine is not None
    bad = scan_manifest(Digest(first.quarantine), ws.objects, "quarantine").table()
    assert bad.column("height").to_pylist() == [17.0]
    again = run_loop(ws, project, None, quiet)
    assert not again.is_new
    insert(project, (101, 25.0, 160.0), (102, 200.0, 160.0))
    assert run_loop(ws, project, None, quiet).is_new
    second = ws.datasets.get(name="heights.people")
    assert (second.rows, second.parent) == (101, 1)
    assert second.source is not None
    assert second.source["cursor"]["value"] == 102


def test_f31_bad_rows_stop_a_turn_that_says_so(ws: Workspace, project: Path) -> None:
    (project / "loop.py").write_text(LOOP.replace('"quarantine"', '"stop"'))
    with pytest.raises(Refused, match="was stopped") as caught:
        run_loop(ws, project, None, quiet)
    assert caught.value.where.startswith("loop.py:")
    assert ws.datasets.list() == []
    assert [run.status for run in ws.runs.list(loop="heights")] == ["failed"]


def test_a_schema_in_a_file_is_checked_instead_of_the_accepted_one(ws: Workspace, project: Path) -> None:
    run_loop(ws, project, None, quiet)
    schema = ws.datasets.get(name="heights.people").schema
    (project / "people.toml").write_text(to_toml(schema).replace("person", "persons"))
    text = LOOP.replace("checks=", 'schema="people.toml", checks=').replace(', cursor="person"', "")
    (project / "loop.py").write_text(text)
    insert(project, (101, 25.0, 160.0))
    with pytest.raises(PerennialError, match="column 'persons' is gone"):
        run_loop(ws, project, None, quiet)
    (project / "people.toml").unlink()
    with pytest.raises(PerennialError, match=r"the schema 'people.toml' cannot be read"):
        run_loop(ws, project, None, quiet)


def test_what_the_users_code_raises_while_it_is_read_names_the_step(ws: Workspace, project: Path) -> None:
    text = LOOP.replace('sources.sql("sqlite:///people.db", "people", cursor="person")', "sources.function(broken)")
    (project / "loop.py").write_text(text + "\ndef broken():\n    yield 1 / 0\n")
    with pytest.raises(UserCodeError, match="step 'people' failed: ZeroDivisionError") as caught:
        run_loop(ws, project, None, quiet)
    assert caught.value.where.startswith("loop.py:")


@pytest.mark.parametrize(
    "before, after, says",
    [
        ("checks=[tall_enough", "checks=[pl.col('age') > 0", "a check of 'people' has no name in its file"),
        ('"quarantine"', '"quarantin"', "bad_rows cannot be 'quarantin'"),
        ("checks=", "cursor='', checks=", "cursor cannot be ''"),
        ("checks=", "overlap=-1, checks=", "overlap cannot be -1"),
    ],
)
def test_a_wrong_option_names_its_line(ws: Workspace, project: Path, before: str, after: str, says: str) -> None:
    (project / "loop.py").write_text(LOOP.replace(before, after))
    with pytest.raises(PerennialError) as caught:
        run_loop(ws, project, None, quiet)
    assert caught.value.what == says
    assert caught.value.where.startswith("loop.py:")


def test_a_loop_says_which_rows_judge_and_the_run_records_it(ws: Workspace, project: Path) -> None:
    text = LOOP.replace('key="person"', 'time="person", label_delay="5s"')
    text = text.replace(', cursor="person"', "") + '\nloop.split(by="time", test=0.3)\n'
    (project / "loop.py").write_text(text)
    outcome = run_loop(ws, project, None, quiet)
    (stored,) = (found for found in ws.runs.get(run_id=outcome.run_id).artifacts if found.path == "split.json")
    split = json.loads(ws.objects.get(Digest(stored.digest)))
    assert split["cuts"] == ["69"]
    assert split["rows"] == {"train": 63, "validation": 0, "test": 30, "left_out": 4}


@pytest.mark.parametrize(
    "call, says",
    [
        ('loop.split(by="time")', "a split by time needs a column"),
        ('loop.split(by="day")', "by cannot be 'day'"),
        ("loop.split(test=0)", "test cannot be 0"),
        ("loop.split(test=0.1); loop.split(test=0.2)", "loop.split is called twice"),
    ],
)
def test_a_split_that_cannot_be_is_refused_where_it_is_written(
    ws: Workspace, project: Path, call: str, says: str
) -> None:
    (project / "loop.py").write_text(f"{LOOP}\n{call}\n")
    with pytest.raises(PerennialError) as caught:
        run_loop(ws, project, None, quiet)
    assert caught.value.what == says
