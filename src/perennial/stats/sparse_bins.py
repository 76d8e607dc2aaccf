"""Bins that are too thin for a chi-squared approximation, and how they are pooled."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Counts, Floats, Mask
from perennial.stats.counts import paired_counts

__all__ = ["MIN_EXPECTED", "is_thin_bin", "merge_sparse", "merged_bins", "thin_bins"]

MIN_EXPECTED: Final = 5.0  # rows per bin below which the chi-squared approximation is not used
_CLEARLY_NEW: Final = 20  # rows in a bin where fewer than 5 were expected: Poisson(5) reaches this once in 1e7


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
    r, c, pooled = merged_bins(*paired_counts(reference_counts, current_counts), min_expected)
    return r.astype(np.int64), c.astype(np.int64), pooled


def merged_bins(r: Floats, c: Floats, min_expected: float) -> tuple[Floats, Floats, int]:
    used: Mask = (r + c) > 0
    r, c = r[used], c[used]
    thin = thin_bins(r, c, min_expected)
    if not thin.any():
        return r, c, 0
    n, m = float(r.sum()), float(c.sum())
    while True:
        pool_r, pool_c = float(r[thin].sum()), float(c[thin].sum())
        if thin.all() or not is_thin_bin(pool_r, pool_c, n, m, min_expected):
            kept = ~thin
            return np.concatenate((r[kept], (pool_r,))), np.concatenate((c[kept], (pool_c,))), int(thin.sum())
        smallest = int(np.argmin(np.where(thin, np.inf, r + c)))
        thin[smallest] = True


def thin_bins(r: Floats, c: Floats, min_expected: float) -> Mask:
    n, m = float(r.sum()), float(c.sum())
    if n == 0.0 or m == 0.0:
        return np.ones(len(r), dtype=np.bool_)
    pooled = (r + c) / (n + m)
    thin: Mask = min(n, m) * pooled < min_expected
    if not thin.any():  # the rule; what follows is for the exceptions
        return thin
    new: Mask = (c >= _CLEARLY_NEW) & (m * (r + 0.5) / n < min_expected)
    gone: Mask = (r >= _CLEARLY_NEW) & (n * (c + 0.5) / m < min_expected)
    return thin & ~new & ~gone


def is_thin_bin(r: float, c: float, n: float, m: float, min_expected: float) -> bool:
    """`thin_bins` of one bin with r of n and c of m rows."""
    if n == 0.0 or m == 0.0:
        return True
    if min(n, m) * ((r + c) / (n + m)) >= min_expected:
        return False
    is_new = c >= _CLEARLY_NEW and m * (r + 0.5) / n < min_expected
    is_gone = r >= _CLEARLY_NEW and n * (c + 0.5) / m < min_expected
    return not (is_new or is_gone)
