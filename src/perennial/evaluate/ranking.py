"""Metrics of how a model ranks: ROC AUC and average precision, for two classes and, one against the rest, for more.

Neither is a function of row means. Two classes' AUC has DeLong's interval; the others are linearised: each row is given
a value whose mean is the metric itself and whose spread is that of the metric (the infinitesimal jackknife), so that
clusters and paired comparisons work as for a mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from perennial.evaluate.answers import Answers, Floats

__all__ = ["MAX_CLASSES", "average_precision_rows", "positive_scores", "roc_auc_rows", "why_no_ranking"]

MAX_CLASSES = 30  # one against the rest sorts all rows once per class


def why_no_ranking(truth: NDArray[np.int64], answers: Answers) -> str | None:
    """Why these answers have no ranking metric; None if they have."""
    if answers.probabilities is None:
        return "the model gives no probabilities"
    if len(answers.classes) > MAX_CLASSES:
        return f"there are {len(answers.classes)} classes, more than {MAX_CLASSES}"
    if len(truth) == 0 or bool((truth == truth[0]).all()):
        return "all rows are of one class"
    if answers.positive is not None and not bool((truth == answers.positive).any()):
        return f"no row is of class {answers.classes[answers.positive]!r}"
    return None


def positive_scores(truth: NDArray[np.int64], answers: Answers) -> tuple[NDArray[np.bool_], Floats]:
    """Which rows are of the positive class, and their probability of it."""
    assert answers.probabilities is not None
    assert answers.positive is not None
    return truth == answers.positive, answers.probabilities[:, answers.positive]


def roc_auc_rows(truth: NDArray[np.int64], answers: Answers) -> Floats:
    """Values whose mean is the AUC, shape (n, 1); of more than two classes the mean over those that occur."""
    return _over_classes(truth, answers, _auc)


def average_precision_rows(truth: NDArray[np.int64], answers: Answers) -> Floats:
    """Values whose mean is the average precision, shape (n, 1); of more than two classes the mean over those."""
    return _over_classes(truth, answers, _average_precision)


Rows = Callable[[NDArray[np.bool_], Floats], Floats]


def _over_classes(truth: NDArray[np.int64], answers: Answers, rows: Rows) -> Floats:
    if answers.positive is not None:
        return rows(*positive_scores(truth, answers))[:, None]
    assert answers.probabilities is not None
    present = np.unique(truth)
    total = np.zeros(len(truth))
    for code in present:
        total += rows(truth == code, np.ascontiguousarray(answers.probabilities[:, code]))
    return (total / len(present))[:, None]


def _auc(positive: NDArray[np.bool_], scores: Floats) -> Floats:
    """AUC + (n / n_class) (V - AUC), V the share of the other class that the row is ordered rightly with."""
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    of_positive = np.bincount(level, weights=positive, minlength=len(counts))
    of_negative = counts - of_positive
    n1, n0 = of_positive.sum(), of_negative.sum()
    negatives_below = (np.cumsum(of_negative) - of_negative / 2) / n0
    positives_above = (n1 - np.cumsum(of_positive) + of_positive / 2) / n1
    area = float(of_positive @ negatives_below) / n1
    n = len(scores)
    return np.where(
        positive, area + (n / n1) * (negatives_below[level] - area), area + (n / n0) * (positives_above[level] - area)
    )


def _average_precision(positive: NDArray[np.bool_], scores: Floats) -> Floats:
    """AP = mean over positive rows of P(s) = T(s) / N(s), the precision among rows that score at least as high.

    Its derivative by the weight of row j, times n, is added to it: (n / n1) (y_j (P_j - AP) + sum over positive rows i
    with s_i <= s_j of (y_j - P_i) / N_i).
    """
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    of_positive = np.bincount(level, weights=positive, minlength=len(counts))
    at_least = np.cumsum(counts[::-1])[::-1].astype(np.float64)
    true_at_least = np.cumsum(of_positive[::-1])[::-1]
    precision = true_at_least / at_least
    n1 = of_positive.sum()
    value = float(of_positive @ precision) / n1
    weight = np.cumsum(of_positive / at_least)  # over levels up to and including that of the row
    lost = np.cumsum(of_positive * precision / at_least)
    own = positive * (precision[level] - value)
    return value + (len(scores) / n1) * (own + positive * weight[level] - lost[level])
