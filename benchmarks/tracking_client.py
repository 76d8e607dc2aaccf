"""What an MLflow client does to a tracking server, timed from its side. Run by an interpreter that has MLflow.

    python tracking_client.py URI MODE N

MODE: `calls` N x `mlflow.log_metric`; `batches` N x `log_batch` of 1,000 points; `runs` N whole runs (create, one
batch, end) by eight clients over plain HTTP; `history` of N points, written first; `search` among N runs, seeded first
over plain HTTP. Prints one line of JSON: a list of seconds, one for each round.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
os.environ |= {"MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
ROUNDS = 3
PREFIX = "/api/2.0/mlflow/"


class Plain:
    """One kept-alive connection that speaks the REST surface."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=120)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._connection.request("POST", PREFIX + path, json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        told = response.read()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {told[:500]!r}")
        return json.loads(told)

    def run(self, number: int, experiment: str) -> None:
        """A whole run: begun, 20 parameters and 10 metrics in one batch, ended."""
        run = self.post("runs/create", {"experiment_id": experiment, "start_time": 1_700_000_000_000 + number})
        run_id = run["run"]["info"]["run_id"]
        metrics = [
            {"key": f"k{j}", "value": (number * 7919 + j) % 1000 / 1000, "timestamp": 1, "step": 0} for j in range(10)
        ]
        params = [{"key": f"p{j}", "value": str((number + j) % 5)} for j in range(20)]
        self.post("runs/log-batch", {"run_id": run_id, "metrics": metrics, "params": params})
        self.post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": 1_700_000_000_001 + number})


def main(uri: str, mode: str, count: int) -> list[float]:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment(f"{mode}-{time.time_ns()}")
    taken: list[float] = []

    def timed(work: Any) -> None:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)

    def points(key: str, first: int) -> list[Metric]:
        return [Metric(key, float(i), 1_700_000_000_000 + i, i) for i in range(first, first + 1000)]

    if mode == "calls":
        with mlflow.start_run(experiment_id=experiment):
            for i in range(20):
                mlflow.log_metric("warm", i, step=i)
            for number in range(ROUNDS):
                timed(lambda n=number: [mlflow.log_metric(f"loss{n}", 1 / (i + 1), step=i) for i in range(count)])
    elif mode == "batches":
        run = client.create_run(experiment).info.run_id
        for number in range(ROUNDS):
            timed(lambda n=number: [client.log_batch(run, points(f"m{n}", b * 1000)) for b in range(count)])
    elif mode == "runs":
        plain = [Plain(uri) for _ in range(8)]

        def share(which: int) -> None:
            for number in range(which, count, 8):
                plain[which].run(number, experiment)

        with ThreadPoolExecutor(8) as pool:
            for _ in range(ROUNDS):
                timed(lambda: list(pool.map(share, range(8))))
    elif mode == "history":
        run = client.create_run(experiment).info.run_id
        for first in range(0, count, 1000):
            client.log_batch(run, points("big", first))
        for _ in range(ROUNDS):
            timed(lambda: check(len(client.get_metric_history(run, "big")), count))
    elif mode == "search":
        plain = Plain(uri)
        for number in range(count):
            plain.run(number, experiment)
        for _ in range(ROUNDS + 2):
            timed(
                lambda: check(
                    len(client.search_runs([experiment], "metrics.k1 > 0.9", 1, 100, ["metrics.k1 DESC"])),
                    min(100, count // 11),
                )
            )
    return taken


def check(found: int, expected: int) -> None:
    if found < expected:
        raise SystemExit(f"{found} came back, {expected} were expected")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
