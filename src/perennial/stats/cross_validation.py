"""Two models compared over the folds of a cross-validation, whose overlapping training sets are not new evidence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import check_open_unit, finite_vector
from perennial.stats.errors import OutOfRange
from perennial.stats.paired import MEANING, paired_verdict
from perennial.stats.results import Finding, Interval
from perennial.stats.tails import student_above, student_quantile

__all__ = ["corrected_resampled_t"]


def corrected_resampled_t(
    differences: ArrayLike, *, test_rows: int, train_rows: int, margin: float = 0.0, confidence: float = 0.95
) -> Finding:
    """Corrected resampled t-test on one difference per fold.

    t = mean / sqrt((1/J + n_test/n_train) s^2) with J - 1 degrees of freedom, s^2 the variance of the J differences.
    The folds share training rows, so their differences agree more than independent ones would: the usual 1/J alone
    finds differences where there are none.

    Args:
        differences: Improvement in each fold, shape (J,), J >= 2, positive where the challenger is better.
        test_rows: Rows in the test part of a fold.
        train_rows: Rows in its training part.
        margin: Largest deterioration that is still acceptable, >= 0, in the unit of the differences.
        confidence: Coverage of the two-sided interval.

    Returns:
        Decision "better", "non-inferior", "inferior" or "inconclusive"; the effect is the mean difference, `p_value`
        one-sided: the probability of a t at least this large if the challenger were not better.

    Raises:
        OutOfRange: Fewer than 2 folds, a difference that is not finite, or a setting out of range.

    Source: Nadeau & Bengio (2003), Machine Learning 52, 239-281; Bouckaert & Frank (2004), PAKDD, 3-12.

    >>> found = corrected_resampled_t([0.02, 0.01, 0.03, 0.0, 0.02], test_rows=20, train_rows=80)
    >>> round(found.statistic, 4), round(found.p_value, 4)
    (2.0919, 0.0523)
    """
    values = finite_vector(differences, "differences")
    check_open_unit("confidence", confidence)
    if len(values) < 2:
        raise OutOfRange("differences", f"{len(values)} folds", "at least 2 folds")
    for name, rows in (("test_rows", test_rows), ("train_rows", train_rows)):
        if rows < 1:
            raise OutOfRange(name, rows, "at least 1")
    folds, mean = len(values), float(values.mean())
    error = math.sqrt((1.0 / folds + test_rows / train_rows) * float(np.var(values, ddof=1)))
    half = student_quantile(0.5 + confidence / 2.0, folds - 1) * error
    t = mean / error if error else None
    p_value = student_above(t, folds - 1) if t is not None else None
    decision = paired_verdict(mean - half, mean + half, margin)
    return Finding(
        method="corrected resampled t-test",
        decision=decision,
        reasons=(MEANING[decision],),
        statistic=t,
        effect=mean,
        threshold=-margin,
        p_value=p_value,
        interval=Interval(
            low=mean - half, high=mean + half, estimate=mean, level=confidence, n=folds, method="corrected resampled t"
        ),
        n=folds,
        params={"test_rows": test_rows, "train_rows": train_rows, "margin": margin, "confidence": confidence},
        details={"standard_error": error, "uncorrected_standard_error": float(np.std(values, ddof=1)) / folds**0.5},
    )
