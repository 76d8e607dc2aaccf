"""MLflow's calls about runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import MAX_DEPTH, MS, PREFIX, Endpoint, Pair, milliseconds, pairs
from perennial.api.mlflow.experiments import experiment_number, view_of
from perennial.api.signatures import depth_exceeds
from perennial.errors import Invalid, TooLarge
from perennial.tracking.inputs import CONTEXT_TAG
from perennial.tracking.names import MAX_PARAM, MAX_TAG
from perennial.tracking.run import Input, MetricPoint, Run, RunHead, RunStatus
from perennial.tracking.search.runs import NAME_TAG
from perennial.workspace import Services

__all__ = ["ENDPOINTS", "Batch", "Metric", "batch_parts", "point_of", "run_of", "run_told"]

_STATUSES: dict[str, RunStatus] = {
    "RUNNING": "running", "SCHEDULED": "scheduled", "FINISHED": "finished", "FAILED": "failed", "KILLED": "killed",
    "1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed",
}  # fmt: skip
_INT64 = 2**63
MODELS_TAG = "mlflow.log-model.history"
MAX_TOGETHER = 1000  # metrics, parameters and tags of one batch


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A point on the wire; NaN and the infinities are texts there."""

    key: str | None = None
    value: float | str | None = None
    timestamp: int | None = None
    step: int | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class _Create(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[Pair] = []


class _One(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""


class _Delete(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str


class _Update(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    status: str | None = None
    end_time: int | None = None
    run_name: str | None = None


class _Param(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    key: str
    value: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What `log-batch` carries."""

    run_id: str = ""
    metrics: Sequence[Metric] = ()
    params: list[Pair] = []
    tags: list[Pair] = []


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class _LogModel(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    model_json: str


def run_of(asked: Any) -> str:
    """The run that is asked about, by its new or old name.

    Raises:
        Invalid: There is none.
    """
    run = asked.run_id or getattr(asked, "run_uuid", "")
    if not run:
        raise Invalid("Missing value for required parameter 'run_id'. See the API docs for more information.")
    return run


def point_of(metric: Metric, where: str) -> MetricPoint:
    """A point of ours.

    Raises:
        Invalid: A part is missing, is no number or cannot be stored; names it.
    """
    if not metric.key:
        raise Invalid(f"Missing value for required parameter '{where}key'.")
    if metric.value is None:
        raise Invalid(f"Missing value for required parameter '{where}value'. Please specify a valid double value")
    if metric.timestamp is None:
        raise Invalid(f"Missing value for required parameter '{where}timestamp'.")
    step = metric.step or 0
    if not 0 <= metric.timestamp < _INT64 // MS or not -_INT64 <= step < _INT64:
        part, value = ("step", step) if 0 <= metric.timestamp < _INT64 // MS else ("timestamp", metric.timestamp)
        raise Invalid(f"Invalid value {value} for parameter '{where}{part}' supplied: it must be a 64-bit integer")
    try:
        value = float(metric.value)
    except ValueError as error:
        raise Invalid(
            f"Got invalid value {metric.value} for metric '{metric.key}' ({where}value). "
            "Please specify value as a valid double (64-bit floating point)"
        ) from error
    special = not math.isfinite(value)
    return MetricPoint(
        key=metric.key,
        value=("NaN" if value != value else "Infinity" if value > 0 else "-Infinity") if special else value,
        step=step,
        at=metric.timestamp * MS,
    )


def run_told(run: Run) -> dict[str, Any]:
    """A run as the wire tells it."""
    tags = pairs(run.tags)
    if run.name:
        tags.append({"key": NAME_TAG, "value": run.name})
    return {
        "info": _info(run),
        "data": {
            "metrics": [
                {"key": point.key, "value": point.value, "timestamp": point.at // MS, "step": point.step}
                for point in run.metrics.values()
            ],
            "params": pairs(run.params),
            "tags": tags,
        },
        "inputs": {
            "dataset_inputs": [_input(used) for used in run.inputs],
            "model_inputs": [{"model_id": link.model} for link in run.models if link.role == "input"],
        },
        "outputs": {
            "model_outputs": [
                {"model_id": link.model, "step": link.step} for link in run.models if link.role == "output"
            ]
        },
    }


def _info(run: RunHead) -> dict[str, Any]:
    return {
        "run_uuid": run.id,
        "run_id": run.id,
        "run_name": run.name,
        "experiment_id": str(run.experiment),
        "user_id": run.person,
        "status": run.status.upper(),
        "start_time": milliseconds(run.started),
        "end_time": milliseconds(run.ended),
        "artifact_uri": run.artifact_uri,
        "lifecycle_stage": run.lifecycle,
    }


def _input(used: Input) -> dict[str, Any]:
    tags = dict(used.tags)
    if used.context:
        tags.setdefault(CONTEXT_TAG, used.context)
    return {
        "tags": pairs(tags),
        "dataset": {
            "name": used.name,
            "digest": used.digest,
            "source_type": used.source_type or "perennial",
            "source": used.source or f"{used.name}@{used.digest}",
            "schema": used.schema,
            "profile": used.profile,
        },
    }


def _create(ws: Services, asked: _Create, caller: Caller) -> Any:
    tags = {tag.key: tag.value[:MAX_TAG] for tag in asked.tags}
    named = tags.get(NAME_TAG, "")
    if asked.run_name and named and named != asked.run_name:
        raise Invalid(
            f"Both 'run_name' argument and '{NAME_TAG}' tag are specified, but with different values "
            f"(run_name='{asked.run_name}', {NAME_TAG}='{named}').",
        )
    run = ws.runs.start(
        experiment=experiment_number(asked.experiment_id),
        name=asked.run_name or named,
        person=asked.user_id,
        started=None if asked.start_time is None else _micros("start_time", asked.start_time),
        tags=tags,
    )
    return {"run": run_told(run)}


def _get(ws: Services, asked: _One, caller: Caller) -> Any:
    return {"run": run_told(ws.runs.get(run_id=run_of(asked)))}


def _update(ws: Services, asked: _Update, caller: Caller) -> Any:
    status = None if asked.status is None else _STATUSES.get(str(asked.status).upper())
    if asked.status is not None and status is None:
        raise Invalid(
            f"Invalid value '{asked.status}' for parameter 'status' supplied", remedy="RUNNING, FINISHED, ..."
        )
    ended = None if asked.end_time is None else _micros("end_time", asked.end_time)
    run = ws.runs.update(run_id=run_of(asked), status=status, ended=ended, name=asked.run_name)
    return {"run_info": _info(run)}


def _delete(ws: Services, asked: _Delete, caller: Caller) -> Any:
    ws.runs.delete(run_id=asked.run_id)
    return {}


def _restore(ws: Services, asked: _Delete, caller: Caller) -> Any:
    ws.runs.restore(run_id=asked.run_id)
    return {}


def _log_param(ws: Services, asked: _Param, caller: Caller) -> Any:
    ws.runs.log_params(run_id=run_of(asked), params={asked.key: asked.value[:MAX_PARAM]})
    return {}


def _set_tag(ws: Services, asked: _Param, caller: Caller) -> Any:
    ws.runs.set_tags(run_id=run_of(asked), tags={asked.key: asked.value[:MAX_TAG]})
    return {}


def _delete_tag(ws: Services, asked: _Param, caller: Caller) -> Any:
    ws.runs.delete_tag(run_id=run_of(asked), key=asked.key)
    return {}


def _log_batch(ws: Services, asked: Batch, caller: Caller) -> Any:
    points, params, tags = batch_parts(asked)
    measured: dict[tuple[str, str, str], list[MetricPoint]] = {}
    for metric, point in zip(asked.metrics, points, strict=True):
        if metric.model_id:
            model = (metric.model_id, metric.dataset_name or "", metric.dataset_digest or "")
            measured.setdefault(model, []).append(point)
    for model_id in {model_id for model_id, _, _ in measured}:
        ws.logged_models.get(model_id=model_id)  # before anything is stored
    ws.runs.log_batch(run_id=run_of(asked), metrics=points, params=params, tags=tags)
    for (model_id, name, digest), logged in measured.items():
        ws.logged_models.log_metrics(
            run_id=run_of(asked), model_id=model_id, metrics=logged, dataset=name, digest=digest
        )
    return {}


def batch_parts(asked: Batch) -> tuple[list[MetricPoint], dict[str, str], dict[str, str]]:
    """Points, parameters and tags of a batch.

    Raises:
        TooLarge: There are too many. Invalid: One cannot be stored, or a key comes twice; names it.
    """
    for name, given, most in (
        ("metrics", asked.metrics, 1000),
        ("params", asked.params, 100),
        ("tags", asked.tags, 100),
    ):
        if len(given) > most:
            raise TooLarge(
                f"A batch logging request can contain at most {most} {name}. Got {len(given)} {name}.",
                remedy="Please split up " + name + " across multiple requests and try again.",
            )
    together = len(asked.metrics) + len(asked.params) + len(asked.tags)
    if together > MAX_TOGETHER:
        raise TooLarge(
            f"A batch logging request can contain at most {MAX_TOGETHER} metrics, params, and tags in total. "
            f"Got {together}."
        )
    points = [point_of(metric, f"metrics[{number}].") for number, metric in enumerate(asked.metrics)]
    params: dict[str, str] = {}
    for number, param in enumerate(asked.params):
        if not param.key:
            raise Invalid(f"Missing value for required parameter 'params[{number}].key'.")
        if param.key in params:
            raise Invalid(f"Duplicate parameter keys have been submitted: {param.key!r}, params[{number}].key.")
        params[param.key] = param.value[:MAX_PARAM]
    for number, tag in enumerate(asked.tags):
        if not tag.key:
            raise Invalid(f"Missing value for required parameter 'tags[{number}].key'.")
    return points, params, {tag.key: tag.value[:MAX_TAG] for tag in asked.tags}


def _search(ws: Services, asked: _Search, caller: Caller) -> Any:
    if not asked.experiment_ids:
        return {}
    page = ws.runs.search(
        experiments=[experiment_number(text) for text in asked.experiment_ids],
        filter=asked.filter,
        order_by=asked.order_by,
        view=view_of(asked.run_view_type),
        limit=asked.max_results,
        page_token=asked.page_token,
    )
    return {"runs": [run_told(run) for run in page.runs], "next_page_token": page.next_page_token}


def _log_model(ws: Services, asked: _LogModel, caller: Caller) -> Any:
    """What clients before 3.0 send: the history of models is a tag."""
    try:
        if depth_exceeds(asked.model_json.encode(), MAX_DEPTH):
            raise ValueError("nested too deeply")
        model = msgspec.json.decode(asked.model_json)
    except ValueError as error:
        raise Invalid(f"Malformed model info. \n {asked.model_json} \n is not JSON") from error
    if not isinstance(model, dict):
        raise Invalid(f"Malformed model info. \n {asked.model_json} \n is no JSON object")
    missing = {"artifact_path", "flavors", "utc_time_created", "run_id"} - set(model)
    if missing:
        raise Invalid(f"Model json is missing mandatory fields: {', '.join(sorted(missing))}")
    run = ws.runs.get(run_id=asked.run_id)
    held = _history_in(run.tags.get(MODELS_TAG, "[]"))
    told = {name: value for name, value in model.items() if name not in ("signature_json", "env_vars")}
    history = [*held, told]
    while len(text := msgspec.json.encode(history).decode()) > MAX_TAG and len(history) > 1:
        history = history[1:]  # a tag holds the newest; cut within, nobody could read it again
    ws.runs.set_tags(run_id=asked.run_id, tags={MODELS_TAG: text[:MAX_TAG]})
    return {}


def _history_in(tag: str) -> list[Any]:
    """What the tag tells; a client may have written anything there."""
    try:
        return [] if depth_exceeds(tag.encode(), MAX_DEPTH) else msgspec.json.decode(tag, type=list[Any])
    except ValueError:
        return []


def _micros(name: str, value: int) -> int:
    if not -_INT64 // MS < value < _INT64 // MS:
        raise Invalid(f"Invalid value {value} for parameter '{name}' supplied: it is out of range")
    return value * MS


_AT = PREFIX + "runs/"

ENDPOINTS = (
    Endpoint("POST", _AT + "create", "track", _Create, _create, "Begin a run."),
    Endpoint("GET", _AT + "get", "read", _One, _get, "One run."),
    Endpoint("POST", _AT + "update", "track", _Update, _update, "Change a run's state, end or name."),
    Endpoint("POST", _AT + "delete", "write", _Delete, _delete, "Hide a run."),
    Endpoint("POST", _AT + "restore", "write", _Delete, _restore, "Bring a run back."),
    Endpoint("POST", _AT + "log-parameter", "track", _Param, _log_param, "Log a parameter."),
    Endpoint("POST", _AT + "set-tag", "track", _Param, _set_tag, "Set a tag."),
    Endpoint("POST", _AT + "delete-tag", "track", _Param, _delete_tag, "Take a tag away."),
    Endpoint("POST", _AT + "log-batch", "track", Batch, _log_batch, "Log metrics, parameters and tags."),
    Endpoint("POST", _AT + "search", "read", _Search, _search, "Runs by a filter."),
    Endpoint("POST", _AT + "log-model", "track", _LogModel, _log_model, "Note a model, as old clients do."),
)
