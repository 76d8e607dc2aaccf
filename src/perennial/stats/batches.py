"""What the next value of a batch metric may be, learned from a handful of earlier ones, at a stated false-alarm rate.

A metric that trends is differenced once, so that its next value is expected near the last one. Where the values look
normal the band is Student's prediction interval; otherwise the Chebyshev inequality, which holds for any distribution
of the same mean and spread, with these estimated. Neither claims more than its assumption: batches alike but for noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, vector
from perennial.stats.errors import OutOfRange
from perennial.stats.tails import noncentral_chi2_sf, student_quantile, student_tail

__all__ = ["MIN_BATCHES", "BatchLaw", "learn_law"]

MIN_BATCHES: Final = 7  # fewer say too little about the spread (Tu et al., KDD 2023)
RELATIVE_FLOOR: Final = 0.01  # a metric that never moved may still move by a percent of itself
ALPHA: Final = 0.05  # of the tests for trend and normality


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLaw:
    """The law of the next value.

    Attributes:
        centre: Expected value; the last one when differenced (plus the mean step).
        scale: Standard deviation of the next value around it, with that of estimating the centre; above 0.
        n: Values (or steps) it was learned from.
        kind: "normal" (Student's t) or "any" (Chebyshev).
        is_differenced: Whether the metric trends.
    """

    centre: float
    scale: float
    n: int
    kind: Literal["normal", "any"]
    is_differenced: bool

    def band(self, rate: float) -> tuple[float, float]:
        """The band that the next value leaves with probability at most `rate`.

        Raises:
            OutOfRange: `rate` is not in (0, 1).

        >>> law = BatchLaw(centre=10.0, scale=1.0, n=30, kind="any", is_differenced=False)
        >>> law.band(0.01)
        (0.0, 20.0)
        """
        if not 0.0 < rate < 1.0:
            raise OutOfRange("rate", rate, "in (0, 1)")
        if self.kind == "normal":
            reach = student_quantile(1.0 - rate / 2.0, self.n - 1) * self.scale
        else:
            reach = self.scale / math.sqrt(rate)  # Chebyshev: P(|x - centre| >= k sd) <= 1/k^2
        return self.centre - reach, self.centre + reach

    def rate_of(self, value: float) -> float:
        """The smallest rate whose band the value leaves: how surprising it is. 0 for a value that is not finite."""
        if not math.isfinite(value):
            return 0.0
        distance = abs(value - self.centre) / self.scale
        if self.kind == "normal":
            return student_tail(distance, self.n - 1)
        return min(1.0, 1.0 / distance**2) if distance > 0 else 1.0


def learn_law(values: ArrayLike, *, noise: float = 0.0, may_be_normal: bool = True) -> BatchLaw | None:
    """Learn the law of the next value; None when it was always 0 and nothing says how much it might move.

    Args:
        values: The metric of earlier batches, oldest first, shape (n,), n >= 7, finite.
        noise: Standard deviation that the metric has by sampling alone, given the size of a batch.
        may_be_normal: False for what has heavy tails by its nature, such as the largest value of a batch.

    Raises:
        OutOfRange: Fewer than 7 values.

    Source: Tu, He, Cui, Ge, Zhang, Han, Zhang & Chaudhuri, "Auto-Validate by-History", KDD 2023; prediction interval:
    mean +- t sd sqrt(1 + 1/n).
    """
    array = vector(values, "values")
    if len(array) < MIN_BATCHES:
        raise OutOfRange("the number of batches", len(array), f"at least {MIN_BATCHES}")
    is_trending = _trends(array)
    base = np.diff(array) if is_trending else array
    n = len(base)
    mean = float(base.mean())
    centre = float(array[-1]) + mean if is_trending else mean
    seen = float(base.std(ddof=1))
    spread = max(seen, noise, RELATIVE_FLOOR * abs(centre))
    if spread == 0.0:
        return None
    return BatchLaw(
        centre=centre,
        scale=spread * math.sqrt(1.0 + 1.0 / n),
        n=n,
        kind="normal" if may_be_normal and (seen < spread or _looks_normal(base)) else "any",
        is_differenced=is_trending,
    )


def _trends(values: Floats) -> bool:
    """Whether neighbours are more alike than chance has it (von Neumann's ratio of the ranks, one-sided).

    Source: Bartels, "The rank version of von Neumann's ratio test for randomness", JASA 77 (1982), 40-46.
    """
    n = len(values)
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    total = float(((ranks - ranks.mean()) ** 2).sum())
    if float(np.ptp(values)) == 0.0:
        return False
    ratio = float((np.diff(ranks) ** 2).sum()) / total
    spread = 2.0 * math.sqrt((n - 2.0) * (5.0 * n * n - 2.0 * n - 9.0) / (5.0 * n * (n + 1.0) * (n - 1.0) ** 2))
    return (ratio - 2.0) / spread < -1.6448536269514722


def _looks_normal(values: Floats) -> bool:
    """Whether the values may be normal: Jarque-Bera from 20 on, Grubbs' test for one outlier below.

    Source: Jarque & Bera, International Statistical Review 55 (1987), 163-172; Grubbs, Technometrics 11 (1969), 1-21.
    """
    n = len(values)
    sd = float(values.std())
    if sd == 0.0:
        return False
    z = (values - values.mean()) / sd
    if n < 20:
        t = student_quantile(1.0 - ALPHA / (2.0 * n), n - 2)
        limit = (n - 1) / math.sqrt(n) * math.sqrt(t * t / (n - 2 + t * t))
        return float(np.abs(z).max()) * math.sqrt((n - 1) / n) < limit
    statistic = n / 6.0 * (float((z**3).mean()) ** 2 + (float((z**4).mean()) - 3.0) ** 2 / 4.0)
    return noncentral_chi2_sf(statistic, 2, 0.0) > ALPHA
