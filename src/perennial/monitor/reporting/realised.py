"""How good the answers were on the rows whose truth is known, with intervals: all together and span by span."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.metrics import Metric, measure_on, metrics_of
from perennial.monitor.reporting.report import Measured
from perennial.monitor.sample import Sample

__all__ = ["METRICS", "RESTS_ON", "higher_is_better", "is_worse", "realised", "tolerated"]

METRICS = {"regression": ("rmse", "mae", "bias"), "classification": ("roc_auc", "accuracy", "f1")}
MIN_ROWS = 30  # labelled ones, below which a metric of a span tells nothing
RESTS_ON = "rows whose truth is known; 95 % intervals take rows as independent of each other"
SHARE_TOLERATED = 0.01  # of accuracy, F1, ROC AUC: what is no drop
ERROR_TOLERATED = 0.05  # of the reference's error: what is no rise


def higher_is_better(metric: str) -> bool:
    """Whether more of this metric is good."""
    return metric in METRICS["classification"] or metric == "r2"


def realised(sample: Sample) -> dict[str, Measured]:
    """The metrics that the labelled rows have, by name; empty where fewer than 30 rows are labelled."""
    rows = np.flatnonzero(sample.is_labelled)
    on = _held_out(sample, rows) if len(rows) >= MIN_ROWS else None
    return {} if on is None else {metric.name: _measured(metric, on) for metric in _wanted(sample, on)}


def tolerated(metric: str, reference: Measured, error: float | None = None) -> float:
    """How much of a change is left alone, in units of the metric. `error`: the reference's RMSE, for a bias."""
    if higher_is_better(metric):
        return SHARE_TOLERATED
    return ERROR_TOLERATED * abs((error if metric == "bias" and error is not None else reference.value) or 0.0)


def is_worse(metric: str, reference: Measured, current: Measured, tolerance: float) -> bool:
    """Whether the current interval lies beyond the reference's on the bad side, by more than is tolerated."""
    ends = (reference.low, reference.high, current.low, current.high)
    if any(end is None or not np.isfinite(end) for end in ends) or reference.value is None or current.value is None:
        return False
    low, high, now_low, now_high = (float(end) for end in ends if end is not None)
    if metric == "bias":
        moved = now_low > high or now_high < low
        return moved and abs(current.value) - abs(reference.value) > tolerance
    if higher_is_better(metric):
        return now_high < low and reference.value - current.value > tolerance
    return now_low > high and current.value - reference.value > tolerance


def _wanted(sample: Sample, on: HeldOut) -> list[Metric]:
    by_name = {metric.name: metric for metric in metrics_of(sample.task, on)}
    return [by_name[name] for name in METRICS[sample.task] if name in by_name]


def _held_out(sample: Sample, rows: NDArray[np.int64]) -> HeldOut | None:
    part = sample.take(rows)
    assert part.predictions is not None
    assert part.labels is not None
    if part.task == "regression":
        return HeldOut(truth=part.labels.to_numpy(), answers=Answers(prediction=part.predictions.to_numpy()))
    answers = Answers.of_arrays(part.predictions.to_list(), part.probs, part.classes, part.task)
    return HeldOut.of(part.labels, answers, part.task)


def _measured(metric: Metric, on: HeldOut) -> Measured:
    found = measure_on(metric, on)
    ends = [end if np.isfinite(end) else None for end in (found.low, found.high)]
    value = found.estimate if np.isfinite(found.estimate) else None
    return Measured(value=value, low=ends[0], high=ends[1], rows=len(on))
