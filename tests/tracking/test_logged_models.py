"""Logged models: what a client saved as one model, and how it measured on which data."""

from __future__ import annotations

import pytest

from perennial.clock import FixedClock
from perennial.errors import Invalid, NotFound
from perennial.store.records import Records
from perennial.tracking.logged_models import LoggedModels
from perennial.tracking.run import MetricPoint
from perennial.tracking.runs import Runs
from perennial.tracking.search.logged_models import DatasetFilter, ModelOrder


def point(key: str, value: float | str, at: int = 0) -> MetricPoint:
    return MetricPoint(key=key, value=value, at=at)  # type: ignore[arg-type]


def test_a_model_tells_back_what_it_was_given(both: Records) -> None:
    models, runs = LoggedModels(both), Runs(both)
    run = runs.start()
    made = models.create(experiment=0, name="m", type="lgbm", run_id=run.id, params={"a": "1"}, tags={"t": "x"})
    assert made == models.get(model_id=made.id)
    assert (made.status, made.run, made.params, made.tags) == ("pending", run.id, {"a": "1"}, {"t": "x"})
    assert made.artifact_uri == f"mlflow-artifacts:/0/models/{made.id}/artifacts"
    assert models.finalize(model_id=made.id, status="ready").status == "ready"
    assert models.set_tags(model_id=made.id, tags={"t": "y", "u": ""}).tags == {"t": "y", "u": ""}
    models.log_params(model_id=made.id, params={"b": "2"})
    models.delete_tag(model_id=made.id, key="u")
    with pytest.raises(NotFound, match="No tag"):
        models.delete_tag(model_id=made.id, key="u")
    models.log_metrics(run_id=run.id, model_id=made.id, metrics=[point("rmse", 0.5)], dataset="d", digest="1")
    models.log_metrics(run_id=run.id, model_id=made.id, metrics=[point("rmse", "NaN")])
    told = models.get(model_id=made.id)
    assert sorted((m.dataset, str(m.value)) for m in told.metrics) == [("", "NaN"), ("d", "0.5")]
    assert runs.get(run_id=run.id).metrics["rmse"].value == "NaN"
    assert models.create(experiment=0).name.startswith("model-")


def test_a_deleted_model_is_gone_until_somebody_asks_for_deleted_ones(both: Records) -> None:
    models = LoggedModels(both)
    made = models.create(experiment=0, name="m")
    models.delete(model_id=made.id)
    for again in (
        lambda: models.get(model_id=made.id),
        lambda: models.delete(model_id=made.id),
        lambda: models.finalize(model_id=made.id, status="ready"),
        lambda: models.get(model_id="m-" + "0" * 32),
    ):
        with pytest.raises(NotFound):
            again()
    assert models.get(model_id=made.id, deleted=True).id == made.id
    assert models.search(experiments=[0]).models == []


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_a_name_with_signs_that_addresses_use_is_refused(both: Records, name: str) -> None:
    with pytest.raises(Invalid):
        LoggedModels(both).create(experiment=0, name=name)


def test_models_are_found_by_what_they_measured_and_on_which_data(both: Records) -> None:
    models, runs, clock = LoggedModels(both), Runs(both), both.clock
    assert isinstance(clock, FixedClock)
    run = runs.start().id
    ids: list[str] = []
    for number, (value, dataset) in enumerate([(0.9, "train"), (0.7, "test"), (0.8, "test")]):
        clock.advance(1_000)
        made = models.create(experiment=0, name=f"m{number}", type="a" if number else "b", params={"p": str(number)})
        models.log_metrics(run_id=run, model_id=made.id, metrics=[point("acc", value)], dataset=dataset, digest="d")
        ids.append(made.id)

    def found(filter: str = "", **asked: object) -> list[int]:
        return [ids.index(m.id) for m in models.search(experiments=[0], filter=filter, **asked).models]  # type: ignore[arg-type]

    assert found() == [2, 1, 0]
    assert found("metrics.acc > 0.75") == [2, 0]
    assert found("metrics.acc > 0.75", datasets=[DatasetFilter(dataset_name="test")]) == [2]
    assert found(datasets=[DatasetFilter(dataset_name="train", dataset_digest="d")]) == [0]
    assert found("model_type = 'a' AND params.p != '2'") == [1]
    assert found("name IN ('m0', 'm2')") == [2, 0]
    best_on_test = ModelOrder(field_name="metrics.acc", ascending=False, dataset_name="test")
    assert found(order_by=[best_on_test]) == [2, 1, 0]
    assert found(order_by=[ModelOrder(field_name="metrics.acc")]) == [1, 2, 0]
    assert found(order_by=[ModelOrder(field_name="creation_timestamp")]) == [0, 1, 2]
    page = models.search(experiments=[0], limit=2)
    assert page.next_page_token is not None
    assert [m.id for m in models.search(experiments=[0], limit=2, page_token=page.next_page_token).models] == [ids[0]]
    with pytest.raises(Invalid, match="another search"):
        models.search(experiments=[0], limit=2, filter="name = 'x'", page_token=page.next_page_token)
