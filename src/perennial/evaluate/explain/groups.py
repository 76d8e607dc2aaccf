"""Features that say nearly the same thing, so that permuting one alone would say that neither matters.

Two numbers by their rank correlation, two categories by Cramér's V (corrected for chance), a category and a number by
the correlation ratio of the number's ranks (corrected likewise). Features are grouped where a chain of such pairs
connects them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["STRONG", "association", "groups"]

STRONG = 0.8  # METHODS 13 leaves the bound open; beyond it two features share two thirds of their variance
MAX_CATEGORIES = 255  # a text with more values is no category

Floats = NDArray[np.float64]


def groups(frame: pl.DataFrame, *, strong: float = STRONG) -> list[list[str]]:
    """All columns, those that are strongly associated together; in the order of the frame."""
    columns = [_Column(series) for series in frame.get_columns()]
    parent = list(range(len(columns)))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for first in range(len(columns)):
        for second in range(first + 1, len(columns)):
            if root(first) != root(second) and _between(columns[first], columns[second]) > strong:
                parent[root(second)] = root(first)
    found: dict[int, list[str]] = {}
    for at, name in enumerate(frame.columns):
        found.setdefault(root(at), []).append(name)
    return list(found.values())


def association(first: pl.Series, second: pl.Series) -> float:
    """How closely two columns go together, from 0 to 1; 0 where a kind of column has no measure.

    >>> round(association(pl.Series([1, 2, 3, 4]), pl.Series([9.0, 7.0, 1.0, 0.0])), 4)
    1.0
    """
    return _between(_Column(first), _Column(second))


class _Column:
    """Ranks of a number (missing ones at the mean), or codes of a category (missing is one of its own)."""

    def __init__(self, series: pl.Series) -> None:
        self.ranks: Floats | None = None
        self.codes: NDArray[np.int64] | None = None
        self.levels = 0
        dtype = series.dtype
        if dtype.is_numeric() or dtype.is_temporal():
            ranks = series.to_physical().fill_nan(None) if dtype.is_float() else series.to_physical()
            ranked = ranks.rank("average").cast(pl.Float64)
            self.ranks = ranked.fill_null(ranked.mean() if ranked.null_count() < len(ranked) else 0.0).to_numpy()
        elif isinstance(dtype, pl.String | pl.Boolean | pl.Enum):
            texts: Any = series.cast(pl.String).fill_null("\0missing")
            levels = texts.unique().sort()
            if len(levels) <= MAX_CATEGORIES:
                self.codes = texts.cast(pl.Enum(levels)).to_physical().cast(pl.Int64).to_numpy()
                self.levels = len(levels)


def _between(first: _Column, second: _Column) -> float:
    if first.ranks is not None and second.ranks is not None:
        return _correlation(first.ranks, second.ranks)
    if first.codes is not None and second.codes is not None:
        return _cramer(first, second)
    numbers, category = (first, second) if first.ranks is not None else (second, first)
    if numbers.ranks is None or category.codes is None:
        return 0.0
    return _ratio(numbers.ranks, category.codes, category.levels)


def _correlation(first: Floats, second: Floats) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return abs(float(a @ b)) / size if size > 0.0 else 0.0


def _cramer(first: _Column, second: _Column) -> float:
    assert first.codes is not None
    assert second.codes is not None
    n, rows, columns = len(first.codes), first.levels, second.levels
    if min(rows, columns) < 2:
        return 0.0
    counts = np.bincount(first.codes * columns + second.codes, minlength=rows * columns).reshape(rows, columns)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    chi2 = float(((counts - expected) ** 2 / np.maximum(expected, 1e-300)).sum())
    # Bergsma (2013): without this, two categories of many levels look associated in few rows.
    phi2 = max(0.0, chi2 / n - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1.0
    return min(1.0, float(np.sqrt(phi2 / smaller))) if smaller > 0.0 else 0.0


def _ratio(ranks: Floats, codes: NDArray[np.int64], levels: int) -> float:
    n = len(ranks)
    centred = ranks - ranks.mean()
    total = float(centred @ centred)
    if total == 0.0 or n <= levels:
        return 0.0
    counts = np.bincount(codes, minlength=levels)
    sums = np.bincount(codes, weights=centred, minlength=levels)
    within = total - float((sums**2 / np.maximum(counts, 1)).sum())
    return float(np.sqrt(max(0.0, 1.0 - within / (n - levels) / (total / (n - 1)))))
