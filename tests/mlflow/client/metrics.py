"""Metrics: histories in pages, the latest value, values that are no numbers, many runs at once."""

from __future__ import annotations

import math

from mlflow import MlflowClient
from mlflow.entities import Metric
from recorder import Recorder

START = 1_500_000_000_000  # long ago, so that it is told as a number and compared


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", client.create_experiment("metrics"))
    one = rec.know("run", client.create_run(exp, run_name="one").info.run_id)
    two = rec.know("run", client.create_run(exp, run_name="two").info.run_id)
    points = [Metric("loss", 100 / (at + 1), START + at, at) for at in range(1000)]
    rec("a thousand", client.log_batch, one, metrics=points)
    client.log_batch(two, metrics=points[:10])
    rec("history", lambda: _short(client.get_metric_history(one, "loss")))
    if hasattr(client, "_tracking_client"):
        pages(rec, client, one)
    latest(rec, client, one)
    odd(rec, client, one)
    rec("no such metric", client.get_metric_history, one, "never")
    many(rec, one, two)


def _ends(rec: Recorder, name: str, path: str, asked: dict[str, object]) -> None:
    """How many points come back, the first and the last; which ones lie between them is nobody's promise."""
    body = rec.rest(name, "GET", path, params=asked)
    points = body["metrics"]
    rec.entries[-1]["answer"]["json"] = {"count": len(points), "first": points[0]["step"], "last": points[-1]["step"]}


def _short(history: list[Metric]) -> dict[str, object]:
    tuples = [(point.step, point.timestamp, point.value) for point in history]
    return {"count": len(tuples), "first": tuples[:3], "last": tuples[-3:]}


def pages(rec: Recorder, client: MlflowClient, one: str) -> None:
    path = "/api/2.0/mlflow/metrics/get-history"
    token = None
    for at in range(4):
        asked = {"run_id": one, "metric_key": "loss", "max_results": 300} | ({"page_token": token} if token else {})
        page = rec.rest(f"page {at}", "GET", path, params=asked)
        token = page.pop("next_page_token", None)
        rec.entries[-1]["answer"]["json"].pop("next_page_token", None)
    rec.rest("history of none", "GET", path, params={"run_id": "f" * 32, "metric_key": "loss"})
    rec.rest("history, none wanted", "GET", path, params={"run_id": one, "metric_key": "loss", "max_results": 0})
    rec.rest(
        "history, bad page",
        "GET",
        path,
        params={"run_id": one, "metric_key": "loss", "max_results": 9, "page_token": "x"},
    )
    rec.rest("history without key", "GET", path, params={"run_id": one})


def latest(rec: Recorder, client: MlflowClient, one: str) -> None:
    for value, when, step in ((5.0, 10, 3), (9.0, 5, 3), (1.0, 99, 2), (7.0, 10, 3)):
        client.log_metric(one, "latest", value, timestamp=when, step=step)
    rec("greatest by step, time, value", lambda: client.get_run(one).data.metrics["latest"])
    client.log_metric(one, "latest", 7.0, timestamp=10, step=3)
    rec("the same twice is once", client.get_metric_history, one, "latest")


def odd(rec: Recorder, client: MlflowClient, one: str) -> None:
    for at, value in enumerate((math.nan, math.inf, -math.inf, 0.1 + 0.2, -0.0, 5e-324, 1.7e308)):
        rec(f"odd value {at}", client.log_metric, one, f"odd{at}", value, timestamp=1, step=0)
        rec(f"odd history {at}", lambda at=at: [point.value for point in client.get_metric_history(one, f"odd{at}")])
    rec("odd values of the run", lambda: {k: v for k, v in client.get_run(one).data.metrics.items() if k < "p"})
    rec("a large step", client.log_metric, one, "far", 1.0, timestamp=1, step=2**53)
    rec("its history", client.get_metric_history, one, "far")


def many(rec: Recorder, one: str, two: str) -> None:
    bulk, spread = (
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
    )
    rec.rest("bulk", "GET", bulk, params={"run_id": [one], "metric_key": "loss", "max_results": 15})
    rec.rest("bulk, all of two", "GET", bulk, params={"run_id": [two], "metric_key": "loss"})
    rec.rest("bulk without runs", "GET", bulk, params={"metric_key": "loss"})
    rec.rest("bulk without key", "GET", bulk, params={"run_id": [one]})
    _ends(rec, "interval", spread, {"run_ids": [one], "metric_key": "loss", "max_results": 10})
    _ends(rec, "interval, few points", spread, {"run_ids": [two], "metric_key": "loss", "max_results": 100})
    within = {"run_ids": [one], "metric_key": "loss", "start_step": 100, "end_step": 200, "max_results": 5}
    _ends(rec, "interval of steps", spread, within)
    rec.rest("interval without end", "GET", spread, params={"run_ids": [one], "metric_key": "loss", "start_step": 1})
    rec.rest("interval, backwards", "GET", spread, params=within | {"start_step": 300})
