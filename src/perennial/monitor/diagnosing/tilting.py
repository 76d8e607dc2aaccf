"""Draw rows by weights, so that the mean loss of what is drawn comes out as wanted.

Rows are taken without repetition; a weight that depends on the inputs alone leaves the relation of labels to inputs as
it is, one that depends on the label alone leaves the rows of each label as they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from perennial.evaluate.columns import Grouped
from perennial.monitor.sample import Sample

__all__ = ["bounded", "drawn", "group_means", "harmless", "mean_drawn", "power_for", "reaches", "standardised"]

Floats = NDArray[np.float64]

MOST_TILT: Final = 6.0  # exponent per standard deviation at which a resampling is called too extreme
ENOUGH: Final = 0.7  # of the strength asked for; a window in which less is reached is no rehearsal of anything


def drawn(pool: Sample, logits: Floats, rows: int, random: np.random.Generator) -> Sample:
    """Rows without repetition, each next one with probability proportional to exp(logit) (Gumbel's trick)."""
    keys = logits + random.gumbel(size=pool.rows)
    chosen = np.argpartition(-keys, rows - 1)[:rows]
    return pool.take(random.permutation(chosen).astype(np.int64))


def power_for(direction: Floats, losses: Floats, strength: float, rows: int) -> float:
    """How steeply to prefer a direction so that the mean loss rises by `strength` of itself, at most MOST_TILT."""
    low, high = 0.0, MOST_TILT
    for _ in range(20):
        middle = (low + high) / 2.0
        is_enough = mean_drawn(middle * direction, losses, rows) >= (1.0 + strength) * float(losses.mean())
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def reaches(logits: Floats, losses: Floats, strength: float, rows: int) -> bool:
    """Whether the rows drawn by these weights are harder by enough of what was asked for."""
    return mean_drawn(logits, losses, rows) >= (1.0 + ENOUGH * strength) * float(losses.mean())


def harmless(logits: Floats, hardness: Floats, losses: Floats, rows: int) -> Floats:
    """The logits, and so much of what is hard taken from them that the mean loss is that of all rows."""
    low, high = -MOST_TILT, MOST_TILT
    for _ in range(30):
        middle = (low + high) / 2.0
        too_hard = mean_drawn(logits - middle * hardness, losses, rows) > float(losses.mean())
        low, high = (middle, high) if too_hard else (low, middle)
    return logits - (low + high) / 2.0 * hardness


def mean_drawn(logits: Floats, values: Floats, rows: int) -> float:
    """Expected mean of the rows that `drawn` takes.

    The keys of Gumbel's trick are arrival times of exponential clocks with rates exp(logit): a row is among the first
    that arrive with probability 1 - exp(-rate t), where t is such that these add up to the number of rows.
    """
    rates = np.exp(logits - logits.max())
    low, high = -20.0, 40.0  # of log t
    for _ in range(30):
        middle = (low + high) / 2.0
        too_many = float(-np.expm1(-rates * np.exp(middle)).sum()) > rows
        low, high = (low, middle) if too_many else (middle, high)
    chances = -np.expm1(-rates * np.exp(high))
    return float(chances @ values / chances.sum())


def bounded(losses: Floats) -> Floats:
    """Losses cut at their 99.5 % quantile: one row does not make a column hard."""
    return np.minimum(losses, float(np.quantile(losses, 0.995)))


def group_means(one: Grouped, values: Floats) -> Floats:
    """Mean of each group, shape (groups,); 0 where a group has no row."""
    counts = np.bincount(one.codes, minlength=len(one.labels))
    return np.bincount(one.codes, values, minlength=len(one.labels)) / np.maximum(counts, 1)


def standardised(values: Floats) -> Floats:
    """With mean 0 and standard deviation 1; all 0 where they do not vary."""
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0.0 else np.zeros(len(values))
