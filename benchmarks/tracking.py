"""The tracking server beside MLflow's, in one run, through the same MLflow client and over plain HTTP.

MLflow runs with one worker and its job runner off, its leanest form, and, unless `--quick`, as it starts by default.
Both keep SQLite on the same disk. The limit beside them is plain SQLite: commits of one row and of a thousand.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from measure import Figure, Report, say
from peers import SILENT, python_of, version_of
from processes import environment, load, up

HERE = Path(__file__).parent
PORT = 5731
START_S = 120.0
POINT = '{"key":"loss","value":0.5,"step":{n},"timestamp":1700000000000}'


class Tracker(NamedTuple):
    """A tracking server: its name, address, and the processes that belong to it."""

    name: str
    uri: str
    start_s: float
    root: int


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    python = python_of("mlflow", "mlflow==3.17.2")
    figures: dict[str, list[Figure]] = {}
    with _perennial(folder) as ours:
        _all(figures, ours, python, quick=quick)
    if python is not None:
        version = version_of(python, "mlflow")
        lean = ["--workers", "1"]
        with _mlflow(python, f"MLflow {version}, one worker", folder / "lean", lean) as theirs:
            _all(figures, theirs, python, quick=quick)
        if not quick:
            with _mlflow(python, f"MLflow {version}, as it starts", folder / "default", []) as theirs:
                _all(figures, theirs, python, quick=True)
    seconds = 1.0 if quick else 2.0
    for name, rows in (("SQLite, one row a commit, full sync", 1), ("SQLite, 1,000 rows a commit, full sync", 1000)):
        unit = "writes/s" if rows == 1 else "metrics/s"
        limit = Figure(name, [_commits(folder, rows, seconds) for _ in range(3)], unit)
        for work in [work for work in figures if (work in LIMITED_BY_ONE) == (rows == 1) and work in LIMITED]:
            figures[work].append(limit)
    for work, found in figures.items():
        report.add(work, *found, aim=AIMS.get(work, ""))


ONE, MANY, BATCH = (
    "one metric, plain HTTP, 1 client",
    "one metric, plain HTTP, 16 clients",
    "batches of 1,000, plain HTTP",
)
AIMS = {
    ONE: "2,500/s",
    MANY: "8,000/s",
    BATCH: "150,000/s",
    "whole runs, 8 clients, plain HTTP": "600/s",
    "search 10,000 runs by metric, 100 back, MLflow's client": "10 ms",
    "history of 100,000 points, MLflow's client": "0.3 s",
    "tracking server: start": "1 s",
    "tracking server: memory of all its processes (PSS)": "150 MB",
}
LIMITED_BY_ONE = (ONE, MANY)
LIMITED = (*LIMITED_BY_ONE, BATCH)


def _all(figures: dict[str, list[Figure]], server: Tracker, python: Path | None, *, quick: bool) -> None:
    def add(work: str, values: Sequence[float], unit: str) -> None:
        say(f"{server.name}: {work}: {', '.join(f'{value:.4g}' for value in values)} {unit}")
        figures.setdefault(work, []).append(Figure(server.name, list(values), unit))

    add("tracking server: start", [server.start_s], "s")
    run = _post(server.uri, "runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    seconds, first = (1.0, 0) if quick else (2.0, 0)
    single = f'{{"run_id":"{run}",{POINT[1:]}'
    for work, clients in ((ONE, 1), (MANY, 16)):
        rates: list[float] = []
        for _ in range(4):  # the first one warms up
            first += 1_000_000
            rates.append(_load(server, "runs/log-metric", clients, seconds, 900_000, first, body=single)["per_s"])
        add(work, rates[1:], "writes/s")
    batch = {"before": f'{{"run_id":"{run}","metrics":[', "after": "]}", "point": POINT, "points": 1000}
    rates = []
    for _ in range(4):
        first += 1_000
        rates.append(_load(server, "runs/log-batch", 1, 60.0, 5 if quick else 20, first, **batch)["per_s"] * 1000)
    add(BATCH, rates[1:], "metrics/s")
    add("tracking server: memory of all its processes (PSS)", [_memory_mb(server.root)], "MB")
    if python is None:
        return
    count = 100 if quick else 300
    add("`mlflow.log_metric`", [count / s for s in _client(python, server, "calls", count)], "calls/s")
    count = 24 if "MLflow" in server.name else 240
    add("whole runs, 8 clients, plain HTTP", [count / s for s in _client(python, server, "runs", count)], "runs/s")
    count = 3 if quick else 10
    add(
        "batches of 1,000, MLflow's client",
        [count * 1000 / s for s in _client(python, server, "batches", count)],
        "metrics/s",
    )
    points, runs = (100_000, 10_000)
    if "as it starts" in server.name:
        return  # seeding it takes half an hour
    add("history of 100,000 points, MLflow's client", _client(python, server, "history", points), "s")
    found = [s * 1000 for s in _client(python, server, "search", 1_000 if quick else runs)]
    add(f"search {'1,000' if quick else '10,000'} runs by metric, 100 back, MLflow's client", found, "ms")


@contextmanager
def _perennial(folder: Path) -> Iterator[Tracker]:
    project = folder / "tracking"
    project.mkdir()
    with up(project) as server:
        owner = json.loads((project / ".perennial" / "owner.json").read_text())["pid"]
        parent = psutil.Process(owner).ppid()
        yield Tracker("Perennial", server.told["address"], server.start_s, parent)


@contextmanager
def _mlflow(python: Path, name: str, folder: Path, more: Sequence[str]) -> Iterator[Tracker]:
    folder.mkdir()
    store = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts")]
    quiet = (
        SILENT
        | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        | ({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} if more else {})
    )
    began, uri = time.perf_counter(), f"http://127.0.0.1:{PORT}"
    process = subprocess.Popen(
        [str(python.parent / "mlflow"), "server", "--port", str(PORT), *store, *more],
        cwd=folder,
        env=environment(**quiet, PATH=f"{python.parent}:/usr/bin:/bin"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not _answers(uri):
            if process.poll() is not None or time.perf_counter() - began > START_S:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.05)
        yield Tracker(name, uri, time.perf_counter() - began, process.pid)
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(process.pid), *below], timeout=20)
        for left in alive:
            left.kill()
        process.wait()


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(uri + "/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def _post(uri: str, path: str, body: dict[str, object]) -> dict[str, dict[str, dict[str, str]]]:
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _load(
    server: Tracker, path: str, clients: int, seconds: float, limit: int, first: int, **body: object
) -> dict[str, float]:
    host, _, port = server.uri.removeprefix("http://").rpartition(":")
    bounds = {"clients": clients, "seconds": seconds, "limit": limit, "first": first}
    return load({"host": host, "port": int(port), "path": f"/api/2.0/mlflow/{path}", **bounds, **body})


def _client(python: Path, server: Tracker, mode: str, count: int) -> list[float]:
    done = subprocess.run(
        [str(python), str(HERE / "tracking_client.py"), server.uri, mode, str(count)],
        env=environment(**SILENT),
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{server.name}, {mode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _memory_mb(root: int) -> float:
    parent = psutil.Process(root)
    return sum(process.memory_full_info().pss for process in (parent, *parent.children(recursive=True))) / 2**20


def _commits(folder: Path, rows: int, seconds: float) -> float:
    """Rows a second into a table with a key, so many in each commit, forced to disk each time."""
    path = folder / "plain.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    table = sqlite3.connect(path, isolation_level=None)
    table.execute("pragma journal_mode=wal")
    table.execute("pragma synchronous=full")
    table.execute("create table points (run text, key text, step integer, at integer, value real, "
                  "primary key (run, key, step))")  # fmt: skip
    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        table.execute("begin")
        made = [("run", "loss", step + i, 1_700_000_000_000_000, 0.5) for i in range(rows)]
        table.executemany("insert into points values (?, ?, ?, ?, ?)", made)
        table.execute("commit")
        step += rows
    taken = time.perf_counter() - began
    table.close()
    return step / taken


if __name__ == "__main__":
    sys.exit("run it through run.py: python benchmarks/run.py --only tracking")
