"""F25: what earlier versions stored of runs and models is there after the upgrade, in its new form."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.registry.versions import Models
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of
from perennial.tracking.experiments import Experiments
from perennial.tracking.runs import Runs

RUN, OTHER = "0123456789abcdef" * 2, "f" * 32
EXPERIMENT = "INSERT INTO experiments (name, lifecycle, created, updated) VALUES (:name, 'active', 5, 6)"
RUN_COLUMNS = "id, experiment, kind, name, person, status, lifecycle, git_commit, reason, started, ended"
RUN_ROW = f"""INSERT INTO runs ({RUN_COLUMNS})
    VALUES (:id, :experiment, 'run', 'first', 'ada', 'finished', 'active', '', 'by hand', 7, 8)"""
POINT = """INSERT INTO {table} (run, key, at, step, value, special)
    VALUES (:run, :key, :at, :step, :value, :special)"""
VERSION = """INSERT INTO model_versions (name, version, package, origin, state, run_id, verdicts, reason, at)
    VALUES (:name, :version, :package, 'loop', 'approved', :run, '[]', '', :at)"""
VALUES = [("a", 1, 0, 0.5, ""), ("a", 2, 1, 0.25, ""), ("b", 3, 0, 0.0, "NaN"), ("c", 4, -7, 0.0, "Infinity"),
          ("c", 4, -8, 0.0, "-Infinity")]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """A database as revision 0002 left it, with a loop's runs and versions."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[12]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    with Records.open(url) as records:
        ensure_schema(records, scripts=scripts)
        records.write(lambda tx: fill(tx.connection))
        yield records


def fill(connection: sa.Connection) -> None:
    def put(statement: str, *rows: dict[str, object]) -> None:
        connection.execute(sa.text(statement), rows)

    put(EXPERIMENT, {"name": "salary"}, {"name": "other"})
    put(RUN_ROW, {"id": RUN, "experiment": 1}, {"id": OTHER, "experiment": 2})
    points = [dict(zip(("key", "at", "step", "value", "special"), v, strict=True), run=RUN) for v in VALUES]
    put(POINT.format(table="metrics"), *points)
    put(POINT.format(table="metrics_latest"), *(points[i] for i in (1, 2, 3)))
    put("INSERT INTO params VALUES (:run, 'depth', '3')", {"run": RUN}, {"run": OTHER})
    put("INSERT INTO tags VALUES (:run, 'plan', 'x')", {"run": RUN})
    put("INSERT INTO inputs VALUES (:run, 'survey', :digest, '')", {"run": RUN, "digest": "d" * 64})
    put("INSERT INTO artifacts VALUES (:run, 'plots/roc.svg', :digest, 3)", {"run": RUN, "digest": "a" * 64})
    versions = [
        {"name": "salary", "version": n, "package": str(n) * 64, "run": r, "at": n} for n, r in ((1, RUN), (2, OTHER))
    ]
    put(VERSION, *versions)
    put("INSERT INTO model_aliases VALUES ('salary', 'live', 2)", {})


def test_F25_runs_and_versions_of_an_earlier_store_are_told_as_before(old: Records) -> None:
    ensure_schema(old)
    assert old.read(revision_of) == head()
    runs = Runs(old)
    run = runs.get(run_id=RUN)
    assert (run.loop, run.experiment, run.person, run.started, run.ended) == ("salary", 1, "ada", 7, 8)
    assert (run.params, run.tags, run.dataset) == ({"depth": "3"}, {"plan": "x"}, {"survey": "d" * 64})
    assert {key: (point.value, point.step, point.at) for key, point in run.metrics.items()} == {
        "a": (0.25, 1, 2),
        "b": ("NaN", 0, 3),
        "c": ("Infinity", -7, 4),
    }
    assert [(file.path, file.digest, file.size) for file in run.artifacts] == [("plots/roc.svg", "a" * 64, 3)]
    assert runs.history(run_id=RUN, key="a").value == [0.5, 0.25]
    assert runs.history(run_id=RUN, key="c").value == ["-Infinity", "Infinity"]
    assert [found.id for found in runs.search(experiments=[1, 2], filter="metrics.a < 0.3").runs] == [RUN]
    assert [found.name for found in Experiments(old).search(order_by=["name"]).experiments] == [
        "Default",
        "other",
        "salary",
    ]
    versions = Models(old).list(name="salary")
    assert [(v.version, v.state, v.package) for v in versions] == [(1, "approved", "1" * 64), (2, "approved", "2" * 64)]
    assert Models(old).get(name="salary", alias="live").version == 2
    added = Models(old).register(name="salary", package="3" * 64, origin="loop", run_id="3" * 32)
    assert added.version == 3
    runs.start(loop="salary", run_id=OTHER, params={"more": "1"})
    assert Experiments(old).create(name="new").id == 3


def test_F25_an_experiment_that_is_called_default_keeps_its_name(old: Records) -> None:
    old.write(lambda tx: tx.connection.execute(sa.text(EXPERIMENT), {"name": "Default"}))
    ensure_schema(old)
    assert Experiments(old).get(name="Default").id == 3
