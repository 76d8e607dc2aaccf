"""MLflow's calls about experiments."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import PREFIX, Endpoint, Pair, milliseconds, pairs
from perennial.errors import Invalid, NotFound
from perennial.tracking.experiments import Experiment, View
from perennial.workspace import Services

__all__ = ["ENDPOINTS", "experiment_number", "view_of"]

_VIEWS: dict[str, View] = {
    "ACTIVE_ONLY": "active",
    "DELETED_ONLY": "deleted",
    "ALL": "all",
    "1": "active",
    "2": "deleted",
    "3": "all",
}


class _Create(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    artifact_location: str = ""
    tags: list[Pair] = []


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    experiment_name: str


class _One(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str


class _Rename(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    new_name: str = ""


class _Tag(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    key: str
    value: str = ""


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    max_results: int = 0  # left out it reads as 0, which is refused: MLflow's own way
    filter: str = ""
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"
    page_token: str = ""


def experiment_number(text: str) -> int:
    """The number of an experiment as it is told on the wire.

    Raises:
        Invalid: It is none. NotFound: None can have this one.
    """
    try:
        number = int(text[:20])
    except ValueError as error:
        raise Invalid(
            f"Invalid experiment ID '{text[:100]}'. Experiment ID must be a valid integer",
            remedy="use the id that was answered",
        ) from error
    if not 0 <= number < 2**31:
        raise NotFound(f"No Experiment with id={number} exists")
    return number


def view_of(text: str | int) -> View:
    """Which life-cycle stages are asked for.

    Raises:
        Invalid: There is no such view.
    """
    view = _VIEWS.get(str(text))
    if view is None:
        raise Invalid(f"Invalid value '{text}' for parameter 'view_type' supplied", remedy=f"use {', '.join(_VIEWS)}")
    return view


def _told(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment_id": str(experiment.id),
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle,
        "creation_time": milliseconds(experiment.created),
        "last_update_time": milliseconds(experiment.updated),
        "tags": pairs(experiment.tags),
    }


def _create(ws: Services, asked: _Create, caller: Caller) -> Any:
    tags = {tag.key: tag.value for tag in asked.tags}
    made = ws.experiments.create(name=asked.name, artifact_location=asked.artifact_location, tags=tags)
    return {"experiment_id": str(made.id)}


def _get(ws: Services, asked: _One, caller: Caller) -> Any:
    return {"experiment": _told(ws.experiments.get(id=experiment_number(asked.experiment_id)))}


def _get_by_name(ws: Services, asked: _Named, caller: Caller) -> Any:
    return {"experiment": _told(ws.experiments.get(name=asked.experiment_name))}


def _search(ws: Services, asked: _Search, caller: Caller) -> Any:
    page = ws.experiments.search(
        filter=asked.filter,
        order_by=asked.order_by,
        view=view_of(asked.view_type),
        limit=asked.max_results,
        page_token=asked.page_token,
    )
    return {"experiments": [_told(found) for found in page.experiments], "next_page_token": page.next_page_token}


def _update(ws: Services, asked: _Rename, caller: Caller) -> Any:
    number = experiment_number(asked.experiment_id)
    if asked.new_name:
        ws.experiments.rename(id=number, name=asked.new_name)
    return {}


def _delete(ws: Services, asked: _One, caller: Caller) -> Any:
    ws.experiments.delete(id=experiment_number(asked.experiment_id))
    return {}


def _restore(ws: Services, asked: _One, caller: Caller) -> Any:
    ws.experiments.restore(id=experiment_number(asked.experiment_id))
    return {}


def _set_tag(ws: Services, asked: _Tag, caller: Caller) -> Any:
    ws.experiments.set_tags(id=experiment_number(asked.experiment_id), tags={asked.key: asked.value})
    return {}


def _delete_tag(ws: Services, asked: _Tag, caller: Caller) -> Any:
    ws.experiments.delete_tag(id=experiment_number(asked.experiment_id), key=asked.key)
    return {}


_AT = PREFIX + "experiments/"

ENDPOINTS = (
    Endpoint("POST", _AT + "create", "track", _Create, _create, "Make an experiment."),
    Endpoint("GET", _AT + "get", "read", _One, _get, "One experiment."),
    Endpoint("GET", _AT + "get-by-name", "read", _Named, _get_by_name, "One experiment, by name."),
    Endpoint("GET", _AT + "search", "read", _Search, _search, "Experiments by a filter."),
    Endpoint("POST", _AT + "search", "read", _Search, _search, "Experiments by a filter."),
    Endpoint("POST", _AT + "update", "write", _Rename, _update, "Rename an experiment."),
    Endpoint("POST", _AT + "delete", "write", _One, _delete, "Hide an experiment and its runs."),
    Endpoint("POST", _AT + "restore", "write", _One, _restore, "Bring an experiment back."),
    Endpoint("POST", _AT + "set-experiment-tag", "track", _Tag, _set_tag, "Set a tag of an experiment."),
    Endpoint("POST", _AT + "delete-experiment-tag", "track", _Tag, _delete_tag, "Take a tag away."),
)
