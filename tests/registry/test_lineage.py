"""Both ways: what a version was made of and what became of it, and which versions learned from a dataset version."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.clock import FixedClock
from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.schema import Schema
from perennial.errors import NotFound
from perennial.registry.lineage import Learned
from perennial.registry.versions import Models, point
from perennial.store.actor import acting
from perennial.store.records import Records
from perennial.tracking.runs import Runs

RUN, OTHER, THIRD = "a" * 32, "b" * 32, "c" * 32

pytestmark = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def datasets(records: Records) -> Datasets:
    return Datasets(records)


@pytest.fixture
def runs(records: Records) -> Runs:
    return Runs(records)


def data(datasets: Datasets, name: str, content: str, **more: Any) -> DatasetVersion:
    return datasets.commit(
        name=name, logical=content * 64, manifest="e" * 64, rows=10, schema=Schema(columns=[]), **more
    )


def model(models: Models, run: str, of: DatasetVersion | None = None, name: str = "wages") -> int:
    about: dict[str, Any] = {} if of is None else {"dataset": of.name, "dataset_version": of.version}
    return models.register(name=name, package="f" * 64, origin="loop", run_id=run, **about).version


def names(found: list[Learned]) -> list[tuple[str, int, list[str]]]:
    return [(one.name, one.version, one.through) for one in found]


def test_a_version_is_found_by_the_data_that_it_names_and_by_all_that_its_run_used(
    models: Models, datasets: Datasets, runs: Runs
) -> None:
    survey, towns = data(datasets, "survey", "1"), data(datasets, "towns", "2")
    runs.start(loop="wages", run_id=RUN, dataset={"survey": survey.logical, "towns": towns.logical})
    version = model(models, RUN, survey)
    model(models, OTHER, None, name="unrelated")
    assert names(models.learned_from(dataset="survey", version=1)) == [("wages", version, [])]
    assert names(models.learned_from(dataset="towns", version=1)) == [("wages", version, [])]
    used = models.lineage(name="wages", version=version).datasets
    assert [(one.name, one.version, one.logical, one.rows) for one in used] == [
        ("survey", 1, survey.logical, 10),
        ("towns", 1, towns.logical, 10),
    ]


def test_a_version_is_found_through_data_that_a_run_made(models: Models, datasets: Datasets, runs: Runs) -> None:
    raw = data(datasets, "raw", "1")
    runs.start(loop="cleaning", run_id=RUN, dataset={"raw": raw.logical})
    clean = data(datasets, "clean", "2", run_id=RUN)
    runs.start(loop="wages", run_id=OTHER, dataset={"clean": clean.logical})
    model(models, OTHER, clean)
    assert names(models.learned_from(dataset="raw", version=1)) == [("wages", 1, ["clean@1"])]


def test_what_one_run_collects_side_by_side_is_not_made_of_each_other(
    models: Models, datasets: Datasets, runs: Runs
) -> None:
    first, second = data(datasets, "first", "1", run_id=RUN), data(datasets, "second", "2", run_id=RUN)
    runs.start(loop="wages", run_id=RUN, dataset={"first": first.logical, "second": second.logical})
    runs.start(loop="other", run_id=OTHER, dataset={"second": second.logical})
    model(models, OTHER, second)
    assert names(models.learned_from(dataset="first", version=1)) == []


def test_a_version_is_found_through_data_to_which_rows_were_appended(models: Models, datasets: Datasets) -> None:
    old = data(datasets, "visits", "1", source={"cursor": 5})
    grown = data(datasets, "visits", "2", source={"cursor": 9}, parent=old.version)
    anew = data(datasets, "visits", "3", source={"kind": "path"}, parent=grown.version)
    model(models, RUN, grown)
    model(models, OTHER, anew)
    assert names(models.learned_from(dataset="visits", version=1)) == [("wages", 1, ["visits@2"])]
    with pytest.raises(NotFound):
        models.learned_from(dataset="visits", version=9)


def test_data_that_were_given_up_are_still_told(models: Models, datasets: Datasets, clock: FixedClock) -> None:
    survey = data(datasets, "survey", "1")
    model(models, RUN, survey)
    datasets.remove(name="survey", version=1)
    (used,) = models.lineage(name="wages", version=1).datasets
    assert (used.logical, used.manifest, used.removed_at) == (survey.logical, None, clock.now())
    assert names(models.learned_from(dataset="survey", version=1)) == [("wages", 1, [])]


def test_the_whole_way_of_a_version_is_told(
    models: Models, datasets: Datasets, runs: Runs, records: Records, clock: FixedClock
) -> None:
    runs.start(loop="wages", run_id=RUN, git_commit="abc", seed=7, reason="drop found")
    model(models, RUN)
    with acting("Ada", "page"):
        models.approve(name="wages", version=1, comment="good")
    began = clock.now()
    with acting("reconciler", "reconciler"):
        records.write(lambda tx: point(tx, "wages", "live", 1))
    clock.advance(3600)
    model(models, OTHER)
    clock.advance(60)
    records.write(lambda tx: point(tx, "wages", "live", 2))
    found = models.lineage(name="wages", version=1)
    assert found.run is not None
    assert (found.run.id, found.run.git_commit, found.run.seed, found.run.reason) == (RUN, "abc", 7, "drop found")
    assert [(one.what, one.comment, one.package) for one in found.decisions] == [
        ("registered", "", "f" * 64),
        ("approved", "good", "f" * 64),
    ]
    assert found.decisions[1].by == "Ada"
    assert [(span.since, span.until, span.by) for span in found.live] == [
        (began, clock.now(), "reconciler via reconciler")
    ]
    second = models.lineage(name="wages", version=2)
    assert [(one.name, one.version, one.how) for one in second.parents] == [
        ("wages", 1, "it was live when this one was registered")
    ]
    assert second.live[0].until is None


def test_of_a_version_that_is_not_there_nothing_is_told(models: Models) -> None:
    with pytest.raises(NotFound):
        models.lineage(name="wages", version=1)
