"""Have the features that drive a model's answers changed? Attributions of two windows, compared.

A secondary monitor: attributions move when inputs move, whether or not the model got worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats
from perennial.stats.errors import LengthMismatch, NothingToCount, OutOfRange
from perennial.stats.results import Json, plain

__all__ = ["AttributionDrift", "attribution_drift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionDrift:
    """How far the features' shares of the attributions moved.

    Attributes:
        l1: Sum of |current share - reference share|, from 0 to 2.
        ndcg: 1 where the current ranking of the features is the reference's, less where features that mattered fell.
        reference: Share of each feature in the reference window.
        current: Share of each feature in the current window.
    """

    l1: float
    ndcg: float
    reference: tuple[float, ...]
    current: tuple[float, ...]

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "l1": self.l1,
            "ndcg": self.ndcg,
            "reference": plain(self.reference),
            "current": plain(self.current),
        }


def attribution_drift(reference: ArrayLike, current: ArrayLike) -> AttributionDrift:
    """Compare mean |attribution| by feature between two windows.

    A feature's share is its mean |attribution| over the sum of all. NDCG = sum_i r(i) / log2(1 + i) over the features
    in the order of their current shares, divided by the same sum in the reference's own order; r is the reference
    share.

    Args:
        reference: Attributions, shape (n, d), one column per feature.
        current: The same features in the same order, shape (m, d).

    Raises:
        LengthMismatch: The windows differ in their number of features.
        OutOfRange: An attribution is not finite, or the array has no two dimensions.
        NothingToCount: A window has no row, or nothing but zeros.

    Source: NDCG as Järvelin & Kekäläinen (2002), ACM Transactions on Information Systems 20, 422-446.

    >>> drift = attribution_drift([[3.0, -1.0], [-3.0, 1.0]], [[1.0, 3.0]])
    >>> round(drift.l1, 4), round(drift.ndcg, 4)
    (1.0, 0.7967)
    """
    before, after = _shares(reference, "reference"), _shares(current, "current")
    if len(before) != len(after):
        raise LengthMismatch("features of current", len(before), len(after))
    discount: Floats = 1.0 / np.log2(np.arange(2, len(before) + 2))
    # Features whose current shares are equal come in the reference's order: a tie is no change of rank.
    order = np.lexsort((-before, -after))
    gained, ideal = float(before[order] @ discount), float(np.sort(before)[::-1] @ discount)
    return AttributionDrift(
        l1=float(np.abs(after - before).sum()),
        ndcg=gained / ideal,
        reference=tuple(before.tolist()),
        current=tuple(after.tolist()),
    )


def _shares(attributions: ArrayLike, name: str) -> Floats:
    table: Floats = np.asarray(attributions, dtype=np.float64)
    if table.ndim != 2:
        raise OutOfRange(name, f"of shape {table.shape}", "of shape (n, d)")
    if not bool(np.isfinite(table).all()):
        raise OutOfRange(name, "not finite", "finite")
    total = float(np.abs(table).sum())
    if total == 0.0:
        raise NothingToCount(name)
    return np.abs(table).sum(axis=0) / total
