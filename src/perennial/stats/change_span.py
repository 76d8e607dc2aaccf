"""When did it begin, and when did it end: the stretch of a sequence in which its mean is another one.

Rows before and after the stretch are taken to be as usual. One stretch is looked for; whether there is more to it than
the order of exchangeable rows is tested by permuting them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, finite_vector
from perennial.stats.errors import NothingToCount
from perennial.stats.results import Json

__all__ = ["ChangeSpan", "change_span"]

BLOCKS: Final = 1000  # longer sequences are added up to so many equal blocks first
PERMUTATIONS: Final = 199
PASSES: Final = 3
ALPHA: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSpan:
    """Positions [start, stop) of the stretch; the whole sequence where no shorter one stands out.

    Attributes:
        start: First position.
        stop: One past the last.
        mean: Mean of the values within it.
        p_value: That exchangeable values stand out as much somewhere.
    """

    start: int
    stop: int
    mean: float
    p_value: float

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {"start": self.start, "stop": self.stop, "mean": self.mean, "p_value": self.p_value}


def change_span(values: ArrayLike, usual: float, *, alpha: float = ALPHA, seed: int = 0) -> ChangeSpan:
    """The stretch with the largest sum of values above the middle between their usual mean and that of the stretch.

    That is the most likely one for values with equal spread and one other mean within it. Its mean is not known
    beforehand: it starts at that of the whole sequence and is estimated again a few times.

    Args:
        values: In the order of time, shape (n,).
        usual: Mean where nothing has changed, such as that of a reference.
        alpha: Level at which a part of the sequence is preferred to the whole.
        seed: Of the permutations.

    Raises:
        NothingToCount: There is no value.
        OutOfRange: A value is not finite.

    Source: the epidemic alternative of Levin & Kline (1985), Statistics in Medicine 4, 469-488.

    >>> span = change_span([0.0] * 300 + [1.0] * 200 + [0.0] * 100, 0.0)
    >>> span.start, span.stop, span.mean
    (300, 500, 1.0)
    """
    array = finite_vector(values, "values")
    if len(array) == 0:
        raise NothingToCount("values")
    edges: Ints = np.linspace(0, len(array), min(len(array), BLOCKS) + 1).round().astype(np.int64)
    sizes = np.diff(edges).astype(np.float64)
    sums = np.add.reduceat(array, edges[:-1])
    mean = float(array.mean())
    sign = 1.0 if mean >= usual else -1.0
    start, stop, level = 0, len(sizes), mean
    for _ in range(PASSES):
        excess = sign * (sums - sizes * (usual + level) / 2.0)
        first, last, _gain = _heaviest(excess[np.newaxis])
        start, stop = int(first[0]), int(last[0])
        level = float(sums[start:stop].sum() / sizes[start:stop].sum())
    excess = sign * (sums - sizes * (usual + level) / 2.0)
    gain = float(_heaviest(excess[np.newaxis])[2][0])
    random = np.random.default_rng(seed)
    permuted = random.permuted(np.tile(excess, (PERMUTATIONS, 1)), axis=1)
    p_value = (1.0 + float(np.sum(_heaviest(permuted)[2] >= gain - 1e-12))) / (PERMUTATIONS + 1.0)
    if p_value > alpha:
        return ChangeSpan(start=0, stop=len(array), mean=mean, p_value=p_value)
    inside = array[edges[start] : edges[stop]]
    return ChangeSpan(start=int(edges[start]), stop=int(edges[stop]), mean=float(inside.mean()), p_value=p_value)


def _heaviest(values: Floats) -> tuple[Ints, Ints, Floats]:
    """Of each row of `values`: start, stop and sum of the stretch with the largest sum."""
    totals = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    lowest = np.minimum.accumulate(totals, axis=1)[:, :-1]
    gains = totals[:, 1:] - lowest
    last = gains.argmax(axis=1)
    rows = np.arange(len(values))
    best = gains[rows, last]
    start = np.array([int(np.argmin(totals[row, : end + 1])) for row, end in enumerate(last.tolist())], dtype=np.int64)
    return start, last + 1, best
