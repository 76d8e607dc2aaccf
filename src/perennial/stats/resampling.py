"""Bootstrap means of per-row values, resampling whole clusters where rows belong together.

Metrics that are functions of row means (RMSE, accuracy, log loss, F1, their differences) need nothing but these means,
and means need nothing but how often each unit was drawn: one matrix product instead of thousands of passes over the
rows.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Counts, Floats, Ints, same_length
from perennial.stats.errors import NothingToCount, OutOfRange

__all__ = ["Resampled", "resample_means"]

RESAMPLES: Final = 2000
MAX_UNITS: Final = 4096  # more units are first joined at random; adds 1.1 % to the error of the standard deviation
_CHUNK: Final = 256  # resamples per matrix product; bounds memory at 256 * 4096 * 8 bytes = 8 MiB


class Resampled(NamedTuple):
    """Means of the rows as they are, shape (k,), and of each resample, shape (resamples, k)."""

    means: Floats
    resampled: Floats
    units: int
    """Number of independent units: clusters, or rows where no clusters are given."""


def resample_means(
    rows: Floats, *, clusters: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Means of the columns of `rows` under the bootstrap.

    Draws as many units as there are, with replacement: a multinomial weight per unit. The mean of a resample is the
    weighted sum of its rows over the weighted number of its rows, so clusters of unequal size are treated as they
    should. Above 4096 units, units are joined into 4096 groups at random; the spread of the means is the same, the work
    is bounded.

    Args:
        rows: Finite values, shape (n, k).
        clusters: Identifier per row (entity, day), shape (n,), of any sortable kind; rows of one cluster are drawn
            together.
        resamples: Number of resamples.
        seed: Equal seeds give equal results.

    Raises:
        LengthMismatch: `clusters` differs in length from `rows`.
        NothingToCount: There is no row.
        OutOfRange: `resamples` is below 1.
    """
    n, columns = rows.shape
    if n == 0:
        raise NothingToCount("rows")
    if resamples < 1:
        raise OutOfRange("resamples", resamples, "at least 1")
    rng = np.random.default_rng(seed)
    if clusters is None:
        unit: Ints = np.arange(n, dtype=np.int64)
        units = n
    else:
        ids: NDArray[np.generic] = np.asarray(clusters)
        same_length("clusters", ids, n)
        names, inverse = np.unique(ids, return_inverse=True)
        unit, units = inverse.astype(np.int64), len(names)
    groups = min(units, MAX_UNITS)
    if groups < units:
        unit = (rng.permutation(units) % groups)[unit]

    # Last column: rows per group.
    sums = np.empty((groups, columns + 1))
    for column in range(columns):
        sums[:, column] = np.bincount(unit, weights=rows[:, column], minlength=groups)
    sums[:, columns] = np.bincount(unit, minlength=groups)

    totals = np.empty((resamples, columns + 1))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        totals[start : start + size] = _draw(rng, size, groups) @ sums
    whole: Floats = sums.sum(axis=0)
    return Resampled(whole[:-1] / whole[-1], totals[:, :-1] / totals[:, -1:], units)


def _draw(rng: np.random.Generator, size: int, groups: int) -> Floats:
    # Multinomial weights by counting uniform draws: the same law as rng.multinomial, at half the time.
    picks = rng.integers(0, groups, size=(size, groups))
    picks += np.arange(size)[:, np.newaxis] * groups
    counts: Counts = np.bincount(picks.ravel(), minlength=size * groups)
    return counts.reshape(size, groups).astype(np.float64)
