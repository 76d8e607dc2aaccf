"""Everything measured of one model on one held-out set: metrics with intervals, the gap to training, the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perennial.evaluate.answers import Answers, constant_answers
from perennial.evaluate.compare import compare
from perennial.evaluate.metrics import Metric, loss_of, measure, metrics_of

__all__ = ["Estimate", "Evaluation", "HeldOut", "evaluate", "main_metric"]

OVERFITTING_RATIO = 1.5  # a test loss this many times the training loss is named overfitting when intervals are apart


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A metric on a set of rows with its 95 % interval; an end is None where too few rows give none."""

    value: float
    low: float | None
    high: float | None
    rows: int


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one model. `split` says in words which rows were held out."""

    task: str
    metric: str
    split: str
    test: dict[str, Estimate]
    train: dict[str, Estimate]
    baseline: dict[str, Estimate]
    saved_over_baseline: dict[str, Any]
    overfits: str | None
    answers: str | None = None


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Rows, truth and answers of one set; `clusters` names each row's entity."""

    truth: NDArray[Any]
    answers: Answers
    clusters: NDArray[Any] | None = None


def main_metric(task: str) -> str:
    """The metric that stands for a task where none is named."""
    return "rmse" if task == "regression" else "accuracy"


def evaluate(task: str, *, test: HeldOut, train: HeldOut, split: str, answers: str | None = None) -> Evaluation:
    """Measure a model on the rows held out, on those it was fitted to, and beside the trivial baseline.

    Args:
        task: "regression" or "classification".
        test: Rows the model has not seen.
        train: Rows it was fitted to.
        split: How the two were divided, in words.
        answers: Digest of the stored answers to the test rows.
    """
    metrics = metrics_of(task, test.answers)
    chosen = next(metric for metric in metrics if metric.name == main_metric(task))
    trivial = constant_answers(train.truth, len(test.truth), task)
    saved = compare(chosen, test.truth, trivial, test.answers, margin=0.0, clusters=test.clusters)
    on_test, on_train = ({metric.name: _estimate(metric, part) for metric in metrics} for part in (test, train))
    is_apart = _are_apart(on_test[chosen.name], on_train[chosen.name])
    return Evaluation(
        task=task,
        metric=chosen.name,
        split=split,
        test=on_test,
        train=on_train,
        baseline={
            metric.name: _estimate(metric, HeldOut(truth=test.truth, answers=trivial, clusters=test.clusters))
            for metric in metrics
        },
        saved_over_baseline=saved.as_dict(),
        overfits=_overfits(task, test, train) if is_apart else None,
        answers=answers,
    )


def _estimate(metric: Metric, on: HeldOut) -> Estimate:
    interval = measure(metric, on.truth, on.answers, on.clusters)
    return Estimate(
        value=interval.estimate,
        low=interval.low if np.isfinite(interval.low) else None,
        high=interval.high if np.isfinite(interval.high) else None,
        rows=len(on.truth),
    )


def _are_apart(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low > b.high or a.high < b.low


def _overfits(task: str, test: HeldOut, train: HeldOut) -> str | None:
    unseen, seen = (float(loss_of(task, part.truth, part.answers).mean()) for part in (test, train))
    if unseen <= OVERFITTING_RATIO * seen:
        return None
    name = "mean squared error" if task == "regression" else "error rate"
    return (
        f"the {name} on unseen rows ({unseen:.4g}) is {unseen / seen:.1f} times that on the training rows ({seen:.4g})"
        if seen > 0
        else f"no error on the training rows, {unseen:.4g} {name} on unseen rows"
    )
