"""Import of MLflow's folder `mlruns`: everything, once; a file that is damaged spoils its run alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.importing.conftest import Home

RUN, OTHER = "a" * 32, "b" * 32
MODEL = "m-" + "1" * 32


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def experiment(folder: Path, key: str, name: str, life: str = "active") -> None:
    lines = (f"artifact_location: file:///old/mlruns/{key}", "creation_time: 1", f"experiment_id: '{key}'")
    put(
        folder / key / "meta.yaml",
        "\n".join([*lines, "last_update_time: 2", f"lifecycle_stage: {life}", f"name: {name}"]),
    )


def run(folder: Path, key: str, run: str, **changes: str) -> Path:
    meta = {
        "artifact_uri": f"file:///old/mlruns/{key}/{run}/artifacts", "end_time": "20", "experiment_id": f"'{key}'",
        "lifecycle_stage": "active", "run_id": run, "run_name": "'a: b'", "source_version": "''", "start_time": "10",
        "status": "3", "tags": "[]", "user_id": "ada",
    }  # fmt: skip
    put(folder / key / run / "meta.yaml", "".join(f"{name}: {value}\n" for name, value in (meta | changes).items()))
    return folder / key / run


# What a dataset, a registered model and one of its versions look like.
DATASET = """
digest: x
name: ds
profile: null
schema: '{}'
source: s
source_type: local
"""
REGISTERED = """
aliases:
  live: '1'
  best: '1'
creation_timestamp: 1
description: 'a

  b'
name: m
"""
VERSION = f"""
aliases:
- best
creation_timestamp: 7
current_stage: Archived
name: m
run_id: {RUN}
run_link: ''
source: models:/{MODEL}
version: 1
"""


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    folder = tmp_path / "mlruns"
    experiment(folder, "77", "größe 日本")
    return folder


def test_a_run_comes_with_all_that_hangs_on_it(home: Home, mlruns: Path) -> None:
    there = run(mlruns, "77", RUN)
    put(there / "params" / "a" / "b c", "")
    put(there / "tags" / "mlflow.note.content", "x\ny")
    put(there / "metrics" / "m" / "x", "5 1.0 3\n5 nan 3\n4 -inf -2\n6 0.5\n7 2.5 9 ds digest\n")
    put(there / "metrics" / "same", "5 1.0 3\n5 2.0 3\n5 nan 3\n")
    put(there / "artifacts" / "plots" / "roc.svg", "<svg/>")
    put(mlruns / "77" / "datasets" / "d" / "meta.yaml", DATASET)
    tags = "tags:\n  mlflow.data.context: training\n"
    put(there / "inputs" / "i" / "meta.yaml", f"destination_id: i\nsource_id: d\nsource_type: DATASET\n{tags}")
    put(
        there / "outputs" / MODEL / "meta.yaml",
        f"destination_id: {MODEL}\nsource_type: RUN_OUTPUT\nstep: 4\ntags: {{}}\n",
    )
    put(mlruns / "77" / "traces" / "tr" / "x", "")

    brought = home.take(mlruns)

    assert (brought.problems, brought.outcomes["runs"]) == ([], {"added": 1})
    assert {skip.kind: skip.count for skip in brought.skipped} == {"traces": 1}
    found = home.runs.get(run_id=RUN)
    assert (found.loop, found.name, found.person, found.status) == ("größe 日本", "a: b", "ada", "finished")
    assert (found.started, found.ended, found.params) == (10_000, 20_000, {"a/b c": ""})
    assert found.tags == {"mlflow.note.content": "x\ny"}
    assert home.history(RUN, "m/x") == [(4, -2, "-Infinity"), (5, 3, 1.0), (5, 3, "NaN"), (6, 0, 0.5), (7, 9, 2.5)]
    assert (found.metrics["same"].value, found.metrics["m/x"].value) == (2.0, 2.5)
    assert [(used.name, used.schema, used.context) for used in found.inputs] == [("ds", "{}", "training")]
    assert [(link.model, link.role, link.step) for link in found.models] == [(MODEL, "output", 4)]
    assert [home.objects.get(file.digest) for file in found.artifacts] == [b"<svg/>"]  # wherever the folder lies now


def test_the_same_again_changes_nothing(home: Home, mlruns: Path) -> None:
    put(run(mlruns, "77", RUN) / "metrics" / "loss", "1 1.0 1\n")
    put(mlruns / "models" / "m" / "meta.yaml", "creation_timestamp: 1\nname: m\n")
    home.take(mlruns)
    before = home.everything()
    assert home.take(mlruns).outcomes == {"runs": {"same": 1}, "registered models": {"same": 1}}
    assert home.everything() == before


def test_what_lies_in_the_trash_comes_deleted(home: Home, mlruns: Path) -> None:
    experiment(mlruns / ".trash", "88", "gone", "deleted")
    run(mlruns / ".trash", "88", RUN, lifecycle_stage="deleted", deleted_time="44")
    home.take(mlruns)
    assert (home.experiments.get(name="gone").lifecycle, home.runs.get(run_id=RUN).lifecycle) == ("deleted", "deleted")


@pytest.mark.parametrize(
    "name, text",
    [
        ("meta.yaml", "run_id: !!python/object:os.system x\n"),
        ("meta.yaml", ""),
        ("metrics/loss", "1 fast 1\n"),
        ("metrics/loss", "1\n"),
        ("metrics/loss", "99999999999999999999 1.0 1\n"),
        ("inputs/i/meta.yaml", "source_type: DATASET\nsource_id: ../../../77\n"),
        ("inputs/i/meta.yaml", "source_type: DATASET\nsource_id: nothing\n"),
    ],
)
def test_F39_a_damaged_file_spoils_its_run_alone(home: Home, mlruns: Path, name: str, text: str) -> None:
    put(run(mlruns, "77", RUN) / name, text)
    run(mlruns, "77", OTHER)
    brought = home.take(mlruns)
    assert [problem.what for problem in brought.problems] == [f"run {RUN}"]
    assert [found.id for found in home.runs.list()] == [OTHER]


def test_models_versions_and_logged_models_come_along(home: Home, mlruns: Path) -> None:
    run(mlruns, "77", RUN)
    meta = f"artifact_location: file:///old/mlruns/77/models/{MODEL}/artifacts\ncreation_timestamp: 3\n"
    rest = (
        f"last_updated_timestamp: 4\nmodel_id: {MODEL}\nmodel_type: null\nname: lm\nsource_run_id: {RUN}\nstatus: 2\n"
    )
    there = mlruns / "77" / "models" / MODEL
    put(there / "meta.yaml", meta + rest)
    put(there / "params" / "p", "1")
    put(there / "metrics" / "acc", f"9 nan 2 {RUN} ds x\n9 0.5 2 {RUN}\n")
    put(there / "artifacts" / "MLmodel", "x")
    put(mlruns / "models" / "m" / "meta.yaml", REGISTERED)
    put(mlruns / "models" / "m" / "version-1" / "meta.yaml", VERSION)

    assert home.take(mlruns).problems == []
    model = home.logged_models.get(model_id=MODEL)
    assert (model.name, model.status, model.params) == ("lm", "ready", {"p": "1"})
    measured = {(m.key, m.value, m.dataset, m.digest) for m in model.metrics}
    assert measured == {("acc", "NaN", "ds", "x"), ("acc", 0.5, "", "")}
    found = home.model_versions.get(name="m", version=1)
    assert (found.stage, found.model_id, found.source) == ("Archived", MODEL, f"models:/{MODEL}")
    registered = home.registered.get(name="m")
    assert (registered.description, registered.aliases) == ("a\nb", {"best": 1})
