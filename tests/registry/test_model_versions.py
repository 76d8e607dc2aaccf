"""Versions that clients register: where their files may come from, and that nothing serves them unseen."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from perennial.clock import FixedClock
from perennial.errors import Forbidden, Invalid, NotFound, Refused
from perennial.registry.model_versions import ModelVersions
from perennial.registry.registered import Registered
from perennial.registry.versions import Models, point
from perennial.store.events import Events
from perennial.store.records import Records
from perennial.tracking.experiments import Experiments
from perennial.tracking.logged_models import LoggedModel, LoggedModels
from perennial.tracking.records import runs
from perennial.tracking.runs import Runs

BOTH = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)
PACKAGE = "a" * 64
RUN = "0123456789abcdef" * 2


@pytest.fixture
def run(records: Records) -> str:
    """A run, and its experiment's number."""
    return Runs(records).start(loop="wages", run_id=RUN).id


@pytest.fixture
def experiment(records: Records, run: str) -> int:
    number: int = records.read(lambda connection: connection.scalar(sa.select(runs.c.experiment)))
    return number


@pytest.fixture
def logged(logged_models: LoggedModels, experiment: int, run: str) -> LoggedModel:
    return logged_models.create(experiment=experiment, name="forest", run_id=run)


@pytest.fixture(autouse=True)
def _model(registered: Registered) -> None:
    registered.create(name="m")


def events(records: Records, kind: str) -> list[tuple[str, dict[str, object]]]:
    return [(event.subject, event.payload) for event in Events(records).list() if event.kind == kind]


@BOTH
def test_a_version_comes_back_as_it_was_registered(
    model_versions: ModelVersions, registered: Registered, records: Records, run: str, clock: FixedClock
) -> None:
    clock.advance(1)
    made = model_versions.create(
        name="m",
        source=f"runs:/{run}/model",
        run_id=run,
        run_link="http://x",
        description="d",
        tags={"a": "", "b": "2"},
    )
    assert made == model_versions.get(name="m", version=1)
    assert (made.state, made.stage, made.source, made.storage) == ("unreviewed", "None", made.storage, made.source)
    assert (made.run_id, made.run_link, made.description, made.tags) == (run, "http://x", "d", {"a": "", "b": "2"})
    assert made.created == made.updated == registered.get(name="m").updated == clock.now()
    payload = {"package": None, "run": run, "origin": "client", "model": None}
    assert events(records, "model.registered") == [("model/m/1", payload)]
    with pytest.raises(NotFound, match="name=other not found"):
        model_versions.create(name="other", source="s3://b/x")
    with pytest.raises(NotFound, match=r"Model Version \(name=m, version=2\) not found"):
        model_versions.get(name="m", version=2)


@BOTH
def test_a_logged_model_tells_its_files_and_run_and_learns_its_versions(
    model_versions: ModelVersions, logged_models: LoggedModels, logged: LoggedModel
) -> None:
    by_id = model_versions.create(name="m", source=f"models:/{logged.id}", model_id=logged.id)
    assert (by_id.storage, by_id.run_id, by_id.model_id) == (logged.artifact_uri, RUN, logged.id)
    without = model_versions.create(name="m", source=f"models:/{logged.id}")
    assert (without.storage, without.model_id) == (logged.artifact_uri, logged.id)
    below = model_versions.create(name="m", source=f"{logged.artifact_uri}/part", model_id=logged.id)
    assert (below.storage, below.run_id) == (f"{logged.artifact_uri}/part", RUN)
    told = logged_models.get(model_id=logged.id).tags["mlflow.modelVersions"]
    assert told == ", ".join(f'{{"name": "m", "version": {number}}}' for number in (1, 2, 3)).join("[]")
    copy = model_versions.create(name="m", source="models:/m/1")
    assert json.loads(logged_models.get(model_id=logged.id).tags["mlflow.modelVersions"])[-1]["version"] == copy.version


@BOTH
def test_a_copy_has_the_files_and_run_of_what_it_copies(
    model_versions: ModelVersions, registered: Registered, records: Records, models: Models, run: str
) -> None:
    model_versions.create(name="m", source=f"runs:/{run}/model", run_id=run)
    registered.set_alias(name="m", alias="best", version=1)
    model_versions.move(name="m", version=1, stage="Staging")
    for source in ("models:/m/1", "models:/m@best", "models:/m/staging", "models:/m/latest"):
        copy = model_versions.create(name="m", source=source)
        assert copy.storage == f"runs:/{run}/model"
        assert copy.run_id == run
        assert copy.source == (f"models:/m/{copy.version - 1}" if source.endswith("latest") else "models:/m/1")
    models.register(name="wages", package=PACKAGE, origin="loop", run_id=run)
    records.write(lambda tx: point(tx, "wages", "live", 1))
    ours = model_versions.create(name="m", source="models:/wages@live", run_id=run)
    assert ours.storage == "mlflow-artifacts:/packages/wages/1"


@BOTH
def test_C15_a_source_leads_only_where_its_request_may_point(
    model_versions: ModelVersions, records: Records, run: str, experiment: int, logged: LoggedModel
) -> None:
    root = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
    other = Runs(records).start(loop="wages", run_id="f" * 32).id
    model_versions.create(name="m", source="s3://b/x", run_id=run)
    refused = [
        (f"runs:/{run}/model", None, None),
        (f"runs:/{run}/model", other, None),
        (f"runs:/{run}/model", None, logged.id),
        (f"runs://host/{run}/model", run, None),
        (f"{root}/model", None, None),
        (f"{root}/model", other, None),
        (f"{root}/model", "e" * 32, None),
        (f"{root}X/model", run, None),
        (f"mlflow-artifacts://elsewhere/{experiment}/{run}/artifacts/model", run, None),
        ("mlflow-artifacts:/packages/wages/1", run, None),
        ("http://host/api/2.0/mlflow-artifacts/artifacts/1/x", run, None),
        ("https://host/prefix/api/2.0/mlflow-artifacts/artifacts/1/x", None, None),
        (f"{logged.artifact_uri}/part", run, None),
        (f"{root}/model", None, logged.id),
        (logged.artifact_uri, None, "m-" + "0" * 32),
        ("models:/m-" + "0" * 32, None, None),
        (f"models:/{logged.id}", None, "m-" + "0" * 32),
        ("models:/m/7", None, None),
        ("models:/m/99999999999999999999", None, None),
        ("models:/m/Staging", None, None),
        ("models:/m/bogus", None, None),
        ("models:/m@nobody", None, None),
        ("models:/nobody/1", None, None),
        ("models:/m/1/more", None, None),
        ("models:/", None, None),
        ("models://host/m/1", None, None),
        ("models:/m/1", other, None),
        ("models:/m/1", None, logged.id),
        ("/tmp", run, None),
        ("/etc/passwd", None, None),
        ("file:///tmp", run, None),
        ("file://123.456.789.123/tmp", run, None),
        ("C:/windows", run, None),
        ("model", None, None),
        ("s3://b/../x", None, None),
        ("s3://b/..%2fx", None, None),
        ("s3://b/%252e%252e/x", None, None),
        ("s3://b/%" + "25" * 20 + "2e./x", None, None),
        (f"{root}/..\\..\\x", run, None),
        ("s3://b/x%00", None, None),
        ("s3:relative", None, None),
        ("s3://b", None, None),
        ("http://[", None, None),
        ("dbfs:/x/a%3f/../../..", None, None),
        ("s3://b/x\ud800", None, None),
    ]
    for source, run_id, model_id in refused:
        with pytest.raises(Invalid):
            model_versions.create(name="m", source=source, run_id=run_id, model_id=model_id)
    allowed = [
        (root, run),
        (f"{root}//model/", run),
        (f"{root}/with%20space", run),
        ("mlflow+s3://b/x", None),
        ("s3://b//x/..../", None),
        ("gs://b/x", "nobody"),
        ("http://host/models/x", None),
        ("dbfs:/models/x", None),
    ]
    for source, run_id in allowed:
        assert model_versions.create(name="m", source=source, run_id=run_id).storage == source
    assert len(model_versions.search().versions) == 1 + len(allowed)
    assert len(events(records, "model.registered")) == 1 + len(allowed)


def test_C15_a_local_path_lies_in_the_run_s_own_local_folder(model_versions: ModelVersions, records: Records) -> None:
    made = Experiments(records).create(name="local", artifact_location="file:///data/here")
    run = Runs(records).start(experiment=made.id, run_id=RUN).id
    for source in (
        "/data/here/{}/artifacts",
        "file:///data/here/{}/artifacts/model",
        "file://localhost/data/here/{}/artifacts/.",
    ):
        assert model_versions.create(name="m", source=source.format(run), run_id=run).version
    for source in (
        "/data/here",
        "/data/here/{}/artifactsX",
        "/data/here/{}/artifacts/../../other",
        "file://far/data/here/{}/artifacts",
    ):
        with pytest.raises(Invalid):
            model_versions.create(name="m", source=source.format(run), run_id=run)
    with pytest.raises(Invalid, match="To use a local path as a model version source"):
        model_versions.create(name="m", source=f"/data/here/{run}/artifacts")


@BOTH
def test_F40_numbers_are_given_once_whoever_asks_at_the_same_time(
    model_versions: ModelVersions, models: Models, records: Records
) -> None:
    def one(number: int) -> int:
        if number % 2:
            return models.register(name="m", package=PACKAGE, origin="loop", run_id=f"r{number}").version
        return model_versions.create(name="m", source="s3://b/x").version

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(one, range(40)))
    assert sorted(given) == list(range(1, 41))
    assert Events(records).verify() == []


@BOTH
def test_a_deleted_version_is_gone_from_every_read_and_its_number_is_not_given_again(
    model_versions: ModelVersions, registered: Registered, models: Models, records: Records
) -> None:
    for _ in range(2):
        model_versions.create(name="m", source="s3://b/x", tags={"k": "v"})
    for alias in ("best", "other"):
        registered.set_alias(name="m", alias=alias, version=2)
    model_versions.move(name="m", version=2, stage="Staging")
    model_versions.delete(name="m", version=2)
    for read in (
        lambda: model_versions.get(name="m", version=2),
        lambda: model_versions.delete(name="m", version=2),
        lambda: model_versions.describe(name="m", version=2, description=""),
        lambda: model_versions.set_tag(name="m", version=2, key="a", value=""),
        lambda: model_versions.delete_tag(name="m", version=2, key="a"),
        lambda: model_versions.move(name="m", version=2, stage="None"),
        lambda: registered.set_alias(name="m", alias="best", version=2),
        lambda: models.get(name="m", version=2),
    ):
        with pytest.raises(NotFound):
            read()
    assert [version.version for version in model_versions.search().versions] == [1]
    assert [version.version for version in models.list(name="m")] == [1]
    assert models.get(name="m").version == 1
    assert registered.get(name="m").aliases == {}
    assert [version.version for version in registered.latest(name="m")] == [1]
    assert registered.at_alias(name="m", alias="latest").version == 1
    with pytest.raises(Invalid, match="no such version"):
        model_versions.create(name="m", source="models:/m/2")
    assert model_versions.create(name="m", source="s3://b/x").version == 3
    assert events(records, "model.removed") == [("model/m/2", {"aliases": ["best", "other"]})]


@pytest.mark.parametrize("alias", ["live", "candidate", None])
def test_a_version_of_a_loop_is_described_and_tagged_but_not_deleted(
    model_versions: ModelVersions, models: Models, records: Records, alias: str | None
) -> None:
    models.register(name="wages", package=PACKAGE, origin="loop", run_id="r1")
    if alias:
        records.write(lambda tx: point(tx, "wages", alias, 1))
    with pytest.raises(Forbidden, match="perennial deploy wages@VERSION"):
        model_versions.delete(name="wages", version=1)
    model_versions.set_tag(name="wages", version=1, key="k", value="v")
    told = model_versions.describe(name="wages", version=1, description="mine")
    assert (told.tags, told.description, told.state) == ({"k": "v"}, "mine", "candidate")
    assert (told.source, told.storage) == ("mlflow-artifacts:/packages/wages/1",) * 2
    assert told.stage == ("Production" if alias == "live" else "None")


@BOTH
def test_stages_in_any_letter_case_and_archiving_what_was_there(
    model_versions: ModelVersions, registered: Registered, clock: FixedClock, records: Records
) -> None:
    for _ in range(3):
        model_versions.create(name="m", source="s3://b/x")
    model_versions.move(name="m", version=1, stage="staging")
    clock.advance(1)
    assert model_versions.move(name="m", version=2, stage="STAGING", archive_existing=True).stage == "Staging"
    assert model_versions.get(name="m", version=1).stage == "Archived"
    assert registered.get(name="m").updated == model_versions.get(name="m", version=1).updated == clock.now()
    for stage in ("None", "Archived"):
        with pytest.raises(Invalid, match="is not an Active stage"):
            model_versions.move(name="m", version=1, stage=stage, archive_existing=True)
    with pytest.raises(Invalid, match="Invalid Model Version stage: bogus"):
        model_versions.move(name="m", version=1, stage="bogus")
    assert events(records, "model.staged") == [
        ("model/m/1", {"from": "None", "to": "Staging"}),
        ("model/m/1", {"from": "Staging", "to": "Archived"}),
        ("model/m/2", {"from": "None", "to": "Staging"}),
    ]


@pytest.mark.parametrize("stage", ["Production", "PRODUCTION"])
def test_production_is_reached_only_through_approval_and_rollout(
    model_versions: ModelVersions, models: Models, records: Records, stage: str
) -> None:
    model_versions.create(name="m", source="s3://b/x")
    with pytest.raises(Forbidden, match="perennial deploy m@1"):
        model_versions.move(name="m", version=1, stage=stage)
    models.register(name="wages", package=PACKAGE, origin="loop")
    records.write(lambda tx: point(tx, "wages", "live", 1))
    with pytest.raises(Forbidden, match="perennial rollback wages"):
        model_versions.move(name="wages", version=1, stage="Archived")
    assert model_versions.get(name="wages", version=1).stage == "Production"


@BOTH
def test_an_unreviewed_version_stands_in_the_same_line_and_is_not_decided_on(
    model_versions: ModelVersions, models: Models, records: Records
) -> None:
    models.register(name="m", package=PACKAGE, origin="loop", run_id=RUN)
    made = model_versions.create(name="m", source="s3://b/x", run_id=RUN)
    seen = models.get(name="m")
    assert (seen.version, seen.package, seen.origin, seen.state) == (2, None, "client", "unreviewed")
    assert (seen.source, seen.updated) == (made.source, made.updated)
    assert models.list(state="candidate") == models.list(name="m")[:1]
    for decide in (
        lambda: models.approve(name="m", version=2),
        lambda: models.approve_by_rule(name="m", version=2, rule="automatic"),
        lambda: models.reject(name="m", version=2, comment="worse"),
    ):
        with pytest.raises(Refused, match="has no package") as caught:
            decide()
        assert "perennial deploy" in caught.value.remedy
    assert models.get(name="m", version=2).state == "unreviewed"
    # A run that a client named does not stand for the version that the loop registers of it.
    assert models.register(name="m", package=PACKAGE, origin="loop", run_id=RUN).version == 1
