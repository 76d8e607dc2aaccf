"""What one row costs without HTTP:  python in_process.py WORKSPACE PACKAGE   prints three repeats of each as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from salary import ROW

from perennial.models.package import Predictor, checkout
from perennial.store.objects import ObjectStore

CALLS = 300


def per_call_us(work: Callable[[], object]) -> list[float]:
    for _ in range(CALLS // 10):
        work()
    taken: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(CALLS):
            work()
        taken.append((time.perf_counter() - began) / CALLS * 1e6)
    return taken


workspace, package = Path(sys.argv[1]), sys.argv[2]
with tempfile.TemporaryDirectory() as cache:
    predictor = Predictor.load(checkout(package, ObjectStore(workspace / "objects"), Path(cache)))
    x = predictor._preparation.x(predictor.frame([ROW]))
    bare = per_call_us(lambda: predictor._answer(x))
    whole = per_call_us(lambda: predictor.predict(predictor.frame([ROW])))
    print(json.dumps({"bare_us": bare, "whole_us": whole, "bare_per_s": [1e6 / taken for taken in bare]}))
