"""Bootstrap means of per-row values, resampling whole clusters where rows belong together.

Metrics that are functions of row means (RMSE, accuracy, log loss, F1, their differences) need nothing but these means,
and means need nothing but how often each unit was drawn: one matrix product instead of thousands of passes over the
rows. Several metrics of the same rows share one `Draws`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Counts, Floats, Ints, same_length
from perennial.stats.errors import NothingToCount, OutOfRange

__all__ = ["Draws", "Resampled", "resample_means"]

RESAMPLES: Final = 2000
MAX_UNITS: Final = 4096  # more units are first joined at random; adds 1.1 % to the error of the standard deviation
_CHUNK: Final = 256  # resamples per matrix product; bounds memory at 256 * 4096 * 8 bytes = 8 MiB


class Resampled(NamedTuple):
    """Means of the rows as they are, shape (k,), and of each resample, shape (resamples, k)."""

    means: Floats
    resampled: Floats
    units: int
    """Number of independent units: clusters, or rows where no clusters are given."""


class Draws:
    """How often each unit of `n` rows is drawn in each resample: made once, used for every metric of these rows.

    Draws as many units as there are, with replacement: a multinomial weight per unit. Above 4096 units, units are
    joined into 4096 groups at random; the spread of the means is the same, the work is bounded.

    Attributes:
        units: Number of independent units: clusters, or rows where no clusters are given.
        unit: Unit of each row, 0..units-1, shape (n,).
        groups: Number of groups that units were joined into; equals `units` up to 4096.
        group: Group of each row, 0..groups-1, shape (n,).
        weights: Times each group is drawn, shape (resamples, groups); at most 2000 * 4096 * 8 bytes = 64 MiB.

    Args:
        n: Number of rows.
        clusters: Identifier per row (entity, day), shape (n,), of any sortable kind; rows of one cluster are drawn
            together.
        resamples: Number of resamples.
        seed: Equal seeds give equal results.

    Raises:
        LengthMismatch: `clusters` differs in length from `n`.
        NothingToCount: There is no row.
        OutOfRange: `resamples` is below 1.
    """

    def __init__(self, n: int, *, clusters: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0) -> None:
        if n == 0:
            raise NothingToCount("rows")
        if resamples < 1:
            raise OutOfRange("resamples", resamples, "at least 1")
        self._rng = np.random.default_rng(seed)
        self._resamples = resamples
        if clusters is None:
            unit: Ints = np.arange(n, dtype=np.int64)
            self.units = n
        else:
            ids: NDArray[np.generic] = np.asarray(clusters)
            same_length("clusters", ids, n)
            names, inverse = np.unique(ids, return_inverse=True)
            unit, self.units = inverse.astype(np.int64), len(names)
        self.unit = unit
        self.groups = min(self.units, MAX_UNITS)
        self.group = unit
        if self.groups < self.units:
            self.group = (self._rng.permutation(self.units) % self.groups)[unit]

    @cached_property
    def weights(self) -> Floats:
        drawn = np.empty((self._resamples, self.groups))
        for start in range(0, self._resamples, _CHUNK):
            size = min(_CHUNK, self._resamples - start)
            drawn[start : start + size] = _draw(self._rng, size, self.groups)
        return drawn

    def means(self, rows: Floats) -> Resampled:
        """Means of the columns of `rows`, shape (n, k), as they are and in each resample.

        The mean of a resample is the weighted sum of its rows over the weighted number of its rows, so clusters of
        unequal size are treated as they should.
        """
        same_length("rows", rows, len(self.unit))
        sums = np.zeros((self.groups, rows.shape[1]))
        for column in range(rows.shape[1]):
            sums[:, column] = np.bincount(self.group, rows[:, column], self.groups)
        return self.means_of_sums(sums, np.bincount(self.group, minlength=self.groups))

    def means_of_sums(self, sums: Floats, counts: Ints) -> Resampled:
        """The same from sums over each group, shape (groups, k), and the rows of each group, shape (groups,)."""
        table: Floats = np.column_stack([sums, counts]).astype(np.float64, copy=False)
        totals: Floats = self.weights @ table
        whole: Floats = table.sum(axis=0)
        return Resampled(whole[:-1] / whole[-1], totals[:, :-1] / totals[:, -1:], self.units)


def resample_means(
    rows: Floats, *, clusters: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Means of the columns of `rows` under the bootstrap, by `Draws`.

    Args:
        rows: Finite values, shape (n, k).
        clusters: Identifier per row, as in `Draws`.
        resamples: Number of resamples.
        seed: Equal seeds give equal results.

    Raises:
        LengthMismatch: `clusters` differs in length from `rows`.
        NothingToCount: There is no row.
        OutOfRange: `resamples` is below 1.
    """
    return Draws(len(rows), clusters=clusters, resamples=resamples, seed=seed).means(rows)


def _draw(rng: np.random.Generator, size: int, groups: int) -> Floats:
    # Multinomial weights by counting uniform draws: the same law as rng.multinomial, at half the time.
    picks = rng.integers(0, groups, size=(size, groups))
    picks += np.arange(size)[:, np.newaxis] * groups
    counts: Counts = np.bincount(picks.ravel(), minlength=size * groups)
    return counts.reshape(size, groups).astype(np.float64)
