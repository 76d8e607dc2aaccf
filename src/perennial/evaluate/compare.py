"""A challenger against the champion on the same rows."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from perennial import stats
from perennial.evaluate.answers import Answers
from perennial.evaluate.metrics import Metric, loss_of

__all__ = ["compare"]


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
    better. Metrics that are not such a mean (r2, f1_macro, bias) are compared by the task's plain loss.
    """
    if metric.name == "rmse":
        return stats.paired_rmse(
            champion.prediction - truth, challenger.prediction - truth, margin=margin, clusters=clusters
        )
    if metric.name in {"r2", "f1_macro", "bias"}:
        a, b = (loss_of(metric.task, truth, answers) for answers in (champion, challenger))
    else:
        sign = -1.0 if metric.higher_is_better else 1.0
        a, b = (sign * metric.rows(truth, answers)[:, 0] for answers in (champion, challenger))
    return stats.paired_losses(a, b, margin=margin, clusters=clusters)
