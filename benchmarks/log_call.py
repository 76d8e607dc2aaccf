"""One `log` call in the library, nothing lost if the process dies: beside aim, wandb and the bare write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import Figure, Report, say
from peers import python_of
from processes import up

CALLS = 20_000

OURS = """
import json, os, sys, time
import perennial
home, calls, rounds, steady = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "steady"
told = []
with perennial.open(home) as ws:
    for _ in range(rounds):
        with ws.runs.start("bench") as run:
            run.flush()
            spent, worst = 0.0, 0.0
            for step in range(calls):
                began = time.perf_counter()
                run.log(loss=0.5, acc=0.9, step=step)
                took = time.perf_counter() - began
                spent += took
                worst = max(worst, took)
                if steady:
                    time.sleep(0.001)
        assert run.counts.stored >= 2 * calls and run.counts.dropped == 0
        told.append([spent / calls * 1e6, worst * 1e3])
print(json.dumps(told))
"""

AIM = """
import json, sys, time
from aim import Run
folder, calls, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
told = []
for _ in range(rounds):
    run = Run(repo=folder, system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
    began = time.perf_counter()
    for step in range(calls):
        run.track({"loss": 0.5, "acc": 0.9}, step=step)
    told.append([(time.perf_counter() - began) / calls * 1e6, 0])
    run.close()
print(json.dumps(told))
"""

WANDB = """
import json, os, sys, time
import wandb
folder, calls, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
told = []
for _ in range(rounds):
    run = wandb.init(mode="offline", dir=folder, project="bench", settings=wandb.Settings(silent=True, console="off"))
    began = time.perf_counter()
    for step in range(calls):
        run.log({"loss": 0.5, "acc": 0.9}, step=step)
    told.append([(time.perf_counter() - began) / calls * 1e6, 0])
    run.finish()
print(json.dumps(told))
"""


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    work = folder / "log_call"
    work.mkdir()
    rounds, calls = (3, 5_000) if quick else (5, CALLS)
    say("one log call, to a server")
    with up(work):
        home = work / ".perennial"
        tight = _told(sys.executable, OURS, home, calls, rounds, "tight")
        steady = _told(sys.executable, OURS, home, min(calls, 3_000), rounds, "steady")
    own = _told(sys.executable, OURS, work / "own", calls, rounds, "tight")
    bare = Figure("one write() of 64 bytes to a file", [_bare(work / "bare", calls) for _ in range(rounds)], "us")
    beside = [bare, *_peers(work, calls, rounds)]
    name = "one log call of two metrics, kept if the process is killed"
    report.add(f"{name}, without a pause", Figure("Perennial", [call for call, _ in tight], "us"), *beside, aim="20 us")
    report.add(f"{name}, one each millisecond", Figure("Perennial", [call for call, _ in steady], "us"), aim="20 us")
    report.add(f"{name}, this process owns the workspace", Figure("Perennial", [call for call, _ in own], "us"))
    report.add("the longest of those calls", Figure("Perennial", [worst for _, worst in tight], "ms"))


def _peers(work: Path, calls: int, rounds: int) -> list[Figure]:
    found: list[Figure] = []
    for name, code in (("aim", AIM), ("wandb", WANDB)):
        python = python_of(name, name)
        if python is None:
            continue
        (work / name).mkdir()
        told = _told(python, code, work / name, calls, rounds)
        found.append(Figure(f"{name}" if name == "aim" else "wandb, offline", [call for call, _ in told], "us"))
    return found


def _told(python: str | Path, code: str, *words: object) -> list[tuple[float, float]]:
    environment = {**os.environ, "WANDB_SILENT": "true", "AIM_UI_TELEMETRY_ENABLED": "0", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(python), "-c", code, *map(str, words)], capture_output=True, text=True, check=True, env=environment
    )
    return [(call, worst) for call, worst in json.loads(done.stdout.splitlines()[-1])]


def _bare(path: Path, calls: int) -> float:
    data = bytes(64)
    with path.open("ab", buffering=0) as file:
        descriptor = file.fileno()
        began = time.perf_counter()
        for _ in range(calls):
            os.write(descriptor, data)
        return (time.perf_counter() - began) / calls * 1e6
