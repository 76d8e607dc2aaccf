"""How far two sets of bin shares are apart.

What of that is noise and what is tolerated, says `tolerance`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Mask
from perennial.stats.counts import checked_counts, paired_counts
from perennial.stats.errors import OutOfRange

__all__ = ["hellinger", "js_distance", "l_infinity", "noise_floor", "psi", "smooth_shares"]


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
    smoothed = checked_counts(counts, "counts") + 0.5
    return smoothed / smoothed.sum()


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
    p, q = p[both], q[both]
    return float((q - p) @ np.log(q / p))


def l_infinity(reference: ArrayLike, current: ArrayLike) -> float:
    """Largest change of a single bin share: max_i |q_i - p_i|, in [0, 1].

    >>> round(l_infinity([0.5, 0.5], [0.6, 0.4]), 7)
    0.1
    """
    p, q = _shares(reference, current)
    return float(np.abs(q - p).max())


def js_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon distance in base 2: sqrt(JSD / ln 2), a metric in [0, 1].

    JSD = KL(p | m)/2 + KL(q | m)/2 with m = (p + q)/2. Close to 0, JSD is about PSI/8.

    Source: Endres & Schindelin (2003), IEEE Transactions on Information Theory 49, 1858-1860.

    >>> round(js_distance([0.5, 0.5], [0.6, 0.4]), 7)
    0.0854351
    """
    p, q = _shares(reference, current)
    middle = (p + q) / 2.0
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0
    return math.sqrt(max(0.0, divergence) / math.log(2.0))


def hellinger(reference: ArrayLike, current: ArrayLike) -> float:
    """Hellinger distance: sqrt(1 - sum_i sqrt(p_i q_i)), a metric in [0, 1].

    Computed as sqrt(sum_i (sqrt(p_i) - sqrt(q_i))^2 / 2), which keeps its digits for nearly equal shares.

    >>> round(hellinger([0.5, 0.5], [0.6, 0.4]), 7)
    0.0711607
    """
    p, q = _shares(reference, current)
    apart = np.sqrt(p) - np.sqrt(q)
    return math.sqrt(float(apart @ apart) / 2.0)


def noise_floor(n: int, m: int, bins: int) -> float:
    """Mean PSI of two windows with no shift at all: (B - 1)(1/n + 1/m).

    >>> round(noise_floor(10_000, 1_000, 10), 6)
    0.0099
    """
    return (bins - 1) * (1.0 / n + 1.0 / m)


def _shares(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    p, q = paired_counts(reference, current)
    for name, shares in (("reference", p), ("current", q)):
        total = float(shares.sum())
        if abs(total - 1.0) > 1e-6:
            raise OutOfRange(name, f"summing to {total:g}", "shares summing to 1", remedy="pass smooth_shares(counts)")
    return p, q


def _relative_entropy(p: Floats, q: Floats) -> float:
    used: Mask = p > 0.0
    return float(p[used] @ np.log(p[used] / q[used]))
