"""What noise in the numbers and missing values do to a model that is asked as in service.

Measured on at most 20,000 rows, taken evenly from the held-out ones: enough for an interval, and the model is asked
seven times.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import numpy as np
import polars as pl

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.material import Ask
from perennial.evaluate.metrics import Metric, measure_on
from perennial.models.facts.evaluation import Estimate, Robustness

__all__ = ["disturbances", "robustness"]

ROWS = 20_000
NOISE = (0.01, 0.05, 0.1, 0.2)  # standard deviations of each column
MISSING = (0.05, 0.1, 0.2)  # share of the values
MOVED = 0.1  # an answer that moved by more than this share of the answers' spread has changed


def robustness(
    metric: Metric, on: HeldOut, frame: pl.DataFrame, ask: Ask, *, nullable: Collection[str] = (), seed: int = 0
) -> list[Robustness]:
    """The metric under each disturbance, and the share of rows whose answer changed.

    Args:
        metric: By which.
        on: Held-out rows.
        frame: Their request columns.
        ask: Answers rows as the service would.
        nullable: Columns in which a request may leave a value out.
        seed: Of the noise.
    """
    if len(on) > ROWS:
        rows = np.linspace(0, len(on) - 1, ROWS).astype(np.int64)
        on, frame = on.take(rows), frame[rows]
    found: list[Robustness] = []
    for name, level, disturbed in disturbances(frame, nullable=nullable, seed=seed):
        part = on.with_answers(ask(disturbed))
        if metric.why_not(part.truth, part.answers) is not None:
            continue
        interval = measure_on(metric, part)
        found.append(
            Robustness(
                disturbance=name,
                level=level,
                value=Estimate(
                    value=interval.estimate,
                    low=interval.low if np.isfinite(interval.low) else None,
                    high=interval.high if np.isfinite(interval.high) else None,
                    rows=len(part),
                ),
                changed=_changed(metric.task, on.answers, part.answers),
            )
        )
    return found


def disturbances(
    frame: pl.DataFrame, *, nullable: Collection[str] = (), seed: int = 0
) -> list[tuple[str, float, pl.DataFrame]]:
    """(name, level, rows): noise on every number, whole ones staying whole; values left out where that is allowed."""
    found: list[tuple[str, float, pl.DataFrame]] = []
    numbers = [name for name in frame.columns if frame[name].dtype.is_numeric()]
    spread = {name: _deviation(frame[name]) for name in numbers}
    if any(spread.values()):
        found += [
            ("noise", level, frame.with_columns(_noisy(frame, spread, level, np.random.default_rng(seed))))
            for level in NOISE
        ]
    left_out = [name for name in frame.columns if name in nullable]
    for level in MISSING if left_out else ():
        random = np.random.default_rng(seed)
        columns = [
            pl.when(pl.Series(random.random(len(frame)) >= level)).then(pl.col(name)).alias(name) for name in left_out
        ]
        found.append(("missing values", level, frame.with_columns(columns)))
    return found


def _noisy(frame: pl.DataFrame, spread: dict[str, float], level: float, random: np.random.Generator) -> list[pl.Series]:
    columns: list[pl.Series] = []
    for name, sd in spread.items():
        column = frame[name]
        noise = pl.Series(random.normal(scale=level, size=len(frame))) * sd
        moved = column.cast(pl.Float64) + noise
        if column.dtype.is_integer():
            lowest, highest = (cast(int | None, end) for end in (column.min(), column.max()))
            moved = moved.round().clip(lowest, highest)  # not beyond what the type, or a count, can hold
        columns.append(moved.cast(column.dtype).alias(name))
    return columns


def _deviation(column: pl.Series) -> float:
    return float(cast(float | None, column.cast(pl.Float64).fill_nan(None).std()) or 0.0)


def _changed(task: str, before: Answers, after: Answers) -> float:
    if task != "regression":
        return float((before.prediction != after.prediction).mean())
    spread = float(np.std(before.prediction))
    return float((np.abs(after.prediction - before.prediction) > MOVED * spread).mean())
