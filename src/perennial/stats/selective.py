"""Abstain where the model is not sure: the threshold of confidence above which a share of errors is kept."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import check_open_unit
from perennial.stats.errors import LengthMismatch, OutOfRange
from perennial.stats.means import clopper_pearson

__all__ = ["RiskThreshold", "risk_threshold"]

STEPS: Final = 100  # thresholds that are tried; more are nearer to the best one and cost time alone


class RiskThreshold(NamedTuple):
    """`threshold`: answer where the confidence is at least this; None where no threshold can be shown to do.

    `coverage`: share of the rows that are answered; `risk`: share of wrong ones among them; `upper`: its bound; `rows`:
    how many they are. Where there is no threshold these are of the surest rows that were tried.
    """

    threshold: float | None
    coverage: float
    risk: float
    upper: float
    rows: int


def risk_threshold(confidence: ArrayLike, wrong: ArrayLike, *, risk: float, alpha: float = 0.05) -> RiskThreshold:
    """The lowest threshold at which the share of wrong answers is at most `risk`, with probability 1 - `alpha`.

    Thresholds are tried from the surest rows on, each by an exact one-sided bound at `alpha`, until the first that
    fails; all that passed before hold together, with no correction (fixed-sequence testing). The first one tried leaves
    as many rows as a bound on no error at all needs: ln(alpha) / ln(1 - risk). Where that is depends on the confidences
    only, never on which answers are wrong.

    Args:
        confidence: Of each row in a fresh sample, shape (n,), for example the largest probability.
        wrong: Whether each answer is wrong, shape (n,).
        risk: The share of wrong answers that is allowed, in (0, 1).
        alpha: Probability that the threshold does not keep it.

    Raises:
        OutOfRange: A setting lies outside (0, 1), or a confidence is not finite.
        LengthMismatch: The arrays differ in length.

    Source: Geifman & El-Yaniv (2017), Selective Classification for Deep Neural Networks, NeurIPS 30; Clopper & Pearson
    (1934); for the testing, Angelopoulos, Bates, Candes, Jordan & Lei (2025), Annals of Applied Statistics 19.

    >>> sure = np.linspace(0.5, 1.0, 200)
    >>> found = risk_threshold(sure, sure < 0.6, risk=0.05)
    >>> round(found.threshold, 3), found.rows
    (0.595, 162)
    """
    check_open_unit("risk", risk)
    check_open_unit("alpha", alpha)
    sure = np.asarray(confidence, dtype=np.float64).ravel()
    errors = np.asarray(wrong, dtype=np.bool_).ravel()
    if len(sure) != len(errors):
        raise LengthMismatch("wrong", len(sure), len(errors))
    if not np.isfinite(sure).all():
        raise OutOfRange("confidence", float(sure[~np.isfinite(sure)][0]), "finite")
    n = len(sure)
    order = np.argsort(-sure, kind="stable")
    sorted_sure, counts = sure[order], np.cumsum(errors[order])
    first = math.ceil(math.log(alpha) / math.log1p(-risk))
    found = RiskThreshold(None, 0.0, 1.0, 1.0, 0)
    for rows in dict.fromkeys(np.linspace(first, n, STEPS).astype(int).tolist()) if first <= n else []:
        # Rows as sure as the last one belong to it: a threshold cannot tell them apart.
        rows_in = int(np.searchsorted(-sorted_sure, -sorted_sure[rows - 1], side="right"))
        wrong_in = int(counts[rows_in - 1])
        upper = clopper_pearson(wrong_in, rows_in, alpha=2 * alpha).high if alpha < 0.5 else 1.0
        tried = RiskThreshold(float(sorted_sure[rows_in - 1]), rows_in / n, wrong_in / rows_in, upper, rows_in)
        if upper > risk:
            return found if found.threshold is not None else tried._replace(threshold=None)
        found = tried
    return found
