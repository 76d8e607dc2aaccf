"""Split conformal prediction: from scores of rows that a model has not seen to intervals and sets that hold a level.

Scores are kept sorted, at most ten thousand, so that any level can be looked up at any time: what follows the labels
moves the level, not the scores. Only numpy is needed, since the prediction service looks up here.

Sources: Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World; Romano, Patterson & Candes (2019),
Conformalized Quantile Regression, NeurIPS 32; Sadinle, Lei & Wasserman (2019), JASA 114, 223-234 (lac); Romano, Sesia &
Candes (2020), NeurIPS 33 (aps).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MAX_SCORES",
    "absolute_scores",
    "aps_scores",
    "kept",
    "lac_scores",
    "p_values",
    "quantile",
    "quantile_scores",
    "rank",
    "score_limit",
]

Floats = NDArray[np.float64]

MAX_SCORES = 10_000
ROUNDING = 1e-9  # (n + 1)(1 - alpha) is a whole number of ranks more often than floating point says


def rank(n: int, alpha: float) -> int:
    """Which of n scores, counted from the smallest, holds 1 - alpha of new ones: ceil((n + 1)(1 - alpha)).

    Above n there is none: so few scores promise nothing at this level.

    >>> rank(99, 0.1)
    90
    """
    return math.ceil((n + 1) * (1.0 - alpha) - ROUNDING)


def quantile(scores: NDArray[np.floating[Any]], alpha: float) -> float:
    """The score that at most a share `alpha` of new rows exceed; infinite where so few scores promise nothing.

    Args:
        scores: Sorted, shape (n,).
        alpha: May lie outside [0, 1], as it does where it follows labels: at 0 and below nothing may be missed.
    """
    at = rank(len(scores), alpha)
    if at > len(scores) or alpha <= 0.0:
        return math.inf
    return float(scores[at - 1]) if at >= 1 else -math.inf


def kept(scores: ArrayLike) -> Floats:
    """At most ten thousand of the scores, sorted; of more, evenly spaced ones in rank, rounded up: never narrower."""
    every = np.sort(np.asarray(scores, dtype=np.float64))
    if len(every) <= MAX_SCORES:
        return every
    at = np.ceil(np.arange(1, MAX_SCORES + 1) * ((len(every) + 1) / (MAX_SCORES + 1))).astype(np.int64)
    return every[np.minimum(at, len(every)) - 1]


def absolute_scores(truth: ArrayLike, answers: ArrayLike) -> Floats:
    """How far each answer was off, shape (n,): intervals of one width."""
    return np.abs(np.asarray(truth, dtype=np.float64) - np.asarray(answers, dtype=np.float64))


def quantile_scores(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """How far each truth lies outside [low, high], negative inside (conformalized quantile regression)."""
    y = np.asarray(truth, dtype=np.float64)
    return np.maximum(np.asarray(low, dtype=np.float64) - y, y - np.asarray(high, dtype=np.float64))


def lac_scores(probabilities: ArrayLike) -> Floats:
    """Score of each class of each row, shape (n, k): one minus its probability."""
    return 1.0 - np.asarray(probabilities, dtype=np.float64)


def aps_scores(probabilities: ArrayLike) -> Floats:
    """Score of each class of each row, shape (n, k): what is at least as probable, together with it."""
    table = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-table, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(table, order, axis=1), axis=1)
    scores = np.empty_like(table)
    np.put_along_axis(scores, order, sums, axis=1)
    return scores


def p_values(calibration: Floats, scores: ArrayLike) -> Floats:
    """Conformal p-value of each score: (1 + how many of the calibration are as large) / (n + 1).

    Args:
        calibration: Sorted, shape (n,), from rows that the score was not fitted to.
        scores: Of new rows, shape (m,).

    Source: Bates, Candes, Lei, Romano & Sesia (2023), Annals of Statistics 51, 149-178.

    >>> p_values(np.arange(1.0, 100.0), [100.0, 99.0, 1.0]).tolist()
    [0.01, 0.02, 1.0]
    """
    n = len(calibration)
    return (1 + n - np.searchsorted(calibration, np.asarray(scores, dtype=np.float64), side="left")) / (n + 1)


def score_limit(calibration: Sequence[float] | Floats, p: float) -> float:
    """The score above which the p-value is at most `p`; with too few rows for such a p-value, above all of them.

    >>> score_limit(np.arange(1.0, 1000.0), 0.001)
    999.0
    """
    n = len(calibration)
    as_large = max(math.floor(p * (n + 1) + ROUNDING) - 1, 0)
    return float(calibration[n - 1 - min(as_large, n - 1)])
