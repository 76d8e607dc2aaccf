"""MLflow's calls about the points of metrics."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import MS, PREFIX, Endpoint
from perennial.api.mlflow.runs import Metric, point_of, run_of
from perennial.errors import Invalid
from perennial.tracking.histories import HistoryPage
from perennial.workspace import Services

__all__ = ["ENDPOINTS", "LogMetric"]

PAGE = 25_000
MAX_RUNS = 100
MAX_INTERVAL = 2_500
MAX_ALL = 2_000_000  # points of an answer that is not asked for in pages


class LogMetric(Metric, frozen=True, kw_only=True):
    """One point of one run on the wire."""

    run_id: str | None = None
    run_uuid: str | None = None


class _History(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""
    metric_key: str
    max_results: int | None = None
    page_token: str = ""


class _Bulk(msgspec.Struct, frozen=True, kw_only=True):
    run_id: list[str] = []
    metric_key: str | None = None
    max_results: int = PAGE


class _Interval(msgspec.Struct, frozen=True, kw_only=True):
    run_ids: list[str]
    metric_key: str
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = MAX_INTERVAL


class _Told(msgspec.Struct, omit_defaults=True):
    key: str
    value: Any
    timestamp: int
    step: int | None = None
    run_id: str = ""


def _log_metric(ws: Services, asked: LogMetric, caller: Caller) -> Any:
    point, run = point_of(asked, ""), run_of(asked)
    if asked.model_id:
        ws.logged_models.log_metrics(
            run_id=run,
            model_id=asked.model_id,
            metrics=[point],
            dataset=asked.dataset_name or "",
            digest=asked.dataset_digest or "",
        )
    else:
        ws.runs.log_metrics(run_id=run, metrics=[point])
    return {}


def _history(ws: Services, asked: _History, caller: Caller) -> Any:
    run, limit = run_of(asked), asked.max_results
    if limit is not None and limit <= 0:
        raise Invalid(f"Invalid value {limit} for parameter 'max_results' supplied: it must be positive")
    page = ws.runs.history(
        run_id=run, key=asked.metric_key, limit=min(limit or PAGE, PAGE), page_token=asked.page_token
    )
    told = _points(page)
    if limit is None:  # whoever asks without pages gets all
        while page.next_page_token and len(told) < MAX_ALL:
            page = ws.runs.history(run_id=run, key=asked.metric_key, limit=PAGE, page_token=page.next_page_token)
            told += _points(page)
    return {"metrics": told, "next_page_token": page.next_page_token}


def _bulk(ws: Services, asked: _Bulk, caller: Caller) -> Any:
    if not asked.run_id:
        raise Invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    _check_runs("GetMetricHistoryBulk request cannot specify more than", asked.run_id)
    if asked.metric_key is None:
        raise Invalid("GetMetricHistoryBulk request must specify a metric_key.")
    left = max(1, min(asked.max_results, PAGE))
    told: list[_Told] = []
    for run in sorted(asked.run_id):
        if left <= 0:
            break
        points = _points(ws.runs.history(run_id=run, key=asked.metric_key, limit=left), run)
        told += points
        left -= len(points)
    # This call tells every part, also a step of 0.
    return {"metrics": [msgspec.structs.asdict(point) for point in told]}


def _interval(ws: Services, asked: _Interval, caller: Caller) -> Any:
    _check_runs("GetMetricHistoryBulkInterval request must specify at most", asked.run_ids)
    start, end = asked.start_step, asked.end_step
    if (start is None) != (end is None):
        raise Invalid("If either start step or end step are specified, both must be specified.")
    if start is not None and end is not None and start > end:
        raise Invalid(
            f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.",
        )
    if not 1 <= asked.max_results <= MAX_INTERVAL:
        raise Invalid(f"max_results must be between 1 and {MAX_INTERVAL}.")
    told: list[_Told] = []
    for run in asked.run_ids:
        page = ws.runs.thinned(
            run_id=run, key=asked.metric_key, points=asked.max_results, first_step=start, last_step=end
        )
        told += _points(page, run)
    return {"metrics": told}


def _check_runs(says: str, runs: list[str]) -> None:
    if len(runs) > MAX_RUNS:
        raise Invalid(f"{says} {MAX_RUNS} run_ids. Received {len(runs)} run_ids.")


def _points(page: HistoryPage, run: str = "") -> list[_Told]:
    key = page.key
    return [
        _Told(key, value, at // MS, step, run) for at, step, value in zip(page.at, page.step, page.value, strict=True)
    ]


ENDPOINTS = (
    Endpoint("POST", PREFIX + "runs/log-metric", "track", LogMetric, _log_metric, "Log a point of a metric."),
    Endpoint("GET", PREFIX + "metrics/get-history", "read", _History, _history, "All points of a metric."),
    Endpoint("GET", PREFIX + "metrics/get-history-bulk", "read", _Bulk, _bulk, "Points of a metric of many runs."),
    Endpoint(
        "GET", PREFIX + "metrics/get-history-bulk-interval", "read", _Interval, _interval, "The same, thinned to draw."
    ),
)
