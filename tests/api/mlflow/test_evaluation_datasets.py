"""Evaluation datasets as MLflow's clients ask for them, over HTTP, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import Answer
from tests.api.mlflow.wire import AT, JSON, Wire, checked

DATASETS = "/api/3.0/mlflow/datasets"
IDS = {"dataset_id", "digest", "created_time", "last_update_time"}


@pytest.fixture(scope="module")
def stranger(wire: Wire) -> Iterator[Wire]:
    """Whoever has no token."""
    one = Wire(wire.served, known=False)
    yield one
    one.close()


def good(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return checked(answer, "")


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, checked(answer, "")["error_code"]


def created(wire: Wire, name: str = "qa", **arguments: Any) -> Any:
    return good(wire.post(f"{DATASETS}/create", name=name, **arguments))["dataset"]


def put(wire: Wire, dataset: str, records: Any) -> Any:
    return good(wire.post(f"{DATASETS}/{dataset}/records", records=json.dumps(records)))


def read(wire: Wire, dataset: str, **arguments: Any) -> Any:
    return json.loads(good(wire.get(f"{DATASETS}/{dataset}/records", **arguments))["records"])


def delete(wire: Wire, path: str, **arguments: Any) -> Answer:
    """As clients do: without arguments there is no body, and no type of it."""
    body = json.dumps(arguments).encode() if arguments else b""
    return wire.send("DELETE", f"{DATASETS}/{path}", body, JSON if arguments else {})


@pytest.fixture
def experiment(wire: Wire, request: pytest.FixtureRequest) -> str:
    return wire.made("experiments/create", name=f"{request.node.name} {id(request)}")["experiment_id"]


def test_a_dataset_is_made_and_told(wire: Wire, experiment: str) -> None:
    made = created(wire, experiment_ids=[experiment], tags=json.dumps({"a": "1", "n": 2, "gone": None}))
    assert made == good(wire.get(f"{DATASETS}/{made['dataset_id']}"))["dataset"]
    assert {name: value for name, value in made.items() if name not in IDS} == {
        "name": "qa",
        "tags": made["tags"],
        "experiment_ids": [experiment],
    }
    assert json.loads(made["tags"]) == {"a": "1", "n": "2"}
    assert made["created_time"] == made["last_update_time"]
    assert good(wire.get(f"/ajax-api/3.0/mlflow/datasets/{made['dataset_id']}"))["dataset"] == made


def test_records_travel_as_json_within_a_text(wire: Wire) -> None:
    dataset = created(wire)["dataset_id"]
    record = {
        "inputs": {"question": "why?", "camelCase": {"innerName": [1, None, "\0"]}},
        "outputs": "so",
        "expectations": {"answer": 0.5},
        "tags": {"mlflow.user": "ada"},
        "source": {"source_type": "trace", "source_data": {"trace_id": "tr-1"}},
    }
    assert put(wire, dataset, [record, {"inputs": {}}]) == {"inserted_count": 2, "updated_count": 0}
    assert put(wire, dataset, [{"inputs": {}}]) == {"inserted_count": 0, "updated_count": 1}
    first, second = read(wire, dataset)
    assert first == record | {
        "dataset_record_id": first["dataset_record_id"],
        "dataset_id": dataset,
        "source": {"source_type": "TRACE", "source_data": {"trace_id": "tr-1"}},
        "source_type": "TRACE",
        "source_id": "tr-1",
        "created_time": first["created_time"],
        "last_update_time": first["last_update_time"],
        "created_by": "ada",
        "last_updated_by": "ada",
    }
    assert (second["inputs"], second["outputs"], second["tags"]) == ({}, {}, {})
    told = good(wire.get(f"{DATASETS}/{dataset}"))["dataset"]
    assert json.loads(told["profile"]) == {"num_records": 2}
    assert json.loads(told["schema"])["inputs"] == {"question": "string", "camelCase": "object"}
    assert told["last_updated_by"] == "ada"


def test_records_are_read_page_by_page(wire: Wire) -> None:
    dataset = created(wire)["dataset_id"]
    put(wire, dataset, [{"inputs": {"n": number}} for number in range(5)])
    page = good(wire.get(f"{DATASETS}/{dataset}/records", max_results=3))
    rest = good(wire.get(f"{DATASETS}/{dataset}/records", max_results=3, page_token=page["next_page_token"]))
    assert "next_page_token" not in rest
    told = [json.loads(part["records"]) for part in (page, rest)]
    assert [[record["inputs"]["n"] for record in part] for part in told] == [[0, 1, 2], [3, 4]]
    assert read(wire, created(wire)["dataset_id"]) == []


def test_records_are_deleted_by_id(wire: Wire) -> None:
    dataset = created(wire)["dataset_id"]
    put(wire, dataset, [{"inputs": {"n": number}} for number in range(2)])
    first = read(wire, dataset)[0]["dataset_record_id"]
    for count in (1, 0):
        gone = good(delete(wire, f"{dataset}/records", dataset_record_ids=[first, "dr-none"]))
        assert gone == {"deleted_count": count}
    assert [record["inputs"]["n"] for record in read(wire, dataset)] == [1]


def test_a_dataset_is_deleted_once_or_twice(wire: Wire) -> None:
    dataset = created(wire)["dataset_id"]
    for _ in range(2):
        assert good(delete(wire, dataset)) == {}
    missing = (404, "RESOURCE_DOES_NOT_EXIST")
    assert refused(wire.get(f"{DATASETS}/{dataset}")) == missing
    assert "not found" in wire.get(f"{DATASETS}/{dataset}").json["message"]
    for path in ("records", "experiment-ids"):
        assert refused(wire.get(f"{DATASETS}/{dataset}/{path}")) == missing
    assert refused(wire.post(f"{DATASETS}/{dataset}/records", records='[{"inputs": {}}]')) == missing
    assert refused(wire.send("PATCH", f"{DATASETS}/{dataset}/tags", b'{"tags": "{}"}')) == missing
    for path in ("add-experiments", "remove-experiments"):
        assert refused(wire.post(f"{DATASETS}/{dataset}/{path}", experiment_ids=["0"])) == missing


def test_tags_are_set_and_taken_away(wire: Wire) -> None:
    dataset = created(wire, tags='{"a": "1", "b c": "1"}')["dataset_id"]
    good(wire.send("PATCH", f"{DATASETS}/{dataset}/tags", json.dumps({"tags": '{"a": "2"}'}).encode()))
    for _ in range(2):
        good(delete(wire, f"{dataset}/tags/{quote('b c')}"))
    assert json.loads(good(wire.get(f"{DATASETS}/{dataset}"))["dataset"]["tags"]) == {"a": "2"}


def test_experiments_come_and_go(wire: Wire, experiment: str) -> None:
    dataset = created(wire)["dataset_id"]
    for path, left in (("add-experiments", ["0", experiment]), ("remove-experiments", [])):
        changed = good(wire.post(f"{DATASETS}/{dataset}/{path}", experiment_ids=[experiment, "0"]))["dataset"]
        assert changed.get("experiment_ids", []) == left
        assert good(wire.get(f"{DATASETS}/{dataset}/experiment-ids")).get("experiment_ids", []) == left
    wrong = wire.post(f"{DATASETS}/{dataset}/add-experiments", experiment_ids=["123456"])
    assert refused(wrong) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "No Experiment with id=123456" in wrong.json["message"]


def test_datasets_are_found_by_get_and_post(wire: Wire, experiment: str) -> None:
    names = ["one", "two", "three"]
    for name in names:
        created(wire, name, experiment_ids=[experiment], tags=json.dumps({"length": len(name)}))
    asked = {"experiment_ids": [experiment], "filter_string": "tags.length = '3'", "order_by": ["name"]}
    for answer in (wire.post(f"{DATASETS}/search", **asked), wire.get(f"{DATASETS}/search", **asked)):
        assert [found["name"] for found in good(answer)["datasets"]] == ["one", "two"]
    page = good(wire.post(f"{DATASETS}/search", experiment_ids=[experiment], max_results=2))
    rest = good(
        wire.post(f"{DATASETS}/search", experiment_ids=[experiment], max_results=2, page_token=page["next_page_token"])
    )
    assert [found["name"] for found in page["datasets"] + rest["datasets"]] == names[::-1]
    assert "next_page_token" not in rest


@pytest.mark.parametrize(
    "records",
    [
        "",
        "no JSON",
        "{}",
        "[1]",
        "[{}]",
        '[{"inputs": null}]',
        '[{"inputs": {}, "expectations": 1}]',
        '[{"inputs": {}, "source": {"source_type": "DREAM"}}]',
        '[{"inputs": {}, "source": "HUMAN"}]',
        "[" * 100_000,
        '[{"inputs": {"a": ' + "[" * 50 + "]" * 50 + "}}]",
        '[{"inputs": {"n": ' + "9" * 5000 + "}}]",
    ],
)
def test_what_is_no_list_of_records_is_refused(wire: Wire, records: str) -> None:
    dataset = created(wire)["dataset_id"]
    answer = wire.post(f"{DATASETS}/{dataset}/records", records=records)
    assert refused(answer) == (400, "INVALID_PARAMETER_VALUE")
    assert read(wire, dataset) == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"name": ""},
        {"name": "a", "tags": "no JSON"},
        {"name": "a", "tags": "[]"},
        {"name": "a", "tags": '{"a": "\\u0000"}'},
        {"name": "a", "experiment_ids": ["one"]},
        {"name": "a" * 256},
    ],
)
def test_what_cannot_be_made_is_refused(wire: Wire, asked: dict[str, Any]) -> None:
    assert refused(wire.post(f"{DATASETS}/create", **asked)) == (400, "INVALID_PARAMETER_VALUE")


def test_many_records_go_through_in_one_call(wire: Wire) -> None:
    """Clients send all at once, which is more than other calls may carry."""
    dataset = created(wire)["dataset_id"]
    records = [{"inputs": {"n": number, "text": "x" * 400}} for number in range(6_000)]
    assert put(wire, dataset, records) == {"inserted_count": 6_000, "updated_count": 0}
    assert [record["inputs"]["n"] for record in read(wire, dataset, max_results=10_000)] == list(range(6_000))


def test_without_a_token_one_may_log_and_not_delete(wire: Wire, stranger: Wire) -> None:
    dataset = created(stranger)["dataset_id"]
    put(stranger, dataset, [{"inputs": {}}])
    record = read(stranger, dataset)[0]["dataset_record_id"]
    good(delete(stranger, f"{dataset}/tags/none"))
    for answer in (delete(stranger, dataset), delete(stranger, f"{dataset}/records", dataset_record_ids=[record])):
        assert answer.status == 401
    assert len(read(wire, dataset)) == 1


def test_a_body_needs_its_type_where_there_is_one(wire: Wire) -> None:
    dataset = created(wire)["dataset_id"]
    for method, path, body in (
        ("POST", "records", b'{"records": "[]"}'),
        ("PATCH", "tags", b'{"tags": "{}"}'),
        ("DELETE", "records", b"{}"),
        ("POST", "records", b""),
    ):
        assert refused(wire.send(method, f"{DATASETS}/{dataset}/{path}", body, {})) == (400, "INVALID_PARAMETER_VALUE")
    assert wire.send("GET", f"{AT}datasets/{dataset}").status == 404, "there is no such address in version 2"
