"""What was deleted can be restored until the trash is emptied; then it is gone, and its names are free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.errors import Invalid, NotFound, PerennialError
from perennial.store.failpoints import arm
from perennial.store.workspace_folder import create_folder
from perennial.tracking.run import Input, MetricPoint, ModelLink
from perennial.workspace import Owned, Services
from tests.store.new_records import with_records


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Owned]:
    one = Owned(with_records(create_folder(tmp_path / ".perennial", now=SystemClock().now())), Settings())
    with one.workspace:
        yield one


def filled(ws: Services, experiment: int) -> tuple[str, str]:
    """A run with something in every table, and a logged model, with a file each."""
    run = ws.runs.start(experiment=experiment, params={"a": "1"}, tags={"t": "x"}, dataset={"d": "1"}).id
    ws.runs.log_metrics(run_id=run, metrics=[MetricPoint(key="m", value=float(i), step=i, at=i) for i in range(400)])
    ws.runs.log_metrics(run_id=run, metrics=[MetricPoint(key="n", value=1.0, at=1)])
    used = Input(name="set", digest="2", source_type="s", source="x", tags={"k": "v"})
    ws.runs.log_inputs(run_id=run, datasets=[used])
    model = ws.logged_models.create(experiment=experiment, name="m", run_id=run, params={"p": "1"}, tags={"t": "x"})
    ws.runs.log_inputs(run_id=run, datasets=[], models=[ModelLink(model=model.id, role="output")])
    metrics = [MetricPoint(key="acc", value=0.5, at=1)]
    ws.logged_models.log_metrics(run_id=run, model_id=model.id, metrics=metrics)
    for root in (ws.runs.get(run_id=run).artifact_uri, model.artifact_uri):
        digest = ws.artifacts.objects.put(root.encode())
        ws.artifacts.add(path=f"{root.removeprefix('mlflow-artifacts:/')}/a/f.txt", digest=digest, size=len(root))
    return run, model.id


TABLES = (
    *("runs", "params", "tags", "metric_points", "metric_chunks", "metrics_latest", "steps", "artifacts"),
    *("inputs", "input_datasets", "input_tags", "run_models", "experiments", "experiment_tags"),
    *("logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics"),
)


def counts(owned: Owned) -> dict[str, int]:
    def query(connection: sa.Connection) -> dict[str, int]:
        return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in TABLES}

    return owned.records.read(query)


def test_an_emptied_trash_leaves_no_row_and_no_file_and_frees_the_name(owned: Owned) -> None:
    ws = Services(owned.workspace)
    before = counts(owned)
    experiment = ws.experiments.create(name="x", tags={"a": "b"}).id
    filled(ws, experiment)
    assert all(count > 0 for name, count in counts(owned).items() if name != "steps")
    ws.experiments.delete(id=experiment)
    assert ws.trash.empty(dry_run=True) == ws.trash.empty(older_than_s=0.0)
    assert counts(owned) == before
    assert ws.experiments.create(name="x").id != experiment
    assert owned.workspace.events.list(kind="tracking.erased")


def test_what_lives_and_what_was_deleted_just_now_stays(owned: Owned) -> None:
    ws = Services(owned.workspace)
    run, _ = filled(ws, 0)
    gone, model = filled(ws, 0)
    ws.runs.delete(run_id=gone)
    assert ws.trash.empty(older_than_s=3600).runs == 0
    ws.runs.restore(run_id=gone)
    assert ws.trash.empty().runs == 0
    ws.runs.delete(run_id=gone)
    assert ws.trash.empty().runs == 1
    with pytest.raises(NotFound):
        ws.runs.get(run_id=gone)
    assert len(ws.runs.history(run_id=run, key="m").at) == 400
    assert ws.logged_models.get(model_id=model).name == "m"
    for no_time in (-1, 1e308, float("inf"), float("nan")):
        with pytest.raises(Invalid):
            ws.trash.empty(older_than_s=no_time)


def test_files_of_a_registered_version_stay(owned: Owned) -> None:
    ws = Services(owned.workspace)
    run, model = filled(ws, 0)
    ws.registered.create(name="kept")
    ws.model_versions.create(name="kept", source=f"models:/{model}", run_id=run)
    ws.logged_models.delete(model_id=model)
    ws.runs.delete(run_id=run)
    assert (ws.trash.empty().models, counts(owned)["artifacts"]) == (1, 1)


def test_F35_a_failure_while_emptying_loses_nothing_and_it_can_be_repeated(tmp_path: Path) -> None:
    folder = create_folder(tmp_path / ".perennial", now=SystemClock().now())
    with (one := Owned(folder, Settings())).workspace:
        ws = Services(one.workspace)
        for _ in range(3):
            run, _ = filled(ws, 0)
            ws.runs.delete(run_id=run)
        before = counts(one)
        arm("records.committing=error")
        try:
            with pytest.raises(PerennialError):
                ws.trash.empty()
        finally:
            arm("")
        assert counts(one) == before
    with (one := Owned(folder, Settings())).workspace:
        assert counts(one) == before
        assert Services(one.workspace).trash.empty().runs == 3
        assert {counts(one)[name] for name in ("runs", "metric_points", "metric_chunks", "params", "inputs")} == {0}
