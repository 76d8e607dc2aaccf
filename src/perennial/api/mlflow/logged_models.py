"""MLflow's calls about logged models, which its `log_model` makes."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import MS, PREFIX, Endpoint, Pair, milliseconds, pairs
from perennial.api.mlflow.experiments import experiment_number
from perennial.errors import Invalid
from perennial.tracking.logged_models import LoggedModel, ModelStatus
from perennial.tracking.names import MAX_PARAM
from perennial.tracking.search.logged_models import DatasetFilter, ModelOrder
from perennial.workspace import Services

__all__ = ["ENDPOINTS"]

_STATUSES: dict[str, ModelStatus] = {
    "LOGGED_MODEL_PENDING": "pending",
    "LOGGED_MODEL_READY": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "upload_failed",
    "1": "pending",
    "2": "ready",
    "3": "upload_failed",
}


class _Create(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    name: str = ""
    model_type: str | None = None
    source_run_id: str | None = None
    params: list[Pair] = []
    tags: list[Pair] = []


class _One(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    allow_deleted: bool = False


class _Finalize(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    status: str


class _Tags(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    tags: list[Pair] = []


class _Tag(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    tag_key: str


class _Params(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    params: list[Pair] = []


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    experiment_ids: list[str]
    filter: str = ""
    datasets: list[DatasetFilter] = []
    max_results: int = 50
    order_by: list[ModelOrder] = []
    page_token: str = ""


def _told(model: LoggedModel) -> dict[str, Any]:
    return {
        "model": {
            "info": {
                "model_id": model.id,
                "experiment_id": str(model.experiment),
                "name": model.name,
                "creation_timestamp_ms": milliseconds(model.created),
                "last_updated_timestamp_ms": milliseconds(model.updated),
                "artifact_uri": model.artifact_uri,
                "status": f"LOGGED_MODEL_{model.status.upper()}",
                "model_type": model.type or None,
                "source_run_id": model.run,
                "tags": pairs(model.tags),
            },
            "data": {
                "params": pairs(model.params),
                "metrics": [
                    {
                        "key": point.key,
                        "value": point.value,
                        "timestamp": point.at // MS,
                        "step": point.step,
                        "model_id": model.id,
                        "run_id": point.run,
                        "dataset_name": point.dataset or None,
                        "dataset_digest": point.digest or None,
                    }
                    for point in model.metrics
                ],
            },
        }
    }


def _create(ws: Services, asked: _Create, caller: Caller) -> Any:
    model = ws.logged_models.create(
        experiment=experiment_number(asked.experiment_id),
        name=asked.name,
        type=asked.model_type,
        run_id=asked.source_run_id or None,
        params={pair.key: pair.value[:MAX_PARAM] for pair in asked.params},
        tags={pair.key: pair.value for pair in asked.tags},
    )
    return _told(model)


def _get(ws: Services, asked: _One, caller: Caller) -> Any:
    return _told(ws.logged_models.get(model_id=asked.model_id, deleted=asked.allow_deleted))


def _finalize(ws: Services, asked: _Finalize, caller: Caller) -> Any:
    status = _STATUSES.get(asked.status)
    if status is None:
        raise Invalid(f"Invalid value '{asked.status}' for parameter 'status' supplied", remedy=", ".join(_STATUSES))
    return _told(ws.logged_models.finalize(model_id=asked.model_id, status=status))


def _delete(ws: Services, asked: _One, caller: Caller) -> Any:
    ws.logged_models.delete(model_id=asked.model_id)
    return {}


def _set_tags(ws: Services, asked: _Tags, caller: Caller) -> Any:
    return _told(ws.logged_models.set_tags(model_id=asked.model_id, tags={pair.key: pair.value for pair in asked.tags}))


def _delete_tag(ws: Services, asked: _Tag, caller: Caller) -> Any:
    ws.logged_models.delete_tag(model_id=asked.model_id, key=asked.tag_key)
    return {}


def _log_params(ws: Services, asked: _Params, caller: Caller) -> Any:
    ws.logged_models.log_params(
        model_id=asked.model_id, params={pair.key: pair.value[:MAX_PARAM] for pair in asked.params}
    )
    return {}


def _search(ws: Services, asked: _Search, caller: Caller) -> Any:
    page = ws.logged_models.search(
        experiments=[experiment_number(text) for text in asked.experiment_ids],
        filter=asked.filter,
        datasets=asked.datasets,
        order_by=asked.order_by,
        limit=asked.max_results,
        page_token=asked.page_token,
    )
    return {"models": [_told(model)["model"] for model in page.models], "next_page_token": page.next_page_token}


_AT = PREFIX + "logged-models"

ENDPOINTS = (
    Endpoint("POST", _AT, "track", _Create, _create, "Announce a model."),
    Endpoint("POST", _AT + "/search", "read", _Search, _search, "Logged models by a filter."),
    Endpoint("GET", _AT + "/{model_id}", "read", _One, _get, "One logged model."),
    Endpoint("PATCH", _AT + "/{model_id}", "track", _Finalize, _finalize, "Say that a model's files are there."),
    Endpoint("DELETE", _AT + "/{model_id}", "write", _One, _delete, "Hide a logged model."),
    Endpoint("PATCH", _AT + "/{model_id}/tags", "track", _Tags, _set_tags, "Set tags of a logged model."),
    Endpoint("DELETE", _AT + "/{model_id}/tags/{tag_key}", "track", _Tag, _delete_tag, "Take a tag away."),
    Endpoint("POST", _AT + "/{model_id}/params", "track", _Params, _log_params, "Log parameters of a model."),
)
