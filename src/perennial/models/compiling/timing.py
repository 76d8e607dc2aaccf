"""How long native and compiled take, turn by turn, so that a busy moment of the machine meets both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from perennial.models.compiling.scorer import CompiledScorer
from perennial.models.facts.compilation import Timing
from perennial.models.flavors.flavor import Scorer

__all__ = ["timed", "too_slow"]

ROUNDS = 5
ROUND_S = 0.01
MANY = 1_000
FASTER = 1.2  # on one row, columns and all
SLOWER = 1.5  # on 1,000 rows


def timed(native: Scorer, compiled: CompiledScorer, x: pl.DataFrame) -> Timing:
    """Medians in microseconds. The native model is given a frame, the compiled one its matrix; columns are apart."""
    one = x.head(1)
    many = x[np.resize(np.arange(x.height), MANY).tolist()]
    matrix, matrices = compiled.columns.of_frame(one), compiled.columns.of_frame(many)
    found = _medians(
        [
            lambda: native.answer(one),
            lambda: compiled.answer_matrix(matrix),
            lambda: native.answer(many),
            lambda: compiled.answer_matrix(matrices),
            lambda: compiled.columns.of_frame(one),
        ]
    )
    return Timing(
        native_1_us=found[0],
        compiled_1_us=found[1],
        native_1000_us=found[2],
        compiled_1000_us=found[3],
        columns_us=found[4],
    )


def too_slow(timing: Timing) -> str | None:
    """Why the compiled form is not worth it, None if it is; without figures, which differ from run to run."""
    if (timing.compiled_1_us + timing.columns_us) * FASTER > timing.native_1_us:
        return f"it is not {FASTER} times as fast for one row"
    if timing.compiled_1000_us > SLOWER * timing.native_1000_us:
        return f"it takes more than {SLOWER} times as long for {MANY:,} rows"
    return None


def _medians(works: list[Callable[[], object]]) -> list[float]:
    counts = list[int]()
    for work in works:
        work()
        began = time.perf_counter()
        work()
        counts.append(max(1, min(1000, int(ROUND_S / max(time.perf_counter() - began, 1e-6)))))
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, count, into in zip(works, counts, taken, strict=True):
            began = time.perf_counter()
            for _ in range(count):
                work()
            into.append((time.perf_counter() - began) / count * 1e6)
    return [statistics.median(values) for values in taken]
