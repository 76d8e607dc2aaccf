"""Import of MLflow's SQLite file: everything, once, whole; what cannot be carried over is told."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import DataError, NotFound, StoreError
from perennial.tracking.importing.bringing import ALONE_POINTS, bring
from perennial.tracking.importing.opening import open_store
from tests.tracking.importing.conftest import Home
from tests.tracking.importing.mlflow_database import Database

RUN, OTHER, THIRD = "a" * 32, "b" * 32, "c" * 32
BOTH = pytest.mark.parametrize("home", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def foreign(tmp_path: Path) -> Database:
    (tmp_path / "there").mkdir()
    database = Database(tmp_path / "there" / "mlflow.db")
    database.experiment(0, "Default")
    database.experiment(1, "größe 日本")
    return database


def skipped(brought: Any) -> dict[str, int]:
    return {skip.kind: skip.count for skip in brought.skipped}


@BOTH
def test_a_run_comes_with_all_that_hangs_on_it(home: Home, foreign: Database) -> None:
    files = foreign.run(RUN, status="FAILED", lifecycle_stage="deleted", deleted_time=33)
    (files / "plots").mkdir(parents=True)
    (files / "plots" / "roc.svg").write_bytes(b"<svg/>")
    (files / "empty").write_bytes(b"")
    foreign.param(RUN, "lr", "")
    foreign.tag(RUN, "note ☃", "a\nb")
    values = [math.nan, math.inf, -math.inf, 0.0, 1e300, 5e-324]
    for step, value in enumerate(values):
        foreign.point(RUN, "m/x y", value, at=100 - step, step=step - 3)
    foreign.add("latest_metrics", key="m/x y", value=5e-324, timestamp=95, step=2, is_nan=0, run_uuid=RUN)
    foreign.add(
        "datasets",
        dataset_uuid="d",
        experiment_id=1,
        name="ds",
        digest="x",
        dataset_source_type="local",
        dataset_source="{}",
    )
    foreign.add(
        "inputs", input_uuid="i", source_type="DATASET", source_id="d", destination_type="RUN", destination_id=RUN
    )
    foreign.add("input_tags", input_uuid="i", name="mlflow.data.context", value="training")

    brought = home.take(foreign.path)

    assert (brought.problems, brought.skipped, brought.outcomes["runs"]) == ([], [], {"added": 1})
    run = home.runs.get(run_id=RUN)
    assert (run.loop, run.name, run.person, run.status, run.lifecycle) == (
        "größe 日本", "run aaaa", "ada", "failed", "deleted",
    )  # fmt: skip
    assert (run.started, run.ended, run.params, run.tags) == (10_000, 20_000, {"lr": ""}, {"note ☃": "a\nb"})
    assert home.history(RUN, "m/x y") == [
        (95, 2, 5e-324), (96, 1, 1e300), (97, 0, 0.0), (98, -1, "-Infinity"), (99, -2, "Infinity"), (100, -3, "NaN"),
    ]  # fmt: skip
    assert run.metrics["m/x y"].value == 5e-324
    assert [(used.name, used.context, used.source_type) for used in run.inputs] == [("ds", "training", "local")]
    stored = {file.path: home.objects.get(file.digest) for file in run.artifacts}
    assert stored == {"plots/roc.svg": b"<svg/>", "empty": b""}


def test_the_same_again_changes_nothing(home: Home, foreign: Database) -> None:
    foreign.run(RUN).mkdir(parents=True)
    foreign.point(RUN, "loss", 1.0)
    foreign.add("experiment_tags", key="team", value="x", experiment_id=1)
    foreign.model("m")
    foreign.model_version("m", 1, "s3://bucket/m")
    home.take(foreign.path)
    before = home.everything()

    again = home.take(foreign.path)

    assert again.outcomes == {"runs": {"same": 1}, "registered models": {"same": 1}}
    assert home.everything() == before


def test_a_store_that_was_moved_is_the_same_store(home: Home, foreign: Database, tmp_path: Path) -> None:
    foreign.run(RUN)
    home.take(foreign.path)
    moved = tmp_path / "elsewhere.db"
    moved.write_bytes(foreign.path.read_bytes())

    assert home.take(moved).outcomes["runs"] == {"same": 1}
    assert [one.name for one in home.experiments.search(view="all").experiments].count("größe 日本") == 1


def test_what_changed_there_is_brought_up_to_date_and_what_was_deleted_here_stays(
    home: Home, foreign: Database
) -> None:
    foreign.run(RUN, status="RUNNING", end_time=None)
    foreign.run(OTHER)
    foreign.point(RUN, "loss", 1.0, step=1)
    home.take(foreign.path)
    home.runs.delete(run_id=OTHER)
    foreign.file.execute("UPDATE runs SET status = 'FINISHED', end_time = 30")
    foreign.point(RUN, "loss", 0.5, at=2, step=2)
    foreign.tag(RUN, "done", "yes")

    assert home.take(foreign.path).outcomes["runs"] == {"updated": 2}
    run = home.runs.get(run_id=RUN)
    assert (run.status, run.ended, run.tags["done"]) == ("finished", 30_000, "yes")
    assert home.history(RUN, "loss") == [(1, 1, 1.0), (2, 2, 0.5)]
    assert home.runs.get(run_id=OTHER).lifecycle == "deleted"


class _Cut(Exception):
    """The process is gone."""


@pytest.mark.parametrize("after", range(5))
def test_an_import_that_was_killed_is_whole_after_the_next(
    make_home: Callable[[str], Home], foreign: Database, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("perennial.tracking.importing.bringing.CALL_RUNS", 1)  # a call for each run
    for run in (RUN, OTHER, THIRD):
        (foreign.run(run) / "sub").mkdir(parents=True)
        (foreign.folder / "1" / run / "artifacts" / "f").write_text(run)
        foreign.point(run, "loss", 1.0)
    foreign.model("m")
    foreign.model_version("m", 1, "models:/x/1")
    left = after

    class Dying:
        def __init__(self, service: Any) -> None:
            self.service = service

        def __getattr__(self, verb: str) -> Callable[..., Any]:
            def call(**arguments: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise _Cut
                left -= 1
                return getattr(self.service, verb)(**arguments)

            return call

    killed, whole = make_home("killed"), make_home("whole")
    takers = replace(killed.takers, imports=Dying(killed.imports), models=Dying(killed.model_imports))
    store = open_store(foreign.path)
    with pytest.raises(_Cut):
        bring(store, takers)
    store.close()
    for home in (killed, whole):
        home.take(foreign.path)
    assert killed.everything() == whole.everything()


def test_P5_a_damaged_run_does_not_stop_the_others(home: Home, foreign: Database) -> None:
    for run in (RUN, OTHER, THIRD, "d" * 32, "e" * 32):
        foreign.run(run)
    foreign.add("metrics", key="k", value="fast", timestamp=1, step=1, run_uuid=RUN, is_nan=0)
    foreign.file.execute("UPDATE runs SET status = 'EXPLODED' WHERE run_uuid = ?", [OTHER])
    foreign.file.execute("INSERT INTO params VALUES ('p', CAST(x'ff41' AS TEXT), ?)", ["d" * 32])
    foreign.add("metrics", key="k", value=1.0, timestamp=2**62, step=1, run_uuid="e" * 32, is_nan=0)
    foreign.run("f" * 32, experiment=9)
    foreign.run("../../etc")

    brought = home.take(foreign.path)

    assert brought.outcomes["runs"] == {"added": 1, "refused": 1}
    assert sorted(problem.what for problem in brought.problems) == [
        "run ../../etc", f"run {RUN}", f"run {OTHER}", f"run {'d' * 32}", f"run {'e' * 32}", f"run {'f' * 32}",
    ]  # fmt: skip
    assert [run.id for run in home.runs.list()] == [THIRD]


def test_a_name_that_is_taken_is_not_mixed(home: Home, foreign: Database) -> None:
    home.experiments.create(name="größe 日本")
    foreign.run(RUN)
    brought = home.take(foreign.path)
    assert brought.renamed == {"größe 日本": "größe 日本 (imported)"}
    assert home.runs.get(run_id=RUN).loop == "größe 日本 (imported)"


def test_a_run_that_is_here_already_is_not_overwritten(home: Home, foreign: Database) -> None:
    home.runs.start(loop="mine", run_id=RUN, params={"a": "1"})
    foreign.run(RUN)
    brought = home.take(foreign.path)
    assert brought.outcomes["runs"] == {"refused": 1}
    assert "not imported" in brought.problems[0].why
    assert home.runs.get(run_id=RUN).params == {"a": "1"}


def test_models_come_unreviewed_and_nothing_is_live_for_it(home: Home, foreign: Database) -> None:
    files = foreign.run(RUN)
    files.mkdir(parents=True)
    (files / "MLmodel").write_text("flavors: {}")
    foreign.model("m")
    foreign.add("registered_model_tags", key="a", value="b", name="m")
    foreign.model_version("m", 1, f"file://{files}", stage="Production", run=RUN)
    foreign.model_version("m", 3, "s3://bucket/m", stage="Staging")
    foreign.model_version("m", 4, "x", stage="Deleted_Internal")
    for alias, version in (("champion", 3), ("live", 1), ("Candidate", 3)):
        foreign.add("registered_model_aliases", alias=alias, version=version, name="m")
    foreign.add("registered_model_tags", key="mlflow.prompt.is_prompt", value="true", name="prompt")
    foreign.model("prompt")
    foreign.add("trace_info", request_id="t", experiment_id=1)

    brought = home.take(foreign.path)

    assert skipped(brought) == {
        "traces": 1,
        "prompts": 1,
        "aliases live and candidate": 2,
        "stage Production": 1,
        "deleted model versions": 1,
        "files of model versions that lie elsewhere": 1,
    }
    model = home.registered.get(name="m")
    assert (model.description, model.aliases) == ("all about it", {"champion": 3})
    assert model.tags == {"a": "b", "perennial.imported.alias.live": "1", "perennial.imported.alias.Candidate": "3"}
    first, third = (home.model_versions.get(name="m", version=version) for version in (1, 3))
    place = home.runs.get(run_id=RUN).artifact_uri
    assert (first.state, first.stage, first.storage, first.source) == ("unreviewed", "None", place, place)
    assert first.tags == {"perennial.imported.stage": "Production"}
    assert (third.stage, third.storage, third.created) == ("Staging", "s3://bucket/m", 7_000)
    assert home.model_versions.create(name="m", source=f"runs:/{RUN}/", run_id=RUN).version == 5  # 4 was given away


def test_a_model_of_the_same_name_is_not_mixed(home: Home, foreign: Database) -> None:
    home.registered.create(name="m")
    foreign.model("m")
    foreign.model_version("m", 1, "s3://b/m")
    brought = home.take(foreign.path)
    assert "versions would mix" in brought.problems[0].why
    assert home.model_versions.search(filter="name = 'm'").versions == []


def test_logged_models_come_with_params_tags_metrics_files_and_runs(home: Home, foreign: Database) -> None:
    foreign.run(RUN)
    model = "m-" + "1" * 32
    root = foreign.folder / "1" / "models" / model / "artifacts"
    root.mkdir(parents=True)
    (root / "MLmodel").write_text("x")
    foreign.add(
        "logged_models",
        model_id=model,
        experiment_id=1,
        name="lm",
        artifact_location=f"file://{root}",
        creation_timestamp_ms=3,
        last_updated_timestamp_ms=4,
        status=2,
        lifecycle_stage="active",
        model_type="agent",
        source_run_id=RUN,
    )
    foreign.add("logged_model_params", model_id=model, experiment_id=1, param_key="p", param_value="1")
    foreign.add("logged_model_tags", model_id=model, experiment_id=1, tag_key="t", tag_value="")
    foreign.add(
        "logged_model_metrics",
        model_id=model,
        metric_name="acc",
        metric_timestamp_ms=9,
        metric_step=2,
        metric_value=0.5,
        experiment_id=1,
        run_id=RUN,
        dataset_name="ds",
        dataset_digest="x",
    )
    foreign.add(
        "inputs",
        input_uuid="o",
        source_type="RUN_OUTPUT",
        source_id=RUN,
        destination_type="MODEL_OUTPUT",
        destination_id=model,
        step=7,
    )

    assert home.take(foreign.path).problems == []
    found = home.logged_models.get(model_id=model)
    assert (found.name, found.type, found.status, found.run) == ("lm", "agent", "ready", RUN)
    assert (found.params, found.tags) == ({"p": "1"}, {"t": ""})
    assert [(m.key, m.value, m.step, m.at, m.dataset) for m in found.metrics] == [("acc", 0.5, 2, 9_000, "ds")]
    folder = found.artifact_uri.removeprefix("mlflow-artifacts:/")
    assert [entry.path for entry in home.artifacts.list(path=folder)] == ["MLmodel"]
    assert [(link.model, link.role, link.step) for link in home.runs.get(run_id=RUN).models] == [(model, "output", 7)]


def test_files_elsewhere_stay_there_and_are_told(home: Home, foreign: Database) -> None:
    foreign.experiment(2, "remote", "s3://bucket/two")
    foreign.run(RUN, 2, uri=f"s3://bucket/two/{RUN}/artifacts")
    foreign.run(OTHER, 1, uri="gs://old/place")
    foreign.run(THIRD, 1, uri=f"mlflow-artifacts:/1/{THIRD}/artifacts")

    brought = home.take(foreign.path)

    assert skipped(brought) == {
        "files in stores of their own (s3, gs, ...)": 2, "artifact folders that were not found": 1,
    }  # fmt: skip
    assert home.runs.get(run_id=RUN).artifact_uri == f"s3://bucket/two/{RUN}/artifacts"
    assert home.runs.get(run_id=OTHER).tags == {"perennial.imported.artifact_uri": "gs://old/place"}


def test_files_that_a_server_kept_are_found_where_one_says(home: Home, foreign: Database, tmp_path: Path) -> None:
    foreign.run(RUN, uri=f"mlflow-artifacts:/1/{RUN}/artifacts")
    foreign.run(OTHER, uri=f"file:///gone/1/{OTHER}/artifacts")
    for run in (RUN, OTHER):
        (tmp_path / "kept" / "1" / run / "artifacts").mkdir(parents=True)
        (tmp_path / "kept" / "1" / run / "artifacts" / "f").write_text(run)
    brought = home.take(foreign.path, tmp_path / "kept")
    assert (brought.counts["artifacts"], brought.skipped) == (2, [])


def test_C02_a_store_cannot_name_files_that_are_not_the_runs(home: Home, foreign: Database, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / RUN / "artifacts").mkdir(parents=True)
    (secret / "key").write_text("private")
    foreign.run(RUN, uri=f"file://{secret}")
    linked = foreign.run(OTHER)
    linked.mkdir(parents=True)
    (linked / "link").symlink_to(secret / "key")
    third = foreign.run(THIRD)
    third.parent.mkdir(parents=True)
    third.symlink_to(secret)

    brought = home.take(foreign.path)

    assert brought.counts["artifacts"] == 0
    assert skipped(brought) == {"artifact folders that were not found": 2, "links among artifacts": 1}


def test_a_file_that_cannot_be_named_here_is_a_problem_and_the_run_is_there(home: Home, foreign: Database) -> None:
    files = foreign.run(RUN)
    files.mkdir(parents=True)
    (files / "100%41.txt").write_text("x")
    (files / "good.txt").write_text("x")
    brought = home.take(foreign.path)
    assert [problem.what for problem in brought.problems] == [f"artifact 100%41.txt of run {RUN}"]
    assert [file.path for file in home.runs.get(run_id=RUN).artifacts] == ["good.txt"]


def test_a_database_of_mlflow_2_is_read(home: Home, tmp_path: Path) -> None:
    old = Database(tmp_path / "old.db", version=2)
    old.experiment(1, "e")
    old.run(RUN)
    old.point(RUN, "loss", 1.0)
    assert home.take(old.path).outcomes["runs"] == {"added": 1}
    assert home.history(RUN, "loss") == [(1, 0, 1.0)]


def test_a_run_with_very_many_points_comes_in_several_calls(
    home: Home, foreign: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ALONE_POINTS * 33 < 16 << 20  # what a call may carry
    monkeypatch.setattr("perennial.tracking.importing.bringing.ALONE_POINTS", 100)
    foreign.run(RUN)
    for key, count in (("a", 250), ("b", 30), ("c", 90)):
        rows = [(key, float(step), step, RUN, step, 0) for step in range(count)]
        foreign.file.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
    foreign.file.commit()

    assert home.take(foreign.path).problems == []
    for key, count in (("a", 250), ("b", 30), ("c", 90)):
        assert home.history(RUN, key) == [(step, step, float(step)) for step in range(count)]
    assert home.take(foreign.path).outcomes["runs"] == {"same": 1}


def test_a_dry_run_counts_and_changes_nothing(home: Home, foreign: Database) -> None:
    foreign.run(RUN).mkdir(parents=True)
    foreign.point(RUN, "loss", 1.0)
    before = home.everything()
    store = open_store(foreign.path)
    brought = bring(store, None)
    store.close()
    assert (brought.counts["runs"], brought.counts["metric points"], brought.dry_run) == (1, 1, True)
    assert home.everything() == before


def test_a_disk_that_fails_is_no_damaged_run(home: Home, foreign: Database) -> None:
    foreign.run(RUN)
    home.records.broken = "the disk is gone"
    with pytest.raises(StoreError):
        home.take(foreign.path)


def test_what_is_no_store_is_refused_with_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_store(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="no store that can be imported"):
        open_store(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.commit()
    other.close()
    with pytest.raises(DataError, match="not MLflow's"):
        open_store(tmp_path / "other.db")
