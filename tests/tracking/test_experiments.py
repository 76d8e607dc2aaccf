"""Experiments: names are taken once, what is deleted comes back whole."""

from __future__ import annotations

import pytest

from perennial.clock import FixedClock
from perennial.errors import AlreadyExists, Conflict, Invalid, NotFound
from perennial.store.records import Records
from perennial.tracking.experiments import Experiments
from perennial.tracking.runs import Runs


def test_an_experiment_tells_back_what_it_was_given(both: Records) -> None:
    experiments = Experiments(both)
    made = experiments.create(name="a b/ü", tags={"team": "x", "note": "second"})
    assert made == experiments.get(id=made.id) == experiments.get(name="a b/ü")
    assert (made.tags, made.lifecycle) == ({"note": "second", "team": "x"}, "active")
    assert made.artifact_location == f"mlflow-artifacts:/{made.id}"
    experiments.set_tags(id=made.id, tags={"team": "y", "empty": ""})
    experiments.delete_tag(id=made.id, key="note")
    assert experiments.get(id=made.id).tags == {"team": "y", "empty": ""}
    with pytest.raises(NotFound, match="No tag"):
        experiments.delete_tag(id=made.id, key="note")


def test_runs_that_name_no_experiment_are_kept_under_the_default_one(both: Records) -> None:
    assert Runs(both).start().experiment == Experiments(both).get(name="Default").id == 0


def test_a_deleted_experiment_keeps_its_name_and_comes_back_with_all_its_runs(both: Records) -> None:
    experiments, runs = Experiments(both), Runs(both)
    number = experiments.create(name="x").id
    kept, gone = runs.start(experiment=number).id, runs.start(experiment=number).id
    runs.delete(run_id=gone)
    experiments.delete(id=number)
    assert runs.get(run_id=kept).lifecycle == "deleted"
    with pytest.raises(AlreadyExists, match="deleted state"):
        experiments.create(name="x")
    with pytest.raises(Invalid, match="active"):
        runs.start(experiment=number)
    with pytest.raises(Invalid, match="is deleted"):
        runs.start(loop="x")
    with pytest.raises(Conflict, match="non-active"):
        experiments.rename(id=number, name="y")
    with pytest.raises(NotFound):
        experiments.delete(id=number)
    experiments.restore(id=number)
    assert {runs.get(run_id=run).lifecycle for run in (kept, gone)} == {"active"}
    with pytest.raises(NotFound):
        experiments.restore(id=number)


def test_a_name_is_changed_unless_somebody_has_it(both: Records) -> None:
    experiments = Experiments(both)
    first, second = experiments.create(name="a"), experiments.create(name="b")
    with pytest.raises(AlreadyExists):
        experiments.rename(id=second.id, name="a")
    assert experiments.rename(id=second.id, name="c").name == "c"
    assert experiments.rename(id=first.id, name="a").name == "a"
    with pytest.raises(NotFound):
        experiments.rename(id=99, name="z")


def test_experiments_are_found_by_filter_in_order_and_in_pages(both: Records) -> None:
    experiments, clock = Experiments(both), both.clock
    assert isinstance(clock, FixedClock)
    for number in range(7):
        clock.advance(1)
        experiments.create(name=f"exp-{number}", tags={"even": str(number % 2 == 0)})
    experiments.delete(id=experiments.get(name="exp-6").id)

    def names(**asked: object) -> list[str]:  # the default one was made by the machine's clock
        found = experiments.search(**asked).experiments  # type: ignore[arg-type]
        return [one.name for one in found if one.name != "Default"]

    assert names() == ["exp-5", "exp-4", "exp-3", "exp-2", "exp-1", "exp-0"]
    assert names(filter="tags.even = 'True'") == ["exp-4", "exp-2", "exp-0"]
    assert names(filter="name LIKE 'EXP%'") == []
    assert names(filter="name ILIKE 'EXP%' AND tags.even != 'True'", order_by=["name"]) == ["exp-1", "exp-3", "exp-5"]
    assert names(filter="creation_time >= 6000", order_by=["creation_time ASC"]) == ["exp-4", "exp-5"]
    assert names(view="deleted") == ["exp-6"]
    found, token = [], ""
    while True:
        page = experiments.search(view="all", order_by=["experiment_id"], limit=3, page_token=token)
        found += [experiment.id for experiment in page.experiments]
        if page.next_page_token is None:
            break
        token = page.next_page_token
    assert found == list(range(8))


@pytest.mark.parametrize("name", ["", "x" * 501, "a\0b"])
def test_a_name_that_cannot_be_kept_is_refused(both: Records, name: str) -> None:
    with pytest.raises(Invalid):
        Experiments(both).create(name=name)


@pytest.mark.parametrize(
    "location",
    ["runs:/1/a", "s3://b/x?a=../b", "s3://b/x#y", "mlflow-artifacts:/x?y", "file:///a/../b", "x" * 2049],
)
def test_C01_a_location_that_leads_elsewhere_is_refused(both: Records, location: str) -> None:
    with pytest.raises(Invalid):
        Experiments(both).create(name="x", artifact_location=location)
