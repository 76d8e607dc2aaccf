"""Area under the ROC curve with its interval, and two models compared by it on the same rows.

AUC is the probability that a random positive row scores above a random negative one (ties count half). It is no
function of row means, so the bootstrap of `intervals` and `paired` does not apply; DeLong's variance does, in the time
of a sort.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Counts, Floats, Ints, Mask, check_open_unit, finite_vector, same_length
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.means import clopper_pearson
from perennial.stats.paired import MEANING, paired_verdict
from perennial.stats.results import Finding, Interval, Json
from perennial.stats.tails import normal_quantile, normal_tail

__all__ = ["auc", "paired_auc"]

MIN_PER_CLASS: Final = 10  # below this many units of either class the normal interval is too narrow to be shown


def auc(
    truth: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> Interval:
    """Area under the ROC curve, with DeLong's interval.

    With ranks among all rows and among the rows of one class: V10 = (rank_all - rank_pos) / n0 for each positive row,
    V01 = 1 - (rank_all - rank_neg) / n1 for each negative one; the AUC is the mean of either, its variance
    var(V10) / n1 + var(V01) / n0. Where the variance is 0 (the classes are separated), the lower end is the exact bound
    from min(n0, n1) disjoint pairs, all of them ordered rightly.

    Args:
        truth: True (or 1) for positive rows, shape (n,).
        scores: Higher means more probably positive, shape (n,). Only the order counts.
        confidence: Coverage of the two-sided interval.
        clusters: Identifier per row (entity, day), where rows of one entity resemble each other.

    Returns:
        Interval cut to [0, 1]; unbounded below 10 positive or 10 negative rows (clusters).

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A score is not finite, or truth is neither 0 nor 1.
        NothingToCount: There is no positive row, or no negative one.

    Source: DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44, 837-845; by ranks as Sun & Xu (2014), IEEE Signal
    Processing Letters 21, 1389-1393; clusters as Obuchowski (1997), Biometrics 53, 567-578.

    >>> found = auc([1, 1, 1, 0, 0] * 10, [0.9, 0.8, 0.3, 0.4, 0.1] * 10)
    >>> round(found.estimate, 4), round(found.low, 4), round(found.high, 4)
    (0.8333, 0.7194, 0.9472)
    """
    check_open_unit("confidence", confidence)
    positive = _truth(truth)
    values = finite_vector(scores, "scores")
    same_length("scores", values, len(positive))
    units = _units(clusters, positive)
    part = _parts(positive, values)
    variance = float(_covariance([part], units)[0, 0])
    estimate = part.area
    half = normal_quantile(0.5 + confidence / 2.0) * math.sqrt(variance)
    low, high = max(0.0, estimate - half), min(1.0, estimate + half)
    if variance == 0.0:
        exact = clopper_pearson(round(estimate * units.pairs), units.pairs, alpha=1.0 - confidence)
        low, high = min(exact.low, estimate), max(exact.high, estimate)
    if units.pairs < MIN_PER_CLASS:
        low, high = -math.inf, math.inf
    return Interval(low=low, high=high, estimate=estimate, level=confidence, n=len(positive), method="delong")


def paired_auc(
    truth: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    *,
    margin: float,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Finding:
    """Compare two AUCs on the same rows.

    Args:
        truth: True (or 1) for positive rows, shape (n,).
        champion: Scores of the champion, higher means more probably positive.
        challenger: Scores of the challenger for the same rows in the same order.
        margin: Largest loss of AUC that is still acceptable, >= 0.
        confidence: Coverage of the two-sided interval.
        clusters: As in `auc`.

    Returns:
        Decision "better", "non-inferior", "inferior" or "inconclusive"; the effect is AUC(challenger) - AUC(champion),
        the statistic its Z value, `p_value` two-sided against no difference (None where the variance is 0).

    Raises:
        LengthMismatch, OutOfRange, NothingToCount: As `auc`.

    Source: As `auc`.

    >>> truth, good, poor = [1, 1, 0, 0] * 20, [4, 2, 3, 1] * 20, [1, 2, 3, 4] * 20
    >>> paired_auc(truth, poor, good, margin=0.01).decision
    'better'
    """
    check_open_unit("confidence", confidence)
    positive = _truth(truth)
    a, b = finite_vector(champion, "champion"), finite_vector(challenger, "challenger")
    same_length("champion", a, len(positive))
    same_length("challenger", b, len(positive))
    units = _units(clusters, positive)
    parts = [_parts(positive, a), _parts(positive, b)]
    covariance = _covariance(parts, units)
    effect = parts[1].area - parts[0].area
    # Equal orders have a variance of 0 up to the last bit, which must not become a Z value.
    variance = float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1])
    if variance <= 1e-14 * float(covariance[0, 0] + covariance[1, 1]):
        variance = 0.0
    half = normal_quantile(0.5 + confidence / 2.0) * math.sqrt(variance)
    if variance == 0.0 and not np.array_equal(_midranks(a), _midranks(b)):
        # Two different orders that agree on every pair seen: how often they can still disagree on others.
        half = 1.0 - (1.0 - confidence) ** (1.0 / units.pairs)
    low, high = effect - half, effect + half
    if units.pairs < MIN_PER_CLASS:
        low, high = -math.inf, math.inf
    decision = paired_verdict(low, high, margin)
    reasons = [MEANING[decision]]
    if units.pairs < MIN_PER_CLASS:
        reasons = [f"too few rows of one class: {units.pairs}, at least {MIN_PER_CLASS} needed"]
    elif decision == "non-inferior" and high < 0.0:
        reasons.append("worse than the champion, by less than the margin")
    z = effect / math.sqrt(variance) if variance else None
    details: dict[str, Json] = {
        "champion_auc": parts[0].area,
        "challenger_auc": parts[1].area,
        "positives": int(positive.sum()),
        "units": units.total,
    }
    return Finding(
        method="paired AUC by DeLong",
        decision=decision,
        reasons=tuple(reasons),
        statistic=z,
        effect=effect,
        threshold=-margin,
        p_value=None if z is None else normal_tail(abs(z)),
        interval=Interval(
            low=low, high=high, estimate=effect, level=confidence, n=len(positive), method="delong, paired"
        ),
        n=len(positive),
        params={"margin": margin, "confidence": confidence, "clustered": clusters is not None},
        details=details,
    )


class _Parts(NamedTuple):
    """Structural components of one AUC: `of_positive` averages to it over positive rows, `of_negative` over others."""

    of_positive: Floats
    of_negative: Floats
    area: float


class _Units(NamedTuple):
    """Which rows belong together. `pairs`: disjoint pairs of a positive and a negative unit."""

    of_positive: Ints | None
    of_negative: Ints | None
    total: int
    pairs: int


def _parts(positive: Mask, scores: Floats) -> _Parts:
    ranks = _midranks(scores)
    over_negatives = ranks[positive] - _midranks(scores[positive])
    over_positives = ranks[~positive] - _midranks(scores[~positive])
    of_positive: Floats = over_negatives / len(over_positives)
    of_negative: Floats = 1.0 - over_positives / len(over_negatives)
    return _Parts(of_positive, of_negative, float(of_positive.mean()))


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: Counts = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def _covariance(parts: list[_Parts], units: _Units) -> Floats:
    """Of the AUCs, shape (k, k)."""
    tens = np.array([part.of_positive - part.area for part in parts])
    ones = np.array([part.of_negative - part.area for part in parts])
    n1, n0 = tens.shape[1], ones.shape[1]
    if units.of_positive is None or units.of_negative is None:
        return _spread(tens, n1) / n1**2 + _spread(ones, n0) / n0**2
    tens = _summed(tens, units.of_positive, units.total)
    ones = _summed(ones, units.of_negative, units.total)
    with_positive = len(np.unique(units.of_positive))
    with_negative = len(np.unique(units.of_negative))
    both = tens @ ones.T * (units.total / max(units.total - 1, 1)) / (n1 * n0)
    return _spread(tens, with_positive) / n1**2 + _spread(ones, with_negative) / n0**2 + both + both.T


def _summed(rows: Floats, unit: Ints, total: int) -> Floats:
    return np.array([np.bincount(unit, row, total) for row in rows], dtype=np.float64)


def _spread(centred: Floats, count: int) -> Floats:
    return centred @ centred.T * (count / max(count - 1, 1))


def _units(clusters: ArrayLike | None, positive: Mask) -> _Units:
    n1 = int(positive.sum())
    if clusters is None:
        return _Units(None, None, len(positive), min(n1, len(positive) - n1))
    ids: NDArray[np.generic] = np.asarray(clusters)
    same_length("clusters", ids, len(positive))
    names, inverse = np.unique(ids, return_inverse=True)
    inverse = inverse.astype(np.int64)
    ours, theirs = inverse[positive], inverse[~positive]
    return _Units(ours, theirs, len(names), min(len(np.unique(ours)), len(np.unique(theirs))))


def _truth(truth: ArrayLike) -> Mask:
    values = finite_vector(truth, "truth")
    positive: Mask = values == 1.0
    if not bool(np.all(positive | (values == 0.0))):
        raise OutOfRange("truth", "neither 0 nor 1", "1 for the positive class, 0 for others")
    for name, count in (("positive rows of truth", positive.sum()), ("negative rows of truth", (~positive).sum())):
        if count == 0:
            raise NothingToCount(name)
    return positive
