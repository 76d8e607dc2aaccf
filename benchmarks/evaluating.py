"""The evaluation of one model on 1 million held-out rows x 10 columns, retraining apart: time and peak memory.

Everything that needs no retraining: metrics with intervals on test and training rows, three baselines, calibration, the
table of slices and the search for weak ones, fairness by two columns, robustness, and the live version on the same
rows, each group of them. The model is a linear scorer, as fast as a compiled one. Each figure is of a process of its
own, from the answers to the evaluation as it is stored.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from measure import Figure, Report, say
from peers import SILENT

OURS = """
import json, resource, sys, time
import numpy as np, polars as pl
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.evaluation import evaluate
from perennial.evaluate.material import Live, Material
from perennial.loop.declaration import EvaluatePolicy
task, rows = sys.argv[1], int(sys.argv[2])
draw = np.random.default_rng(0)
numbers = [f"x{i}" for i in range(5)]

def side(n):
    frame = pl.DataFrame({**{name: draw.normal(size=n) for name in numbers},
        "age": draw.integers(17, 90, n), "job": draw.choice([f"job {i}" for i in range(6)], n),
        "school": draw.choice([f"school {i}" for i in range(16)], n), "sex": draw.choice(["Female", "Male"], n),
        "race": draw.choice(["White", "Black", "Asian", "Other"], n, p=[0.85, 0.1, 0.03, 0.02])})
    score = frame.select(numbers).to_numpy() @ np.array([1, 0.5, -0.5, 0.3, 0.1])
    score = score + 0.02 * (frame["age"].to_numpy() - 50)
    weak = ((frame["job"] == "job 3") & (frame["sex"] == "Female")).to_numpy()
    return frame, np.where(weak, -3 * score, score) + draw.logistic(size=n)

def asked(shift):
    def ask(frame):
        score = frame.select(numbers).fill_null(0).to_numpy() @ np.array([1 + shift, 0.5, -0.5, 0.3, 0.1])
        score = score + 0.02 * (frame["age"].cast(pl.Float64).fill_null(50).to_numpy() - 50)
        if task == "regression":
            return Answers(prediction=score)
        p = 1 / (1 + np.exp(-score))
        return Answers.of_arrays(None, np.column_stack([1 - p, p]), ("no", "yes"), "classification")
    return ask

(train, y_train), (test, y_test) = side(rows), side(rows)
ask, live = asked(0.0), asked(0.1)
began = time.perf_counter()
def held(frame, y):
    return HeldOut.of(y if task == "regression" else np.where(y > 0, "yes", "no"), ask(frame), task)
found = evaluate(task, test=held(test, y_test), train=held(train, y_train), split="",
    material=Material(train_frame=train, test_frame=test, inputs=tuple(train.columns), ask=ask,
        nullable=frozenset(["x0", "age"])),
    live=Live(name="version 1", answers=live(test), fresh=np.ones(rows, dtype=bool)),
    policy=EvaluatePolicy(groups=("sex", "race")))
wall = time.perf_counter() - began
best = next(one for one in found.slices if one.found_by == "search")
assert {"job": "job 3", "sex": "Female"}.items() <= best.where.items() and best.is_confirmed, best
assert len(found.robustness) == 7 and len(found.fairness) == 2 and len(found.baselines) == 2
print(json.dumps({"wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    del folder
    rows = 100_000 if quick else 1_000_000
    for task in ("classification", "regression"):
        say(f"{task}, {rows:,} held-out rows")
        found = [_ran(task, rows) for _ in range(1 if quick else 3)]
        for unit, key, what, aim in (("s", "wall", "", "60 s"), ("MB", "peak", ": peak memory", "4,096 MB")):
            ours = Figure("Perennial", [one[key] for one in found], unit)
            report.add(f"{task}, {rows:,} held-out rows x 10 columns, evaluated{what}", ours, aim=aim)


def _ran(task: str, rows: int) -> dict[str, float]:
    command = [sys.executable, "-c", OURS, task, str(rows)]
    done = subprocess.run(command, env={**os.environ, **SILENT}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"evaluating {task}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
