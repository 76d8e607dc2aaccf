"""MLflow's calls about evaluation datasets. Tags and records travel as JSON within texts."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import PREFIX_3, Endpoint, milliseconds
from perennial.api.mlflow.experiments import experiment_number
from perennial.errors import Invalid
from perennial.store.decoding import ready
from perennial.tracking.evaluation_datasets import EvaluationDataset
from perennial.tracking.evaluation_record import EvaluationRecord, GivenRecord
from perennial.workspace import Services

__all__ = ["ENDPOINTS"]

MAX_BODY = 16 << 20  # of records: clients send all of them at once


class _Create(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    experiment_ids: list[str] = []
    tags: str = ""


class _One(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    experiment_ids: list[str] = []
    filter_string: str = ""
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class _Tags(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    tags: str


class _Tag(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    key: str


class _Upsert(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    records: str


class _Records(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    max_results: int = 1000
    page_token: str = ""


class _DeleteRecords(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    dataset_record_ids: list[str] = []


class _Experiments(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    experiment_ids: list[str] = []


def _told(dataset: EvaluationDataset) -> dict[str, Any]:
    return {
        "dataset_id": dataset.id,
        "name": dataset.name,
        "tags": json.dumps(dataset.tags),
        "schema": dataset.schema,
        "profile": json.dumps({"num_records": dataset.records}) if dataset.records else None,
        "digest": dataset.digest,
        "created_time": milliseconds(dataset.created),
        "last_update_time": milliseconds(dataset.updated),
        "created_by": dataset.created_by,
        "last_updated_by": dataset.updated_by,
        "experiment_ids": [str(number) for number in dataset.experiments],
    }


def _record_told(dataset: str, record: EvaluationRecord) -> dict[str, Any]:
    told = {
        "dataset_record_id": record.id,
        "dataset_id": dataset,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "expectations": record.expectations,
        "tags": record.tags,
        "created_time": milliseconds(record.created),
        "last_update_time": milliseconds(record.updated),
        "created_by": record.created_by,
        "last_updated_by": record.updated_by,
    }
    if record.source is not None:
        source = record.source
        data = source.source_data or {}
        told["source"] = {"source_type": source.source_type, "source_data": data}
        told["source_type"] = source.source_type
        told["source_id"] = data.get("trace_id" if source.source_type == "TRACE" else "source_id")
    return {name: value for name, value in told.items() if value is not None}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"Invalid value for parameter '{where}' supplied: it is no JSON", remedy=str(error)) from error


def _tags_of(text: str) -> dict[str, str]:
    given = _json(text or "{}", "tags")
    if not isinstance(given, dict):
        raise Invalid("Invalid value for parameter 'tags' supplied: it is no JSON object")
    return {key: value if isinstance(value, str) else str(value) for key, value in given.items() if value is not None}


def _records_of(text: str) -> list[GivenRecord]:
    given = _json(text, "records")
    if not isinstance(given, list):
        raise Invalid("Invalid value for parameter 'records' supplied: it is no JSON list")
    for record in given:  # the type of a source is told in any case
        source = record.get("source") if isinstance(record, dict) else None
        if isinstance(source, dict) and isinstance(source.get("source_type"), str):
            source["source_type"] = source["source_type"].upper()
    try:
        return msgspec.convert(given, ready(list[GivenRecord]))
    except msgspec.ValidationError as error:
        says, _, path = str(error).partition(" - at ")
        where = "records" + path.strip("`").removeprefix("$")
        raise Invalid(f"Invalid value for parameter '{where}' supplied: {says}") from error


def _numbers(texts: list[str]) -> list[int]:
    return [experiment_number(text) for text in texts]


def _create(ws: Services, asked: _Create, caller: Caller) -> Any:
    made = ws.evaluation_datasets.create(
        name=asked.name, experiments=_numbers(asked.experiment_ids), tags=_tags_of(asked.tags)
    )
    return {"dataset": _told(made)}


def _get(ws: Services, asked: _One, caller: Caller) -> Any:
    return {"dataset": _told(ws.evaluation_datasets.get(id=asked.dataset_id))}


def _delete(ws: Services, asked: _One, caller: Caller) -> Any:
    ws.evaluation_datasets.delete(id=asked.dataset_id)
    return {}


def _search(ws: Services, asked: _Search, caller: Caller) -> Any:
    page = ws.evaluation_datasets.search(
        experiments=_numbers(asked.experiment_ids),
        filter=asked.filter_string,
        order_by=asked.order_by,
        limit=asked.max_results,
        page_token=asked.page_token,
    )
    return {"datasets": [_told(found) for found in page.datasets], "next_page_token": page.next_page_token}


def _set_tags(ws: Services, asked: _Tags, caller: Caller) -> Any:
    return {"dataset": _told(ws.evaluation_datasets.set_tags(id=asked.dataset_id, tags=_tags_of(asked.tags)))}


def _delete_tag(ws: Services, asked: _Tag, caller: Caller) -> Any:
    ws.evaluation_datasets.delete_tag(id=asked.dataset_id, key=asked.key)
    return {}


def _upsert(ws: Services, asked: _Upsert, caller: Caller) -> Any:
    done = ws.evaluation_datasets.upsert(id=asked.dataset_id, records=_records_of(asked.records))
    return {"inserted_count": done.inserted, "updated_count": done.updated}


def _records(ws: Services, asked: _Records, caller: Caller) -> Any:
    page = ws.evaluation_datasets.records(
        id=asked.dataset_id, limit=asked.max_results or 1000, page_token=asked.page_token
    )
    told = [_record_told(asked.dataset_id, record) for record in page.records]
    return {"records": json.dumps(told), "next_page_token": page.next_page_token}


def _delete_records(ws: Services, asked: _DeleteRecords, caller: Caller) -> Any:
    done = ws.evaluation_datasets.delete_records(id=asked.dataset_id, record_ids=asked.dataset_record_ids)
    return {"deleted_count": done}


def _experiment_ids(ws: Services, asked: _One, caller: Caller) -> Any:
    return {"experiment_ids": [str(number) for number in ws.evaluation_datasets.get(id=asked.dataset_id).experiments]}


def _add_experiments(ws: Services, asked: _Experiments, caller: Caller) -> Any:
    numbers = _numbers(asked.experiment_ids)
    return {"dataset": _told(ws.evaluation_datasets.add_experiments(id=asked.dataset_id, experiments=numbers))}


def _remove_experiments(ws: Services, asked: _Experiments, caller: Caller) -> Any:
    numbers = _numbers(asked.experiment_ids)
    return {"dataset": _told(ws.evaluation_datasets.remove_experiments(id=asked.dataset_id, experiments=numbers))}


_AT = PREFIX_3 + "datasets"
_ONE = _AT + "/{dataset_id}"

ENDPOINTS = (
    Endpoint("POST", _AT + "/create", "track", _Create, _create, "Make an evaluation dataset."),
    Endpoint("GET", _AT + "/search", "read", _Search, _search, "Evaluation datasets by a filter."),
    Endpoint("POST", _AT + "/search", "read", _Search, _search, "Evaluation datasets by a filter."),
    Endpoint("GET", _ONE, "read", _One, _get, "One evaluation dataset."),
    Endpoint("DELETE", _ONE, "write", _One, _delete, "Delete an evaluation dataset with its records."),
    Endpoint("PATCH", _ONE + "/tags", "track", _Tags, _set_tags, "Set tags of an evaluation dataset."),
    Endpoint("DELETE", _ONE + "/tags/{key}", "track", _Tag, _delete_tag, "Take a tag away."),
    Endpoint("POST", _ONE + "/records", "track", _Upsert, _upsert, "Add or merge records.", MAX_BODY),
    Endpoint("GET", _ONE + "/records", "read", _Records, _records, "Records of an evaluation dataset."),
    Endpoint("DELETE", _ONE + "/records", "write", _DeleteRecords, _delete_records, "Delete records."),
    Endpoint("GET", _ONE + "/experiment-ids", "read", _One, _experiment_ids, "Where a dataset is used."),
    Endpoint("POST", _ONE + "/add-experiments", "track", _Experiments, _add_experiments, "Use it elsewhere too."),
    Endpoint("POST", _ONE + "/remove-experiments", "track", _Experiments, _remove_experiments, "Use it there no more."),
)
