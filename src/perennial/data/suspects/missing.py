"""Missing values that are written in more than one way, and columns in which hardly any is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from perennial.data.relations.texts import Texts
from perennial.data.suspects.findings import Finding, of_values

__all__ = ["missing_values"]

OTHER_WAY = 0.9
RARE, RARE_SCORE = 0.01, 0.55  # a value is missing in this share of rows, or less, of a column
MIN_ROWS = 100


def missing_values(columns: Sequence[Texts]) -> Iterator[Finding]:
    """A table writes a missing value in one way; what stands for one in another way is told."""
    norm = _norm(columns)
    for index, column in enumerate(columns):
        is_norm = (column.values == norm).to_numpy()
        codes = np.flatnonzero(column.is_missing & ~is_norm)
        if len(codes):
            names = [
                f"{column.values[int(code)]!r} stands for a missing value, which is {norm!r} here" for code in codes
            ]
            yield of_values(index, column, codes, OTHER_WAY, names, [norm] * len(codes))
        blank = np.flatnonzero(column.is_missing & is_norm)
        rows = len(column.codes)
        if rows >= MIN_ROWS and 0 < column.counts[blank].sum() <= RARE * rows:
            yield of_values(index, column, blank, RARE_SCORE, "a value is missing, as hardly any other in this column")


def _norm(columns: Sequence[Texts]) -> str:
    """The way in which most columns write it that have more than a few missing values."""
    ways: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for column in columns:
        for code in np.flatnonzero(column.is_missing).tolist():
            rows[column.values[code]] += int(column.counts[code])
            ways[column.values[code]] += bool(column.counts[code] > RARE * len(column.codes))
    return max(rows, key=lambda way: (ways[way], rows[way], not way, way), default="")
