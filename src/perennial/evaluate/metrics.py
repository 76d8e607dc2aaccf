"""The metrics of each task, each with an interval and a paired comparison.

Most are functions of row means: RMSE is the root of the mean squared error, macro F1 a function of three means for each
class. These share one set of bootstrap draws. Ranking metrics (`evaluate.ranking`) and the median have intervals of
their own kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, Floats, HeldOut, Ints
from perennial.evaluate.ranking import average_precision_rows, positive_scores, roc_auc_rows, why_no_ranking
from perennial.stats.delong import auc
from perennial.stats.resampling import Draws

__all__ = ["METRICS", "Metric", "Sums", "loss_of", "measure", "measure_on", "metric_named", "metrics_of", "rows_of"]

SMALLEST_PROB = 1e-15  # a probability of zero for what happened costs 34.5 nats, not infinity

Sums = Callable[[NDArray[Any], Answers, Ints, int], Floats]
"""(truth, answers, unit of each row, number of units) -> sums over each unit, shape (units, k)."""
Why = Callable[[NDArray[Any], Answers], str | None]


def _always(truth: NDArray[Any], answers: Answers) -> str | None:
    del truth, answers
    return None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`sums` adds per-row values up over units of rows; `of_means`, shape (..., k) to (...), makes the metric of means.

    `sums` is None for a metric that is no function of means: then `interval` measures it. `why_not` says why rows do
    not have this metric, None where they have.
    """

    name: str
    task: str
    higher_is_better: bool
    sums: Sums | None = None
    of_means: Callable[[Floats], Floats] = stats.first_mean
    interval: Callable[[HeldOut], stats.Interval] | None = None
    why_not: Why = _always


def _by_row(rows: Callable[[NDArray[Any], Answers], Floats]) -> Sums:
    """Sums of per-row values, shape (n, k)."""

    def sums(truth: NDArray[Any], answers: Answers, unit: Ints, units: int) -> Floats:
        table = rows(truth, answers)
        return np.column_stack([np.bincount(unit, column, units) for column in table.T]).astype(np.float64)

    return sums


def _squared(truth: NDArray[Any], answers: Answers) -> Floats:
    return ((answers.prediction - truth) ** 2)[:, None]


def _absolute(truth: NDArray[Any], answers: Answers) -> Floats:
    return np.abs(answers.prediction - truth)[:, None]


def _signed(truth: NDArray[Any], answers: Answers) -> Floats:
    return (answers.prediction - truth)[:, None]


def _relative(truth: NDArray[Any], answers: Answers) -> Floats:
    return np.abs((answers.prediction - truth) / truth)[:, None]


def _logarithmic(truth: NDArray[Any], answers: Answers) -> Floats:
    return ((np.log1p(answers.prediction) - np.log1p(truth)) ** 2)[:, None]


def _has_zero(truth: NDArray[Any], answers: Answers) -> str | None:
    del answers
    return "the truth is 0 in some rows" if bool((truth == 0).any()) else None


def _is_negative(truth: NDArray[Any], answers: Answers) -> str | None:
    if bool((truth < 0).any()):
        return "the truth is below 0 in some rows"
    return "the model answers below 0 in some rows" if bool((answers.prediction < 0).any()) else None


def _variance_parts(truth: NDArray[Any], answers: Answers) -> Floats:
    centred = truth - float(np.mean(truth))
    return np.column_stack([(answers.prediction - truth) ** 2, centred, centred**2])


def _r2(means: Floats) -> Floats:
    squared_error, variance = means[..., 0], means[..., 2] - means[..., 1] ** 2
    # Where the truth is one value throughout, all of it is explained or nothing is, as scikit-learn has it.
    is_constant = variance <= 1e-12 * means[..., 2]
    share = squared_error / np.where(is_constant, 1.0, variance)
    return 1.0 - np.where(is_constant, squared_error > 0, share)


def _median_interval(on: HeldOut) -> stats.Interval:
    """The ends are the quantiles at the ends of an interval for the share of rows below the median.

    Source: Woodruff (1952), Journal of the American Statistical Association 47, 635-646.
    """
    errors = _absolute(on.truth, on.answers)[:, 0]
    median = float(np.median(errors))
    share = bootstrapped((errors <= median).astype(np.float64)[:, None], stats.first_mean, on.draws)
    half = (share.high - share.low) / 2
    low, high = -np.inf, np.inf
    if np.isfinite(half):
        low, high = (float(end) for end in np.quantile(errors, [max(0.0, 0.5 - half), min(1.0, 0.5 + half)]))
    return stats.Interval(low=low, high=high, estimate=median, level=0.95, n=on.draws.units, method="woodruff")


def _hits(truth: NDArray[Any], answers: Answers) -> Floats:
    return (truth == answers.prediction).astype(np.float64)[:, None]


def _log_losses(truth: NDArray[Any], answers: Answers) -> Floats:
    return -np.log(np.maximum(_prob_of_truth(truth, answers), SMALLEST_PROB))[:, None]


def _brier(truth: NDArray[Any], answers: Answers) -> Floats:
    assert answers.probabilities is not None
    # The sum over classes of (p - hit)^2 without a table of hits. A label that the model does not know has p = 0.
    squares = np.einsum("ij,ij->i", answers.probabilities, answers.probabilities)
    return (squares - 2 * _prob_of_truth(truth, answers) + 1)[:, None]


def _prob_of_truth(truth: NDArray[Any], answers: Answers) -> Floats:
    assert answers.probabilities is not None
    return answers.probabilities[np.arange(len(truth)), truth]


def _class_sums(truth: NDArray[Any], answers: Answers, unit: Ints, units: int) -> Floats:
    """Rows of each class that were answered rightly, that are of it, that were answered as it: (units, 3 * classes)."""
    k = len(answers.classes)

    def counted(codes: Ints, of: Ints) -> Floats:
        return np.bincount(of * k + codes, minlength=units * k).reshape(units, k).astype(np.float64)

    hit = truth == answers.prediction
    parts = [counted(truth[hit], unit[hit]), counted(truth, unit), counted(answers.prediction, unit)]
    return np.concatenate(parts, axis=1)


def _classes(means: Floats) -> tuple[Floats, Floats, Floats]:
    k = means.shape[-1] // 3
    return means[..., :k], means[..., k : 2 * k], means[..., 2 * k :]


def _f1_macro(means: Floats) -> Floats:
    both, true, predicted = _classes(means)
    return _mean_where(2 * both, true + predicted)


def _balanced_accuracy(means: Floats) -> Floats:
    both, true, _ = _classes(means)
    return _mean_where(both, true)


def _mcc(means: Floats) -> Floats:
    both, true, predicted = _classes(means)
    covariance = both.sum(axis=-1) - (true * predicted).sum(axis=-1)
    spread = (1 - (true**2).sum(axis=-1)) * (1 - (predicted**2).sum(axis=-1))
    return np.where(spread > 1e-15, covariance / np.sqrt(np.maximum(spread, 1e-15)), 0.0)


def _mean_where(above: Floats, below: Floats) -> Floats:
    """Mean over the last axis of above / below, where below is not 0."""
    occurs = below > 0
    return np.where(occurs, above / np.where(occurs, below, 1.0), 0.0).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)


def _binary_parts(truth: NDArray[Any], answers: Answers) -> Floats:
    true, predicted = truth == answers.positive, answers.prediction == answers.positive
    return np.column_stack([true & predicted, true, predicted]).astype(np.float64)


def _share(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)


def _f1(means: Floats) -> Floats:
    return _share(2 * means[..., 0], means[..., 1] + means[..., 2])


def _precision(means: Floats) -> Floats:
    return _share(means[..., 0], means[..., 2])


def _recall(means: Floats) -> Floats:
    return _share(means[..., 0], means[..., 1])


def _is_not_binary(truth: NDArray[Any], answers: Answers) -> str | None:
    del truth
    return None if answers.positive is not None else "there are not two classes, of which one is the positive one"


def _no_probabilities(truth: NDArray[Any], answers: Answers) -> str | None:
    del truth
    return None if answers.probabilities is not None else "the model gives no probabilities"


def _accuracy_interval(on: HeldOut) -> stats.Interval:
    hits = _hits(on.truth, on.answers)
    found = bootstrapped(hits, stats.first_mean, on.draws)
    if on.clusters is None and found.estimate in (0.0, 1.0):  # a bootstrap of equal rows knows no doubt
        exact = stats.clopper_pearson(int(hits.sum()), len(hits), alpha=0.05)
        return found if not np.isfinite(found.low) else exact
    return found


def _roc_auc_interval(on: HeldOut) -> stats.Interval:
    if on.answers.positive is None:
        return _within(bootstrapped(roc_auc_rows(on.truth, on.answers), stats.first_mean, on.draws), 0.0, 1.0)
    return auc(*positive_scores(on.truth, on.answers), clusters=on.clusters)


def _average_precision_interval(on: HeldOut) -> stats.Interval:
    return _within(bootstrapped(average_precision_rows(on.truth, on.answers), stats.first_mean, on.draws), 0.0, 1.0)


def _within(found: stats.Interval, low: float, high: float) -> stats.Interval:
    if not np.isfinite(found.low):
        return found
    return stats.Interval(
        low=max(low, found.low),
        high=min(high, found.high),
        estimate=found.estimate,
        level=found.level,
        n=found.n,
        method="bootstrap of the linearised metric",
    )


METRICS: tuple[Metric, ...] = (
    Metric(name="rmse", task="regression", higher_is_better=False, sums=_by_row(_squared), of_means=stats.root_mean),
    Metric(name="mae", task="regression", higher_is_better=False, sums=_by_row(_absolute)),
    Metric(name="r2", task="regression", higher_is_better=True, sums=_by_row(_variance_parts), of_means=_r2),
    Metric(name="bias", task="regression", higher_is_better=False, sums=_by_row(_signed)),
    Metric(name="median_absolute_error", task="regression", higher_is_better=False, interval=_median_interval),
    Metric(name="mape", task="regression", higher_is_better=False, sums=_by_row(_relative), why_not=_has_zero),
    Metric(
        name="rmsle",
        task="regression",
        higher_is_better=False,
        sums=_by_row(_logarithmic),
        of_means=stats.root_mean,
        why_not=_is_negative,
    ),
    Metric(
        name="accuracy",
        task="classification",
        higher_is_better=True,
        sums=_by_row(_hits),
        interval=_accuracy_interval,
    ),
    Metric(
        name="balanced_accuracy",
        task="classification",
        higher_is_better=True,
        sums=_class_sums,
        of_means=_balanced_accuracy,
    ),
    Metric(
        name="f1",
        task="classification",
        higher_is_better=True,
        sums=_by_row(_binary_parts),
        of_means=_f1,
        why_not=_is_not_binary,
    ),
    Metric(name="f1_macro", task="classification", higher_is_better=True, sums=_class_sums, of_means=_f1_macro),
    Metric(
        name="precision",
        task="classification",
        higher_is_better=True,
        sums=_by_row(_binary_parts),
        of_means=_precision,
        why_not=_is_not_binary,
    ),
    Metric(
        name="recall",
        task="classification",
        higher_is_better=True,
        sums=_by_row(_binary_parts),
        of_means=_recall,
        why_not=_is_not_binary,
    ),
    Metric(name="mcc", task="classification", higher_is_better=True, sums=_class_sums, of_means=_mcc),
    Metric(
        name="roc_auc",
        task="classification",
        higher_is_better=True,
        interval=_roc_auc_interval,
        why_not=why_no_ranking,
    ),
    Metric(
        name="average_precision",
        task="classification",
        higher_is_better=True,
        interval=_average_precision_interval,
        why_not=why_no_ranking,
    ),
    Metric(
        name="log_loss",
        task="classification",
        higher_is_better=False,
        sums=_by_row(_log_losses),
        why_not=_no_probabilities,
    ),
    Metric(
        name="brier",
        task="classification",
        higher_is_better=False,
        sums=_by_row(_brier),
        why_not=_no_probabilities,
    ),
)


def metrics_of(task: str, on: HeldOut) -> list[Metric]:
    """Every metric that these rows and answers have."""
    return [metric for metric in METRICS if metric.task == task and metric.why_not(on.truth, on.answers) is None]


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
    """The metric with its 95 % interval; `clusters` names each row's entity where rows share one.

    Raises:
        LoopError: These rows do not have the metric; says why.
    """
    return measure_on(metric, HeldOut(truth=truth, answers=answers, clusters=clusters))


def measure_on(metric: Metric, on: HeldOut) -> stats.Interval:
    """The metric on these rows with its 95 % interval; metrics of the same rows share their draws.

    Raises:
        LoopError: These rows do not have the metric; says why.
    """
    why = metric.why_not(on.truth, on.answers)
    if why is not None:
        others = ", ".join(other.name for other in metrics_of(metric.task, on))
        raise LoopError(f"{metric.name} cannot be computed: {why}", remedy=f"use one of {others}")
    if metric.interval is not None:
        return metric.interval(on)
    assert metric.sums is not None
    draws = on.draws
    drawn = draws.means_of_sums(
        metric.sums(on.truth, on.answers, draws.group, draws.groups), np.bincount(draws.group, minlength=draws.groups)
    )
    resampled = metric.of_means(drawn.resampled)
    return stats.percentile_interval(float(metric.of_means(drawn.means)), resampled, units=drawn.units, confidence=0.95)


def bootstrapped(rows: Floats, of_means: Callable[[Floats], Floats], draws: Draws) -> stats.Interval:
    """Interval of a function of the means of `rows`, shape (n, k), by these draws."""
    drawn = draws.means(rows)
    return stats.percentile_interval(
        float(of_means(drawn.means)), of_means(drawn.resampled), units=drawn.units, confidence=0.95
    )


def rows_of(metric: Metric, truth: NDArray[Any], answers: Answers) -> Floats | None:
    """Per-row values whose mean is the metric, shape (n,); None where it is not such a mean."""
    simple: dict[str, Callable[[NDArray[Any], Answers], Floats]] = {
        "mae": _absolute,
        "mape": _relative,
        "accuracy": _hits,
        "log_loss": _log_losses,
        "brier": _brier,
        "roc_auc": roc_auc_rows,
        "average_precision": average_precision_rows,
    }
    return simple[metric.name](truth, answers)[:, 0] if metric.name in simple else None


def loss_of(task: str, truth: NDArray[Any], answers: Answers) -> Floats:
    """One number per row that is lower when the answer was better: squared error, or 1 for a wrong label."""
    if task == "regression":
        return _squared(truth, answers)[:, 0]
    return 1.0 - _hits(truth, answers)[:, 0]
