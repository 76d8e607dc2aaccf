"""Requirements on what a model costs to serve: time for one row, memory, disk."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from perennial.errors import UserCodeError
from perennial.evaluate.requirements.case import Case, Result
from perennial.models.sandbox import environment

__all__ = ["latency", "memory", "size"]

LATENCY_ROWS = 100
LATENCY_ROUNDS = 3
MEMORY_ROWS = 1000
MEMORY_TIMEOUT_S = 300
MB = 1e6

# What the new process runs: it says how much it took at its highest, before it saw a model and after it answered. On
# Linux not by getrusage, which begins with what the parent took, since the child was the parent until it was another.
_PROGRAM = """
import io, json, resource, sys
from pathlib import Path
import polars as pl
from perennial.models.package import Predictor
def highest():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = highest()
model = Predictor.load(Path(sys.argv[1]), trusted=True)
rows = pl.read_ipc(io.BytesIO(sys.stdin.buffer.read()))
model.answers(rows)
print(json.dumps([before, highest()]))
"""


def latency(case: Case, options: dict[str, Any]) -> Result:
    """The 0.99 quantile over single rows of the quickest of some rounds."""
    limit_ms = float(options["p99_ms"])
    rows = [case.frame[index] for index in range(min(LATENCY_ROWS, len(case.frame)))]
    ask = case.predict or case.answer
    ask(rows[0])
    # Each row's quickest of some rounds: what else the machine does meanwhile is not the model's latency. One thread,
    # as in the prediction service: for one row, a pool of them costs more than it gives.
    taken = np.full((LATENCY_ROUNDS, len(rows)), np.inf)
    p99_ms = np.inf
    with threadpool_limits(1):
        for round_ in range(LATENCY_ROUNDS):
            for index, row in enumerate(rows):
                start = time.perf_counter()
                ask(row)
                taken[round_, index] = (time.perf_counter() - start) * 1000
            p99_ms = float(np.quantile(taken.min(axis=0), 0.99))
            if p99_ms <= limit_ms:
                break
    passed = p99_ms <= limit_ms
    says = f"one row takes {'less' if passed else 'more'} than {limit_ms:g} ms in 99 of 100 cases"
    return passed, says, {"rows": len(rows), "limit_ms": limit_ms, "timing": {"p99_ms": p99_ms}}


def memory(case: Case, options: dict[str, Any]) -> Result:
    """The highest resident memory of a new process that loads the package and answers; libraries included."""
    limit = float(options["peak_mb"])
    if case.package is None or case.package.folder is None:
        return None, "there is no package here whose memory could be measured", {"limit_mb": limit}
    rows = case.frame.select(case.features).head(MEMORY_ROWS)
    before, after = _peaks(case.package.folder, rows)
    passed = after / MB <= limit
    says = (
        f"a process that loads the model and answers {len(rows)} rows takes {'at most' if passed else 'more than'} "
        f"{limit:g} MB"
    )
    # What a process takes differs a little from run to run, as timings do.
    told = {"peak_mb": after / MB, "without_model_mb": before / MB}
    return passed, says, {"rows": len(rows), "limit_mb": limit, "timing": told}


def size(case: Case, options: dict[str, Any]) -> Result:
    """The files of the package together, and which are the largest."""
    limit = float(options["mb"])
    if case.package is None:
        return None, "there is no package here whose size could be measured", {"limit_mb": limit}
    taken = case.package.size_bytes / MB
    largest = sorted((case.package.largest or {}).items(), key=lambda one: -one[1])[:5]
    says = f"the package takes {taken:.3g} MB, asked for at most {limit:g} MB"
    if taken > limit and largest:
        says += f"; the largest file is {largest[0][0]} with {largest[0][1] / MB:.3g} MB"
    evidence: dict[str, Any] = {"mb": taken, "limit_mb": limit, "largest": dict(largest)}
    if case.package.form is not None:
        evidence["form"] = case.package.form
    return taken <= limit, says, evidence


def _peaks(folder: Path, rows: pl.DataFrame) -> tuple[float, float]:
    """Highest memory, in bytes, of a process with our libraries alone, and after it loaded the model and answered."""
    buffer = io.BytesIO()
    rows.write_ipc(buffer)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder)],
        input=buffer.getvalue(),
        capture_output=True,
        timeout=MEMORY_TIMEOUT_S,
        check=False,
        env={**environment(os.environ), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
        raise UserCodeError(
            f"a process that loads the model and answers failed: {last}",
            remedy="load the package by itself to see why: perennial models verify",
        )
    before, after = json.loads(done.stdout.decode().strip().splitlines()[-1])
    return float(before), float(after)
