"""The metrics of each task, as functions of per-row values, so that each has an interval and a paired comparison.

Everything here is a function of row means: RMSE is the root of the mean squared error, macro F1 a function of three
means for each class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, as_labels

__all__ = ["METRICS", "Metric", "loss_of", "measure", "metric_named", "metrics_of"]

Floats = NDArray[np.float64]
SMALLEST_PROB = 1e-15  # a probability of zero for what happened costs 34.5 nats, not infinity


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`rows` turns truth and answers into per-row values, shape (n, k); `of_means` their means into the metric."""

    name: str
    task: str
    higher_is_better: bool
    rows: Callable[[NDArray[Any], Answers], Floats]
    of_means: Callable[[Floats], Floats]
    needs_probabilities: bool = False


def _squared(truth: NDArray[Any], answers: Answers) -> Floats:
    return ((answers.prediction - truth) ** 2)[:, None].astype(np.float64)


def _absolute(truth: NDArray[Any], answers: Answers) -> Floats:
    return np.abs(answers.prediction - truth)[:, None].astype(np.float64)


def _signed(truth: NDArray[Any], answers: Answers) -> Floats:
    return (answers.prediction - truth)[:, None].astype(np.float64)


def _variance_parts(truth: NDArray[Any], answers: Answers) -> Floats:
    centred = truth.astype(np.float64) - float(np.mean(truth))
    return np.column_stack([(answers.prediction - truth) ** 2, centred, centred**2]).astype(np.float64)


def _r2(means: Floats) -> Floats:
    squared_error, variance = means[..., 0], means[..., 2] - means[..., 1] ** 2
    # Where the truth is one value throughout, all of it is explained or nothing is, as scikit-learn has it.
    is_constant = variance <= 1e-12 * means[..., 2]
    share = squared_error / np.where(is_constant, 1.0, variance)
    return 1.0 - np.where(is_constant, squared_error > 0, share)


def _hits(truth: NDArray[Any], answers: Answers) -> Floats:
    return (as_labels(truth) == answers.prediction)[:, None].astype(np.float64)


def _log_losses(truth: NDArray[Any], answers: Answers) -> Floats:
    return -np.log(np.maximum(_prob_of_truth(truth, answers), SMALLEST_PROB))[:, None]


def _brier(truth: NDArray[Any], answers: Answers) -> Floats:
    assert answers.probabilities is not None
    hit = as_labels(truth)[:, None] == np.array(answers.classes, dtype=object)[None, :]
    # A label that the model does not know is a class with probability zero: one more squared error of 1.
    unknown = ~hit.any(axis=1)
    return (((answers.probabilities - hit) ** 2).sum(axis=1) + unknown)[:, None]


def _prob_of_truth(truth: NDArray[Any], answers: Answers) -> Floats:
    assert answers.probabilities is not None
    position = {name: index for index, name in enumerate(answers.classes)}
    columns = np.array([position.get(label, -1) for label in as_labels(truth)], dtype=np.int64)
    found = answers.probabilities[np.arange(len(truth)), columns]
    return np.where(columns >= 0, found, 0.0)


def _f1_parts(truth: NDArray[Any], answers: Answers) -> Floats:
    true, predicted = as_labels(truth), answers.prediction
    columns: list[Floats] = []
    for label in np.unique(np.concatenate([true, predicted])):
        is_true, is_predicted = true == label, predicted == label
        columns += [(is_true & is_predicted).astype(np.float64), is_true.astype(np.float64) + is_predicted]
    return np.column_stack(columns)


def _f1_macro(means: Floats) -> Floats:
    both, either = means[..., 0::2], means[..., 1::2]
    return np.mean(2 * both / np.maximum(either, np.finfo(np.float64).tiny), axis=-1)


METRICS: tuple[Metric, ...] = (
    Metric(name="rmse", task="regression", higher_is_better=False, rows=_squared, of_means=stats.root_mean),
    Metric(name="mae", task="regression", higher_is_better=False, rows=_absolute, of_means=stats.first_mean),
    Metric(name="r2", task="regression", higher_is_better=True, rows=_variance_parts, of_means=_r2),
    Metric(name="bias", task="regression", higher_is_better=False, rows=_signed, of_means=stats.first_mean),
    Metric(name="accuracy", task="classification", higher_is_better=True, rows=_hits, of_means=stats.first_mean),
    Metric(name="f1_macro", task="classification", higher_is_better=True, rows=_f1_parts, of_means=_f1_macro),
    Metric(
        name="log_loss",
        task="classification",
        higher_is_better=False,
        rows=_log_losses,
        of_means=stats.first_mean,
        needs_probabilities=True,
    ),
    Metric(
        name="brier",
        task="classification",
        higher_is_better=False,
        rows=_brier,
        of_means=stats.first_mean,
        needs_probabilities=True,
    ),
)


def metrics_of(task: str, answers: Answers) -> list[Metric]:
    """Every metric that these answers allow."""
    has = answers.probabilities is not None
    return [metric for metric in METRICS if metric.task == task and (has or not metric.needs_probabilities)]


def metric_named(name: str, task: str) -> Metric:
    """The metric of this name for this task.

    Raises:
        LoopError: There is none; the remedy lists those there are.
    """
    for metric in METRICS:
        if metric.name == name and metric.task == task:
            return metric
    known = ", ".join(metric.name for metric in METRICS if metric.task == task)
    raise LoopError(f"there is no metric {name!r} for {task}", remedy=f"use one of {known}")


def measure(
    metric: Metric, truth: NDArray[Any], answers: Answers, clusters: NDArray[Any] | None = None
) -> stats.Interval:
    """The metric with its 95 % bootstrap interval; `clusters` names each row's entity where rows share one."""
    return stats.bootstrap_interval(metric.rows(truth, answers), metric.of_means, clusters=clusters)


def loss_of(task: str, truth: NDArray[Any], answers: Answers) -> Floats:
    """One number per row that is lower when the answer was better: squared error, or 1 for a wrong label."""
    if task == "regression":
        return _squared(truth, answers)[:, 0]
    return 1.0 - _hits(truth, answers)[:, 0]
