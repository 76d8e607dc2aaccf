"""Evaluation datasets: a record is known by its inputs, and what is told is what was sent."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
import sqlalchemy as sa

from perennial.errors import Invalid, NotFound, TooLarge
from perennial.store.events import Events
from perennial.store.records import Records
from perennial.tracking import evaluation_datasets as module
from perennial.tracking import evaluation_rows
from perennial.tracking.evaluation_datasets import EvaluationDataset, EvaluationDatasets
from perennial.tracking.evaluation_record import EvaluationRecord, GivenRecord, Source
from perennial.tracking.experiments import Experiments


@pytest.fixture
def datasets(both: Records) -> EvaluationDatasets:
    return EvaluationDatasets(both)


@pytest.fixture
def numbers(both: Records) -> list[int]:
    """Three experiments."""
    return [Experiments(both).create(name=name).id for name in "abc"]


def given(question: object, **values: object) -> GivenRecord:
    return msgspec.convert({"inputs": {"question": question}, **values}, GivenRecord)


def all_records(datasets: EvaluationDatasets, id: str, limit: int = 1000) -> list[EvaluationRecord]:
    found: list[EvaluationRecord] = []
    token: str | None = ""
    while token is not None:
        page = datasets.records(id=id, limit=limit, page_token=token)
        found += page.records
        token = page.next_page_token
    return found


def test_a_new_dataset_is_told_as_it_was_made(datasets: EvaluationDatasets, numbers: list[int]) -> None:
    made = datasets.create(name="qa", experiments=numbers[:2], tags={"team": "ml", "mlflow.user": "ada"})
    assert made == datasets.get(id=made.id)
    assert made.id.startswith("d-")
    assert len(made.id) == 34
    assert made == EvaluationDataset(
        id=made.id,
        name="qa",
        digest=made.digest,
        schema=None,
        records=0,
        created=1_000_000,
        created_by="ada",
        updated=1_000_000,
        updated_by="ada",
        tags={"mlflow.user": "ada", "team": "ml"},
        experiments=numbers[:2],
    )


def test_a_name_may_be_used_again(datasets: EvaluationDatasets) -> None:
    assert datasets.create(name="qa").id != datasets.create(name="qa").id


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(datasets: EvaluationDatasets) -> None:
    for arguments in ({"name": ""}, {"name": "x" * 256}, {"name": "a\0"}, {"name": "a", "tags": {"k": "v" * 5001}}):
        with pytest.raises(Invalid):
            datasets.create(**arguments)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TooLarge):
        datasets.create(name="a", tags={str(number): "" for number in range(101)})
    with pytest.raises(NotFound, match="No Experiment with id=77"):
        datasets.create(name="a", experiments=[77])
    assert datasets.search().datasets == []


def test_records_are_told_in_the_order_in_which_they_came(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    done = datasets.upsert(id=dataset, records=[given(number) for number in range(25)])
    assert (done.inserted, done.updated) == (25, 0)
    assert [record.inputs["question"] for record in all_records(datasets, dataset, limit=10)] == list(range(25))
    assert datasets.get(id=dataset).records == 25


def test_a_record_with_known_inputs_is_merged(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    first = given(
        "why?",
        outputs={"text": "so"},
        expectations={"a": 1, "b": 1},
        tags={"k": "1", "mlflow.user": "ada"},
        source={"source_type": "HUMAN", "source_data": {"source_id": "s"}},
    )
    datasets.upsert(id=dataset, records=[first])
    again = given("why?", expectations={"b": 2}, tags={"l": [1], "mlflow.user": "bob"}, source={"source_type": "CODE"})
    done = datasets.upsert(id=dataset, records=[again, given("who?")])
    assert (done.inserted, done.updated) == (1, 1)
    record = all_records(datasets, dataset)[0]
    assert record.outputs == {"text": "so"}, "outputs that are left out stay"
    assert record.expectations == {"a": 1, "b": 2}
    assert record.tags == {"k": "1", "l": [1], "mlflow.user": "bob"}
    assert record.source == Source(source_type="HUMAN", source_data={"source_id": "s"})
    assert (record.created_by, record.updated_by) == ("ada", "bob")
    assert datasets.get(id=dataset).updated_by == "bob"
    datasets.upsert(id=dataset, records=[given("why?", outputs=None)])
    assert all_records(datasets, dataset)[0].outputs is None, "null takes them away"


def test_the_order_of_inputs_does_not_matter_and_their_values_do(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    records = [GivenRecord(inputs=inputs) for inputs in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": "1", "b": 2}, {})]
    done = datasets.upsert(id=dataset, records=records)
    assert (done.inserted, done.updated) == (3, 1)
    assert datasets.get(id=dataset).records == 3


def test_whatever_json_holds_comes_back(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    values = ["\0", "\ud83d", "ü😀", 2**70, 1e308, math.inf, True, None, [1, [2]], {"": {"a": []}}]
    datasets.upsert(id=dataset, records=[GivenRecord(inputs={"v": value}, outputs=value) for value in values])
    told = all_records(datasets, dataset)
    assert [record.inputs["v"] for record in told] == values
    assert [record.outputs for record in told] == values
    datasets.upsert(id=dataset, records=[GivenRecord(inputs={"nan": math.nan}, expectations={"x": math.nan})])
    assert math.isnan((all_records(datasets, dataset)[-1].expectations or {})["x"])


def test_the_schema_lists_each_field_with_the_type_it_first_had(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    datasets.upsert(id=dataset, records=[given("a", expectations={"score": 0.5, "ok": True})])
    datasets.upsert(id=dataset, records=[given(7, outputs=[1], expectations={"n": 1, "none": None, "o": {}})])
    schema = json.loads(datasets.get(id=dataset).schema or "")
    assert schema == {
        "inputs": {"question": "string"},
        "outputs": "array",
        "expectations": {"score": "float", "ok": "boolean", "n": "integer", "none": "null", "o": "object"},
        "version": "1.0",
    }
    many = GivenRecord(inputs={f"f{number}": 0 for number in range(1000)} | {"x" * 1000: 0})
    datasets.upsert(id=dataset, records=[many, given("b", outputs={"a": 1})])
    schema = json.loads(datasets.get(id=dataset).schema or "")
    assert len(schema["inputs"]) == 500
    assert schema["outputs"] == "array"


def test_the_digest_changes_with_the_records_and_only_then(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    seen = [datasets.get(id=dataset).digest]
    for change in (
        lambda: datasets.upsert(id=dataset, records=[given(1)]),
        lambda: datasets.upsert(id=dataset, records=[given(1, tags={"a": "b"})]),
        lambda: datasets.delete_records(id=dataset, record_ids=[all_records(datasets, dataset)[0].id]),
    ):
        change()
        seen.append(datasets.get(id=dataset).digest)
    assert len(set(seen)) == 4
    datasets.upsert(id=dataset, records=[])
    datasets.set_tags(id=dataset, tags={"a": "b"})
    datasets.delete_records(id=dataset, record_ids=["dr-none"])
    assert datasets.get(id=dataset).digest == seen[-1]


def test_a_batch_over_a_limit_leaves_nothing(datasets: EvaluationDatasets, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = datasets.create(name="qa").id
    deep: object = 0
    for _ in range(40):
        deep = [deep]
    with pytest.raises(Invalid, match="nested deeper"):
        datasets.upsert(id=dataset, records=[given(1), given(deep)])
    with pytest.raises(TooLarge, match="characters"):
        datasets.upsert(id=dataset, records=[given(1), given("x" * (1 << 20))])
    with pytest.raises(TooLarge, match="10001 records"):
        datasets.upsert(id=dataset, records=[given(1)] * 10_001)
    monkeypatch.setattr(module, "MAX_RECORDS", 2)
    with pytest.raises(TooLarge, match="3 records"):
        datasets.upsert(id=dataset, records=[given(number) for number in range(3)])
    assert all_records(datasets, dataset) == []
    assert datasets.get(id=dataset).schema is None


def test_a_record_cannot_grow_past_its_limit_by_merging(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    half = "x" * (700 << 10)
    datasets.upsert(id=dataset, records=[given(1, expectations={"a": half})])
    with pytest.raises(TooLarge):
        datasets.upsert(id=dataset, records=[given(1, expectations={"b": half})])
    assert all_records(datasets, dataset)[0].expectations == {"a": half}


def test_a_page_of_long_records_ends_early_and_all_are_told(
    datasets: EvaluationDatasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_rows, "MAX_PAGE_SIZE", 1000)
    dataset = datasets.create(name="qa").id
    datasets.upsert(id=dataset, records=[given(f"{number}" + "x" * 400) for number in range(7)] + [given("y" * 5000)])
    page = datasets.records(id=dataset)
    assert len(page.records) == 2
    assert len(all_records(datasets, dataset)) == 8


def test_records_that_are_deleted_are_gone_for_good(datasets: EvaluationDatasets, both: Records) -> None:
    dataset, other = datasets.create(name="qa").id, datasets.create(name="other").id
    datasets.upsert(id=dataset, records=[given(number) for number in range(4)])
    datasets.upsert(id=other, records=[given(0)])
    ids = [record.id for record in all_records(datasets, dataset)]
    foreign = all_records(datasets, other)[0].id
    page = datasets.records(id=dataset, limit=3)
    assert datasets.delete_records(id=dataset, record_ids=[ids[0], ids[3], foreign, "dr-none"]) == 2
    assert datasets.delete_records(id=dataset, record_ids=[ids[0]]) == 0
    assert [record.id for record in all_records(datasets, dataset)] == ids[1:3]
    assert datasets.get(id=dataset).records == 2
    assert len(all_records(datasets, other)) == 1
    datasets.upsert(id=dataset, records=[given(9)])
    rest = datasets.records(id=dataset, page_token=page.next_page_token or "")
    assert [record.inputs["question"] for record in rest.records] == [9], "a reader in between misses none"
    assert [event.kind for event in Events(both).list()] == ["evaluation_dataset.records_deleted"]


def test_deleting_a_dataset_takes_everything_of_it_and_nothing_else(
    datasets: EvaluationDatasets, both: Records, numbers: list[int]
) -> None:
    gone, stays = (datasets.create(name=name, experiments=numbers, tags={"k": "v"}).id for name in ("gone", "stays"))
    for dataset in (gone, stays):
        datasets.upsert(id=dataset, records=[given(1)])
    datasets.delete(id=gone)
    datasets.delete(id=gone)
    datasets.delete_tag(id=gone, key="k")
    for ask in (datasets.get, datasets.records):
        with pytest.raises(NotFound, match="not found"):
            ask(id=gone)
    assert [found.id for found in datasets.search().datasets] == [stays]
    assert len(all_records(datasets, stays)) == 1
    tables = ("evaluation_dataset_tags", "evaluation_dataset_experiments", "evaluation_records")
    left = both.read(
        lambda connection: [
            connection.scalar(sa.text(f"SELECT count(DISTINCT dataset) FROM {name}")) for name in tables
        ]
    )
    assert left == [1, 1, 1]
    events = Events(both).list()
    assert [(event.kind, event.subject) for event in events] == [("evaluation_dataset.deleted", gone)]


def test_tags_are_replaced_and_taken_away(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa", tags={"a": "1", "b": "1"}).id
    assert datasets.set_tags(id=dataset, tags={"b": "2", "c": ""}).tags == {"a": "1", "b": "2", "c": ""}
    datasets.delete_tag(id=dataset, key="a")
    datasets.delete_tag(id=dataset, key="a")
    assert datasets.get(id=dataset).tags == {"b": "2", "c": ""}
    with pytest.raises(NotFound):
        datasets.set_tags(id="d-none", tags={"a": "b"})


def test_experiments_are_added_and_removed_once(datasets: EvaluationDatasets, numbers: list[int]) -> None:
    dataset = datasets.create(name="qa", experiments=numbers[:1]).id
    assert datasets.add_experiments(id=dataset, experiments=[*numbers, *numbers]).experiments == numbers
    with pytest.raises(NotFound, match="No Experiment"):
        datasets.add_experiments(id=dataset, experiments=[99])
    assert datasets.remove_experiments(id=dataset, experiments=[numbers[1], 99]).experiments == [numbers[0], numbers[2]]
    assert datasets.remove_experiments(id=dataset, experiments=numbers).experiments == []
    for change in (datasets.add_experiments, datasets.remove_experiments):
        with pytest.raises(NotFound, match="not found"):
            change(id="d-none", experiments=[])


def test_search_by_filter_experiment_order_and_page(
    datasets: EvaluationDatasets, both: Records, numbers: list[int]
) -> None:
    both.clock.advance(0.001)  # pyright: ignore[reportAttributeAccessIssue]
    datasets.create(name="one", experiments=[numbers[0]], tags={"team": "ml", "mlflow.user": "ada"})
    both.clock.advance(0.001)  # pyright: ignore[reportAttributeAccessIssue]
    datasets.create(name="Two", experiments=numbers[:2], tags={"team": "data"})
    both.clock.advance(0.001)  # pyright: ignore[reportAttributeAccessIssue]
    datasets.create(name='it\'s "three"', experiments=[numbers[1]], tags={"team": "ml", "a b": "x"})

    def names(**asked: object) -> list[str]:
        return [found.name for found in datasets.search(**asked).datasets]  # pyright: ignore[reportArgumentType]

    three = 'it\'s "three"'
    assert names() == [three, "Two", "one"]
    assert names(order_by=["name ASC"]) == sorted(names())
    assert names(order_by=["created_time"]) == ["one", "Two", three]
    assert names(experiments=[numbers[0]]) == ["Two", "one"]
    assert names(experiments=numbers) == [three, "Two", "one"]
    assert names(experiments=[numbers[2]]) == []
    assert names(filter="tags.team = 'ml'") == [three, "one"]
    assert names(filter="tags.`a b` LIKE 'x%'") == [three]
    assert names(filter="name ILIKE 't%'") == ["Two"]
    assert names(filter="name LIKE 't%'") == []
    assert names(filter="created_by = 'ada'") == ["one"]
    assert names(filter="last_updated_by = 'ada' AND name != 'one'") == []
    assert names(filter="created_time > 1001") == [three, "Two"]
    assert names(filter="last_update_time <= 1001 AND tags.team = 'ml'") == ["one"]
    told: list[str] = []
    token: str | None = ""
    while token is not None:
        page = datasets.search(limit=2, page_token=token)
        told += [found.name for found in page.datasets]
        token = page.next_page_token
    assert told == names()


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": "colour = 'red'"},
        {"filter": "name > 'a'"},
        {"filter": "created_time = 'a'"},
        {"filter": "metrics.a = 1"},
        {"filter": "name = 'a' OR name = 'b'"},
        {"order_by": ["created_by"]},
        {"order_by": ["tags.a"]},
        {"limit": 0},
        {"limit": 50_001},
        {"page_token": "x"},
        {"page_token": "LTE="},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(datasets: EvaluationDatasets, asked: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        datasets.search(**asked)  # pyright: ignore[reportArgumentType]


def test_pages_of_records_are_asked_for_sensibly(datasets: EvaluationDatasets) -> None:
    dataset = datasets.create(name="qa").id
    for asked in ({"limit": 0}, {"page_token": "LTE="}, {"page_token": "?"}):
        with pytest.raises(Invalid):
            datasets.records(id=dataset, **asked)  # pyright: ignore[reportArgumentType]
    assert datasets.records(id=dataset).records == []
