"""How far two sets of bin counts are apart, and whether that is more than tolerated and more than noise.

A fixed threshold on a raw distance alarms on noise in small windows; a plain p-value alarms on nothing in large ones.
`tolerance_test` asks the useful question instead: is the true PSI above the tolerance? Nothing here knows columns,
windows or alarms.
"""

from __future__ import annotations

import math
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Counts, Floats, Mask, check_open_unit, vector
from perennial.stats.errors import BinMismatch, NothingToCount, OutOfRange
from perennial.stats.results import Finding, Json
from perennial.stats.tails import noncentral_chi2_sf

__all__ = [
    "hellinger",
    "js_distance",
    "l_infinity",
    "merge_sparse",
    "noise_floor",
    "psi",
    "smooth_shares",
    "tolerance_test",
]

TOLERANCE_PSI: Final = 0.05  # nats; two equal bins moving to 61 % and 39 %
ALPHA: Final = 0.05
MIN_EXPECTED: Final = 5.0  # rows per bin below which the chi-squared approximation is not used
MIN_ROWS: Final = 100  # per side; below this the smoothing itself moves PSI by as much as the noise does
_CLEARLY_NEW: Final = 20  # rows in a bin where fewer than 5 were expected: Poisson(5) reaches this once in 1e7


def smooth_shares(counts: ArrayLike) -> Floats:
    """Bin shares that are never 0: (c_i + 0.5) / (N + 0.5 B).

    Args:
        counts: Rows per bin, shape (B,), non-negative.

    Returns:
        Shares, shape (B,), positive, summing to 1.

    Raises:
        OutOfRange: A count is negative or not a number.
        NothingToCount: There is no bin.

    >>> smooth_shares([0, 4]).tolist()
    [0.1, 0.9]
    """
    return _smoothed(_counts(counts, "counts"))


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Population stability index: how far two sets of bin shares are apart.

    PSI = sum_i (q_i - p_i) ln(q_i / p_i). Symmetric, in nats, 0 for equal shares. Refining the bins never lowers it, so
    compare values only for the same bins. inf if a bin is empty on one side only; use `smooth_shares`.

    Args:
        reference: Shares p, shape (B,), summing to 1.
        current: Shares q, same bins.

    Raises:
        BinMismatch: The two differ in length.
        OutOfRange: Shares are negative or do not sum to 1.

    Source: Jeffreys divergence; Kullback & Leibler (1951), Annals of Mathematical Statistics 22, 79-86.

    >>> round(psi([0.5, 0.5], [0.6, 0.4]), 7)
    0.0405465
    """
    p, q = _shares(reference, current)
    both: Mask = (p > 0.0) & (q > 0.0)
    if bool(np.any((p > 0.0) != (q > 0.0))):
        return math.inf
    return _psi(p[both], q[both])


def l_infinity(reference: ArrayLike, current: ArrayLike) -> float:
    """Largest change of a single bin share: max_i |q_i - p_i|, in [0, 1].

    >>> round(l_infinity([0.5, 0.5], [0.6, 0.4]), 7)
    0.1
    """
    return _l_infinity(*_shares(reference, current))


def js_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon distance in base 2: sqrt(JSD / ln 2), a metric in [0, 1].

    JSD = KL(p | m)/2 + KL(q | m)/2 with m = (p + q)/2. Close to 0, JSD is about PSI/8.

    Source: Endres & Schindelin (2003), IEEE Transactions on Information Theory 49, 1858-1860.

    >>> round(js_distance([0.5, 0.5], [0.6, 0.4]), 7)
    0.0854351
    """
    return _js_distance(*_shares(reference, current))


def hellinger(reference: ArrayLike, current: ArrayLike) -> float:
    """Hellinger distance: sqrt(1 - sum_i sqrt(p_i q_i)), a metric in [0, 1].

    Computed as sqrt(sum_i (sqrt(p_i) - sqrt(q_i))^2 / 2), which keeps its digits for nearly equal shares.

    >>> round(hellinger([0.5, 0.5], [0.6, 0.4]), 7)
    0.0711607
    """
    return _hellinger(*_shares(reference, current))


def noise_floor(n: int, m: int, bins: int) -> float:
    """Mean PSI of two windows with no shift at all: (B - 1)(1/n + 1/m).

    >>> round(noise_floor(10_000, 1_000, 10), 6)
    0.0099
    """
    return (bins - 1) * (1.0 / n + 1.0 / m)


def merge_sparse(
    reference_counts: ArrayLike, current_counts: ArrayLike, *, min_expected: float = MIN_EXPECTED
) -> tuple[Counts, Counts, int]:
    """Pool the bins that are too thin for a chi-squared approximation into one.

    A bin is thin if, with the shares of both windows pooled, fewer than `min_expected` rows are expected on either
    side. A bin that is thin only because it is new (at least 20 rows where fewer than `min_expected` were to be
    expected) is kept: it is a finding, not noise. Bins empty on both sides are dropped. If the pool is still thin, the
    smallest other bin joins it.

    Args:
        reference_counts: shape (B,).
        current_counts: shape (B,), same bins.

    Returns:
        Reference counts, current counts (both with the pool last) and how many bins went into the pool.

    Raises:
        BinMismatch: The two differ in length.

    >>> merge_sparse([50, 47, 2, 1], [52, 46, 1, 1])
    (array([50, 50]), array([52, 48]), 3)
    """
    r, c, pooled = _merged(*_paired_counts(reference_counts, current_counts), min_expected)
    return r.astype(np.int64), c.astype(np.int64), pooled


def _merged(r: Floats, c: Floats, min_expected: float) -> tuple[Floats, Floats, int]:
    used: Mask = (r + c) > 0
    r, c = r[used], c[used]
    thin = _thin(r, c, min_expected)
    if not thin.any():
        return r, c, 0
    while True:
        pool_r, pool_c = float(r[thin].sum()), float(c[thin].sum())
        kept_r, kept_c = np.append(r[~thin], pool_r), np.append(c[~thin], pool_c)
        if thin.all() or not _thin(kept_r, kept_c, min_expected)[-1]:
            return kept_r, kept_c, int(thin.sum())
        smallest = int(np.argmin(np.where(thin, np.inf, r + c)))
        thin[smallest] = True


def tolerance_test(
    reference_counts: ArrayLike,
    current_counts: ArrayLike,
    tolerance: float = TOLERANCE_PSI,
    *,
    alpha: float = ALPHA,
    min_expected: float = MIN_EXPECTED,
    min_rows: int = MIN_ROWS,
    merge: bool = True,
) -> Finding:
    """Test whether the true PSI between two windows is above a tolerance.

    With s = 1/n + 1/m, PSI/s of two samples follows a noncentral chi-squared law with B - 1 degrees of freedom and
    noncentrality (true PSI)/s. The p-value is its upper tail at noncentrality tolerance/s: small only if the observed
    PSI is too large for any true PSI within the tolerance. At the tolerance itself it rejects in about `alpha` of the
    windows, whatever their size; without shift it hardly ever does.

    Args:
        reference_counts: Rows per bin of the reference, shape (B,).
        current_counts: Rows per bin of the current window, same bins.
        tolerance: Largest true PSI that is still acceptable, >= 0, in nats. 0 tests for any difference at all.
        alpha: Probability of the decision "shifted" at the tolerance.
        min_expected: Rows each bin must be expected to hold on both sides.
        min_rows: Rows each side must hold for the law above to fit; how long a window should be is the caller's choice.
        merge: Pool bins that hold too few rows (`merge_sparse`); otherwise such bins make the test undecided.

    Returns:
        Decision "shifted", "within tolerance" or "undecided" (too few rows; then there is no p-value). The statistic is
        the PSI, the effect its excess over the noise floor, the threshold the tolerance. `details` holds the noise
        floor, the other distances, and how many bins were used and pooled.

    Raises:
        BinMismatch: The two differ in length.
        OutOfRange: A count or a setting is out of range.

    Source: noncentral chi-squared law of PSI as in Potgieter, van Zyl, Schutte & Lombard, arXiv 2307.11878.

    >>> tolerance_test([1000] * 10, [1300, 700] + [1000] * 8).decision
    'within tolerance'
    >>> tolerance_test([10] * 10, [1] * 10).decision
    'undecided'
    """
    check_open_unit("alpha", alpha)
    if not 0.0 <= tolerance < math.inf:
        raise OutOfRange("tolerance", tolerance, "at least 0 and finite")
    r, c = _paired_counts(reference_counts, current_counts)
    n, m = round(float(r.sum())), round(float(c.sum()))
    params: dict[str, Json] = {
        "tolerance": float(tolerance),
        "alpha": alpha,
        "min_expected": min_expected,
        "min_rows": min_rows,
        "merge": merge,
    }
    if n == 0 or m == 0:
        return _undecided(f"a window is empty ({n} reference rows, {m} current rows)", n, m, params, {})

    pooled = 0
    if merge:
        r, c, pooled = _merged(r, c, min_expected)
    else:
        used: Mask = (r + c) > 0
        r, c = r[used], c[used]
    bins = len(r)
    p, q = _smoothed(r), _smoothed(c)
    value = _psi(p, q)
    floor = noise_floor(n, m, bins)
    details: dict[str, Json] = {
        "psi": value,
        "noise_floor": floor,
        "excess": value - floor,
        "l_infinity": _l_infinity(p, q),
        "js_distance": _js_distance(p, q),
        "hellinger": _hellinger(p, q),
        "bins": bins,
        "bins_pooled": pooled,
    }
    if min(n, m) < min_rows:
        return _undecided(f"too few rows: {n} and {m}, at least {min_rows} needed on each side", n, m, params, details)
    if bool(_thin(r, c, min_expected).any()):
        reason = f"too few rows: some bin expects fewer than {min_expected:g} rows; merge bins or take a longer window"
        return _undecided(reason, n, m, params, details)

    if bins < 2:
        p_value = 1.0
        reason = "all rows fall into one bin in both windows"
    else:
        scale = 1.0 / n + 1.0 / m
        p_value = noncentral_chi2_sf(value / scale, df=bins - 1, nc=tolerance / scale)
        relation = "too large" if p_value <= alpha else "not too large"
        likely = f"p {p_value:.3g}" if p_value >= 1e-4 else "p < 0.0001"
        reason = f"PSI {value:.4g} is {relation} for a true PSI of {tolerance:g} ({likely}, alpha {alpha:g})"
    return Finding(
        method="psi tolerance test",
        decision="shifted" if p_value <= alpha else "within tolerance",
        reasons=(reason, f"noise floor {floor:.4g}, excess {value - floor:.4g}"),
        statistic=value,
        effect=value - floor,
        threshold=float(tolerance),
        p_value=p_value,
        n=n,
        m=m,
        params=params,
        details=details,
    )


def _undecided(reason: str, n: int, m: int, params: dict[str, Json], details: dict[str, Json]) -> Finding:
    return Finding(
        method="psi tolerance test",
        decision="undecided",
        reasons=(reason,),
        statistic=cast(float | None, details.get("psi")),
        effect=cast(float | None, details.get("excess")),
        threshold=cast(float, params["tolerance"]),
        n=n,
        m=m,
        params=params,
        details=details,
    )


def _thin(r: Floats, c: Floats, min_expected: float) -> Mask:
    n, m = r.sum(), c.sum()
    if n == 0.0 or m == 0.0:
        return np.ones(len(r), dtype=np.bool_)
    pooled = (r + c) / (n + m)
    thin: Mask = np.minimum(n, m) * pooled < min_expected
    new: Mask = (c >= _CLEARLY_NEW) & (m * (r + 0.5) / n < min_expected)
    gone: Mask = (r >= _CLEARLY_NEW) & (n * (c + 0.5) / m < min_expected)
    return thin & ~new & ~gone


def _counts(values: ArrayLike, name: str) -> Floats:
    array = vector(values, name)
    if array.size == 0:
        raise NothingToCount(name)
    if not (float(array.min()) >= 0.0 and math.isfinite(float(array.max()))):  # false for NaN as well
        raise OutOfRange(name, "negative or not finite", "rows per bin, 0 or more")
    return array


def _paired_counts(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    r, c = _counts(reference, "reference_counts"), _counts(current, "current_counts")
    if len(r) != len(c):
        raise BinMismatch(len(r), len(c))
    return r, c


def _shares(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    p, q = _paired_counts(reference, current)
    for name, shares in (("reference", p), ("current", q)):
        total = float(shares.sum())
        if abs(total - 1.0) > 1e-6:
            raise OutOfRange(name, f"summing to {total:g}", "shares summing to 1", remedy="pass smooth_shares(counts)")
    return p, q


# The formulas themselves, on arrays that were checked: a test needs all of them for every column of every window.


def _smoothed(counts: Floats) -> Floats:
    smoothed = counts + 0.5
    return smoothed / smoothed.sum()


def _psi(p: Floats, q: Floats) -> float:
    return float((q - p) @ np.log(q / p))


def _l_infinity(p: Floats, q: Floats) -> float:
    return float(np.abs(q - p).max())


def _js_distance(p: Floats, q: Floats) -> float:
    middle = (p + q) / 2.0
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0
    return math.sqrt(max(0.0, divergence) / math.log(2.0))


def _hellinger(p: Floats, q: Floats) -> float:
    apart = np.sqrt(p) - np.sqrt(q)
    return math.sqrt(float(apart @ apart) / 2.0)


def _relative_entropy(p: Floats, q: Floats) -> float:
    used: Mask = p > 0.0
    return float(p[used] @ np.log(p[used] / q[used]))
