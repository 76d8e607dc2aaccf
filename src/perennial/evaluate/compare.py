"""A challenger against the champion on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.evaluate.answers import Answers
from perennial.evaluate.metrics import Metric, loss_of

__all__ = ["compare", "compared_by"]


def compare(
    metric: Metric,
    truth: NDArray[Any],
    champion: Answers,
    challenger: Answers,
    *,
    margin: float,
    clusters: NDArray[Any] | None = None,
) -> stats.Finding:
    """Paired verdict better | non-inferior | inferior | inconclusive; a positive effect favours the challenger.

    RMSE is compared on its own scale; every other metric by the mean of its per-row values, turned so that lower is
    better. Metrics that are not such a mean are compared by the task's plain loss (`compared_by` names it): r2 by the
    squared error over the variance of the truth, which is r2's own unit; f1_macro by wrong labels, bias by the squared
    error.
    """
    if metric.name == "rmse":
        return stats.paired_rmse(
            champion.prediction - truth, challenger.prediction - truth, margin=margin, clusters=clusters
        )
    if metric.name in {"r2", "f1_macro", "bias"}:
        unit = float(np.var(truth)) or 1.0 if metric.name == "r2" else 1.0
        a, b = (loss_of(metric.task, truth, answers) / unit for answers in (champion, challenger))
    else:
        sign = -1.0 if metric.higher_is_better else 1.0
        a, b = (sign * metric.rows(truth, answers)[:, 0] for answers in (champion, challenger))
    return stats.paired_losses(a, b, margin=margin, clusters=clusters)


def compared_by(metric: Metric) -> str:
    """In words, what `compare` compares for this metric."""
    return {"f1_macro": "the share of wrong labels", "bias": "the mean squared error"}.get(metric.name, metric.name)
