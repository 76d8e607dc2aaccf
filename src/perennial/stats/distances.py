"""How far two samples of one number are apart: Kolmogorov-Smirnov and Wasserstein-1, from values or from bin counts.

From values both are exact. From counts over the same bins, which add up over shards and days, KS is exact at the bounds
of the bins and so never larger than from values, and Wasserstein spreads a bin's rows evenly over it. `ks_test` joins
the distance with a tolerance; for Wasserstein, whose noise depends on the shape of the column, see
`chunk_thresholds.block_bootstrap_threshold`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, vector
from perennial.stats.bins import NumericBins
from perennial.stats.errors import BinMismatch, NothingToCount, OutOfRange
from perennial.stats.results import Finding, Json
from perennial.stats.tails import kolmogorov_tail

__all__ = [
    "ks_critical",
    "ks_distance",
    "ks_distance_from_bins",
    "ks_test",
    "ks_test_from_bins",
    "wasserstein",
    "wasserstein_from_bins",
]

TOLERANCE_KS: Final = 0.05  # share of the rows that may lie on the other side of some value
ALPHA: Final = 0.05
MIN_ROWS: Final = 30  # per side; below this the limit law says too little


def ks_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """Largest distance of two empirical distribution functions, in [0, 1]; missing values (NaN) are left out.

    D = max_x |F(x) - G(x)|, exact, ties included. O((n + m) log(n + m)).

    Args:
        reference: shape (n,).
        current: shape (m,).

    Raises:
        NothingToCount: A side holds no value.

    >>> ks_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    r, c = np.sort(_present(reference, "reference")), np.sort(_present(current, "current"))
    points: Floats = np.concatenate([r, c])
    below_r = np.searchsorted(r, points, side="right") / len(r)
    below_c = np.searchsorted(c, points, side="right") / len(c)
    return float(np.max(np.abs(below_r - below_c)))


def ks_distance_from_bins(reference_counts: ArrayLike, current_counts: ArrayLike) -> float:
    """Largest distance of two distribution functions at the bounds of their common bins.

    Never above `ks_distance` of the values that were counted: a bin hides what happens inside it.

    Args:
        reference_counts: Rows per bin in the order of the values, shape (B,). Leave out the bin of missing values: it
            has no place in the order.
        current_counts: Same bins.

    Raises:
        BinMismatch: The two differ in length.
        NothingToCount: A side holds no row.
        OutOfRange: A count is negative or not a number.

    >>> ks_distance_from_bins([2, 2, 0], [0, 2, 2])
    0.5
    """
    r, c = _counts(reference_counts, current_counts)
    return float(np.max(np.abs(np.cumsum(r) / r.sum() - np.cumsum(c) / c.sum())))


def ks_critical(alpha: float) -> float:
    """c(alpha): D exceeds c sqrt(1/n + 1/m) with probability alpha if there is no difference, for large samples.

    sqrt(-ln(alpha/2)/2), the first term of the limit law.

    >>> round(ks_critical(0.05), 3), round(ks_critical(0.01), 3)
    (1.358, 1.628)
    """
    check_open_unit("alpha", alpha)
    return math.sqrt(-math.log(alpha / 2.0) / 2.0)


def ks_test(
    reference: ArrayLike,
    current: ArrayLike,
    tolerance: float = TOLERANCE_KS,
    *,
    alpha: float = ALPHA,
    min_rows: int = MIN_ROWS,
) -> Finding:
    """Test whether the true KS distance of two samples is above a tolerance.

    Shifted if D - c(alpha) sqrt(1/n + 1/m) > tolerance. As |D - true D| is at most the largest distance of the two
    empirical functions from their true ones, a true distance within the tolerance is called shifted in at most about
    `alpha` of the windows, whatever their size.

    Args:
        reference: Values, shape (n,); NaN is missing and left out.
        current: Values, shape (m,).
        tolerance: Largest true distance that is still acceptable, in [0, 1).
        alpha: Probability of the decision "shifted" within the tolerance, at most.
        min_rows: Values each side must hold.

    Returns:
        Decision "shifted", "within tolerance" or "undecided" (too few rows; then there is no p-value). The statistic is
        D, the effect D less its noise margin (a lower bound on the true distance at level 1 - alpha), the threshold the
        tolerance, the p-value 2 exp(-2 (D - tolerance)^2 / (1/n + 1/m)). `details` holds the margin and the p-value
        against no difference at all.

    Raises:
        OutOfRange: A setting is out of range.

    Source: limit law of Smirnov (1939); Massey (1951), JASA 46, 68-78.

    >>> ks_test(range(1000), range(300, 1300)).decision
    'shifted'
    """
    r, c = vector(reference, "reference"), vector(current, "current")
    r, c = r[~np.isnan(r)], c[~np.isnan(c)]
    distance = ks_distance(r, c) if min(len(r), len(c)) else None
    return _judge("ks tolerance test", distance, len(r), len(c), tolerance, alpha, min_rows)


def ks_test_from_bins(
    reference_counts: ArrayLike,
    current_counts: ArrayLike,
    tolerance: float = TOLERANCE_KS,
    *,
    alpha: float = ALPHA,
    min_rows: int = MIN_ROWS,
) -> Finding:
    """`ks_test` from counts over common bins, as `ks_distance_from_bins` takes them. Never rejects where values do not.

    >>> ks_test_from_bins([500, 500], [400, 600]).decision
    'within tolerance'
    """
    r, c = _counts(reference_counts, current_counts, may_be_empty=True)
    n, m = round(float(r.sum())), round(float(c.sum()))
    distance = ks_distance_from_bins(r, c) if min(n, m) else None
    return _judge("ks tolerance test on bins", distance, n, m, tolerance, alpha, min_rows)


def wasserstein(reference: ArrayLike, current: ArrayLike, *, scale: float | None = None) -> float:
    """How far values must move, on average, to turn one sample into the other; in standard deviations of the reference.

    W1 = integral of |F(x) - G(x)| dx, divided by `scale`. Unlike KS it grows with how far values moved.

    Args:
        reference: Finite values, shape (n,); NaN is missing and left out.
        current: Finite values, shape (m,).
        scale: What to divide by, in the unit of the values; None for the standard deviation of the reference. 1 gives
            the distance in the unit of the values.

    Returns:
        At least 0; inf if the reference is constant and the current sample is not the same constant.

    Raises:
        NothingToCount: A side holds no value.
        OutOfRange: A value is infinite, or the scale is not positive.

    Source: Vallender (1974), Theory of Probability and its Applications 18, 784-786, for the integral.

    >>> round(wasserstein([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], scale=1.0), 6)
    1.0
    """
    r, c = np.sort(_present(reference, "reference")), np.sort(_present(current, "current"))
    for name, ends in (("reference", r), ("current", c)):
        if not (math.isfinite(ends[0]) and math.isfinite(ends[-1])):
            raise OutOfRange(name, "infinite", "finite", remedy="clip at the range of the reference")
    points: Floats = np.sort(np.concatenate([r, c]))
    below_r = np.searchsorted(r, points[:-1], side="right") / len(r)
    below_c = np.searchsorted(c, points[:-1], side="right") / len(c)
    moved = float(np.sum(np.abs(below_r - below_c) * np.diff(points)))
    return _scaled(moved, float(np.std(r)) if scale is None else scale, "scale", is_given=scale is not None)


def wasserstein_from_bins(
    bins: NumericBins,
    reference_counts: ArrayLike,
    current_counts: ArrayLike,
    *,
    scale: float,
    reference_beyond: tuple[float, float] = (0.0, 0.0),
    current_beyond: tuple[float, float] = (0.0, 0.0),
) -> float:
    """Wasserstein-1 of two windows counted with the same bins, in units of `scale`.

    Rows of a bin count as lying in its middle where more or fewer of them are there than before. The outer bins of
    deciles are wide and nearly empty at their far ends, which adds up to 0.1 standard deviations to a shift of 0.3;
    finer bins are closer. Rows outside the range of the bins count as lying at its edge unless their distance beyond it
    is given, which makes their part exact where only one window reaches there.

    Args:
        bins: The common bins.
        reference_counts: As `bins.count` gives them, missing last (it is left out), shape (bins.n_bins,).
        current_counts: Same bins.
        scale: What to divide by, above 0: the standard deviation of the reference.
        reference_beyond: Sums over the reference rows of how far they lie below the bins and above them: sum of
            max(0, low - x) and of max(0, x - high). Sums, so they add up over shards.
        current_beyond: The same for the current rows.

    Raises:
        BinMismatch: The counts do not fit the bins.
        NothingToCount: A side holds no value, or the bins hold no range.
        OutOfRange: A count or a setting is out of range.

    >>> values = np.arange(1000.0)
    >>> bins = NumericBins.from_reference(values)
    >>> beyond = float(np.maximum(values + 100.0 - 999.0, 0.0).sum())
    >>> before, after = bins.count(values), bins.count(values + 100.0)
    >>> round(wasserstein_from_bins(bins, before, after, scale=1.0, current_beyond=(0.0, beyond)), 1)
    100.0
    """
    r, c = _counts(reference_counts, current_counts, may_be_empty=True)
    if len(r) != bins.n_bins:
        raise BinMismatch(bins.n_bins, len(r))
    if bins.low is None:
        raise NothingToCount("bins")
    r, c = r[:-1], c[:-1]
    if not (r.sum() > 0.0 and c.sum() > 0.0):
        raise NothingToCount("counts")
    edges: Floats = np.array([bins.low, *bins.uppers])
    below_r, below_c = np.cumsum(r)[:-1] / r.sum(), np.cumsum(c)[:-1] / c.sum()
    gap = np.abs(below_r - below_c)
    moved = float(((gap[:-1] + gap[1:]) / 2.0) @ np.diff(edges))
    for of_reference, of_current in zip(reference_beyond, current_beyond, strict=True):
        if not (0.0 <= of_reference < math.inf and 0.0 <= of_current < math.inf):
            raise OutOfRange("beyond", (of_reference, of_current), "at least 0 and finite")
        moved += abs(of_current / float(c.sum()) - of_reference / float(r.sum()))
    return _scaled(moved, scale, "scale", is_given=True)


def _scaled(moved: float, scale: float, name: str, *, is_given: bool) -> float:
    if is_given and not 0.0 < scale < math.inf:
        raise OutOfRange(name, scale, "above 0 and finite")
    if scale == 0.0:
        return math.inf if moved > 0.0 else 0.0
    return moved / scale


def _judge(
    method: str, distance: float | None, n: int, m: int, tolerance: float, alpha: float, min_rows: int
) -> Finding:
    if not 0.0 <= tolerance < 1.0:
        raise OutOfRange("tolerance", tolerance, "at least 0 and below 1")
    critical = ks_critical(alpha)
    params: dict[str, Json] = {"tolerance": float(tolerance), "alpha": alpha, "min_rows": min_rows}
    if distance is None or min(n, m) < min_rows:
        return Finding(
            method=method,
            decision="undecided",
            reasons=(f"too few rows: {n} and {m}, at least {min_rows} needed on each side",),
            statistic=distance,
            threshold=float(tolerance),
            n=n,
            m=m,
            params=params,
        )
    root = math.sqrt(1.0 / n + 1.0 / m)
    margin = critical * root
    excess = distance - tolerance
    p_value = min(1.0, 2.0 * math.exp(-2.0 * (excess / root) ** 2)) if excess > 0.0 else 1.0
    is_shifted = distance - margin > tolerance
    return Finding(
        method=method,
        decision="shifted" if is_shifted else "within tolerance",
        reasons=(
            (
                f"KS distance {distance:.4g} less its noise margin {margin:.4g} is "
                f"{'above' if is_shifted else 'not above'} the tolerance {tolerance:g} (alpha {alpha:g})"
            ),
        ),
        statistic=distance,
        effect=max(0.0, distance - margin),
        threshold=float(tolerance),
        p_value=p_value,
        n=n,
        m=m,
        params=params,
        details={"ks": distance, "margin": margin, "p_no_difference": kolmogorov_tail(distance / root)},
    )


def _present(values: ArrayLike, name: str) -> Floats:
    array = vector(values, name)
    kept: Floats = array[~np.isnan(array)]
    if len(kept) == 0:
        raise NothingToCount(name)
    return kept


def _counts(reference: ArrayLike, current: ArrayLike, *, may_be_empty: bool = False) -> tuple[Floats, Floats]:
    r, c = vector(reference, "reference_counts"), vector(current, "current_counts")
    if len(r) != len(c):
        raise BinMismatch(len(r), len(c))
    for name, counts in (("reference_counts", r), ("current_counts", c)):
        if not bool(np.all((counts >= 0.0) & np.isfinite(counts))):
            raise OutOfRange(name, "negative or not finite", "rows per bin, 0 or more")
        if not may_be_empty and not counts.sum() > 0.0:
            raise NothingToCount(name)
    return r, c
