"""Can a classifier tell two windows apart? One test for all columns together.

A classifier is trained to say from which window a row comes; its scores on rows it was not trained on are ranked here.
An AUC of 0.5 means that the windows look alike, 1 that they never do. Training it is the caller's part.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import check_open_unit, finite_vector
from perennial.stats.delong import auc
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Finding, Json
from perennial.stats.tails import log_normal_tail, normal_quantile

__all__ = ["auc_null_sd", "classifier_test"]

TOLERANCE_AUC: Final = 0.55
ALPHA: Final = 0.01
MIN_ROWS: Final = 50  # per side; a classifier that learned from fewer has learned little


def auc_null_sd(n: int, m: int) -> float:
    """Standard deviation of the AUC of n rows against m where there is nothing to tell: sqrt((n + m + 1)/(12 n m)).

    Source: Mann & Whitney (1947), Annals of Mathematical Statistics 18, 50-60.

    >>> round(auc_null_sd(1000, 1000), 4)
    0.0129
    """
    if min(n, m) < 1:
        raise OutOfRange("n", min(n, m), "at least 1")
    return math.sqrt((n + m + 1) / (12.0 * n * m))


def classifier_test(
    reference_scores: ArrayLike,
    current_scores: ArrayLike,
    *,
    tolerance_auc: float = TOLERANCE_AUC,
    alpha: float = ALPHA,
    min_rows: int = MIN_ROWS,
) -> Finding:
    """Test whether rows of two windows can be told apart better than is tolerated.

    Shifted if AUC - z_{1-alpha} sd > tolerance, with `auc_null_sd`, which is the largest deviation an AUC near 0.5 has.
    Rows whose classifier saw them in training flatter it: pass out-of-fold scores only.

    Args:
        reference_scores: P(current | x) of each reference row, shape (n,); only the order counts.
        current_scores: The same of each current row, shape (m,).
        tolerance_auc: Largest true AUC that is still acceptable, in [0.5, 1).
        alpha: Probability of the decision "shifted" at the tolerance.
        min_rows: Rows each side must hold.

    Returns:
        Decision "shifted", "within tolerance" or "undecided" (too few rows; then there is no p-value). The statistic is
        the AUC, the effect its excess over 0.5, the threshold the tolerance; the p-value is for a true AUC at the
        tolerance, `details["p_no_difference"]` for one of 0.5. The interval is DeLong's, for the AUC.

    Raises:
        OutOfRange: A score is not finite, or a setting is out of range.

    Source: Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, ICLR.

    >>> classifier_test(np.linspace(0.2, 0.6, 500), np.linspace(0.4, 0.8, 500)).decision
    'shifted'
    """
    check_open_unit("alpha", alpha)
    if not 0.5 <= tolerance_auc < 1.0:
        raise OutOfRange("tolerance_auc", tolerance_auc, "at least 0.5 and below 1")
    r, c = finite_vector(reference_scores, "reference_scores"), finite_vector(current_scores, "current_scores")
    n, m = len(r), len(c)
    params: dict[str, Json] = {"tolerance_auc": tolerance_auc, "alpha": alpha, "min_rows": min_rows}
    if min(n, m) < max(1, min_rows):
        return Finding(
            method="classifier two-sample test",
            decision="undecided",
            reasons=(f"too few rows: {n} and {m}, at least {min_rows} needed on each side",),
            threshold=tolerance_auc,
            n=n,
            m=m,
            params=params,
        )
    interval = auc(np.concatenate([np.zeros(n), np.ones(m)]), np.concatenate([r, c]), confidence=1.0 - alpha)
    value, sd = interval.estimate, auc_null_sd(n, m)
    is_shifted = value - normal_quantile(1.0 - alpha) * sd > tolerance_auc
    p_value, p_none = (math.exp(log_normal_tail((value - bound) / sd)) for bound in (tolerance_auc, 0.5))
    return Finding(
        method="classifier two-sample test",
        decision="shifted" if is_shifted else "within tolerance",
        reasons=(
            (
                f"the windows are told apart with AUC {value:.4g}; {'more' if is_shifted else 'not more'} than the "
                f"tolerated {tolerance_auc:g} and its noise (standard deviation {sd:.3g}, alpha {alpha:g})"
            ),
        ),
        statistic=value,
        effect=value - 0.5,
        threshold=tolerance_auc,
        p_value=p_value,
        interval=interval,
        n=n,
        m=m,
        params=params,
        details={"auc": value, "null_sd": sd, "p_no_difference": p_none},
    )
