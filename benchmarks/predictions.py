"""The prediction service under load, beside a constant over HTTP and the bare model in its own process."""

from __future__ import annotations

import json
import time
from pathlib import Path

import salary
from measure import Figure, Report, say
from processes import HERE, PYTHON, Server, command, load, up


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    project = folder / "salary"  # trained already when `steps` came before
    if not project.exists():
        salary.run(salary.make_project(project))
    salary.make_live(project)
    rounds, seconds = 3, 1.0 if quick else 2.0
    body = json.dumps({"records": [salary.ROW]})
    model = _in_process(project, folder, OMP_NUM_THREADS="1")  # as in a worker of the service
    pooled = _in_process(project, folder)
    with up(project) as server, Server([PYTHON, str(HERE / "constant.py")], folder) as constant:
        host, _, port = server.told["serving"].removeprefix("http://").rpartition(":")
        ours = {"host": host, "port": int(port), "path": "/predict/salary", "body": body, "limit": 10**6}
        least = ours | {"port": constant.told["port"], "path": "/predict"}
        _await(ours)
        answered = 1
        for clients, aim in ((1, ""), (64, "10,000/s")):
            say(f"predictions, {clients} clients")
            rates: dict[str, list[float]] = {"ours": [], "constant": []}
            p50, p99 = list[float](), list[float]()
            for number in range(rounds + 1):
                bounds = {"clients": clients, "seconds": seconds if number else 0.5}
                told, bare = load(ours | bounds), load(least | bounds)
                answered += told["answered"]
                if number:  # the first one warms up
                    rates["ours"].append(told["per_s"])
                    rates["constant"].append(bare["per_s"])
                    p50.append(told["p50_ms"])
                    p99.append(told["p99_ms"])
            report.add(
                f"one row of the salary model over HTTP, capture on, {clients} at once",
                Figure("Perennial", rates["ours"], "requests/s"),
                Figure("uvicorn and starlette, a constant", rates["constant"], "requests/s"),
                Figure("`model.predict` in process, one thread", model["bare_per_s"], "requests/s"),
                aim=aim,
            )
            report.add(f"its latency, {clients} at once, median", Figure("Perennial", p50, "ms"))
            report.add(f"its latency, {clients} at once, 99 %", Figure("Perennial", p99, "ms"))
        memory = server.memory_mb()
        _check(project, answered)
    report.add(
        "one row in process, one thread: check, features, model, answer",
        Figure("Perennial", model["whole_us"], "us"),
        Figure("`model.predict` alone", model["bare_us"], "us"),
        Figure("`model.predict` alone, OpenMP's own choice of threads", pooled["bare_us"], "us"),
    )
    report.add(
        "memory of the processes that answer (PSS)",
        *(Figure(name, [used], "MB") for name, used in memory.items() if name.startswith("perennial.serve")),
        aim="220 MB",
    )


def _in_process(project: Path, folder: Path, **more: str) -> dict[str, list[float]]:
    words = [PYTHON, str(HERE / "in_process.py"), str(project / ".perennial"), salary.package_of(project)]
    return json.loads(command(words, folder, **more).stdout)


def _await(request: dict[str, object]) -> None:
    """`up` is ready before the model is warm."""
    ends = time.monotonic() + 30.0
    while True:
        try:
            load(request | {"clients": 1, "seconds": 5.0, "limit": 1})
        except SystemExit:
            if time.monotonic() > ends:
                raise
            time.sleep(0.2)
        else:
            return


def _check(project: Path, answered: int) -> None:
    """Every answer was captured."""
    from perennial.serve.spec import read_status
    from perennial.store.workspace_folder import open_folder

    ends = time.monotonic() + 10.0
    while True:
        status = read_status(open_folder(project / ".perennial").serving_status)
        assert status is not None
        if status.stored >= answered:
            return
        if time.monotonic() > ends:
            raise SystemExit(f"{answered} requests were answered and {status.stored} answers are stored")
        time.sleep(0.1)
