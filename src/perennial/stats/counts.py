"""Rows per bin, checked at the edge: one column, both sides of it, or many columns at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, vector
from perennial.stats.errors import BinMismatch, NothingToCount, OutOfRange

__all__ = ["all_counts", "checked_counts", "paired_counts"]


def checked_counts(values: ArrayLike, name: str) -> Floats:
    array = vector(values, name)
    if array.size == 0:
        raise NothingToCount(name)
    low, high = array.min(), array.max()
    if not (low >= 0.0 and high < math.inf):  # false for NaN as well
        raise OutOfRange(name, "negative or not finite", "rows per bin, 0 or more")
    return array


def paired_counts(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    r, c = checked_counts(reference, "reference_counts"), checked_counts(current, "current_counts")
    if len(r) != len(c):
        raise BinMismatch(len(r), len(c))
    return r, c


def all_counts(pairs: Sequence[tuple[ArrayLike, ArrayLike]]) -> list[tuple[Floats, Floats]]:
    """`paired_counts` of each; what is right of all counts together needs no look at each column."""
    sides = [(vector(r, "reference_counts"), vector(c, "current_counts")) for r, c in pairs]
    if sides and all(len(r) == len(c) > 0 for r, c in sides):
        together = np.concatenate([side for pair in sides for side in pair])
        if together.min() >= 0.0 and together.max() < math.inf:  # false for NaN as well
            return sides
    return [paired_counts(r, c) for r, c in sides]
