"""Range of a mean that narrows while values arrive and holds at all times at once, by betting on a grid of means.

The tighter companion of `means.empirical_bernstein_sequence`: two products for each mean of a grid instead of three
sums. `means.betting_interval` gives the same at one moment; here the ranges of all earlier moments are kept in mind,
and the state can be stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, unit_vector
from perennial.stats.errors import OutOfRange
from perennial.stats.means import Band
from perennial.stats.results import Interval, Json

__all__ = ["BettingState", "betting_sequence", "betting_start", "betting_update"]

GRID: Final = 1001
_STAKE_CAP: Final = 0.5  # c of the source: no bet risks more than half of the wealth
_BLOCK: Final = 256  # values per pass: 256 rows of a grid of 1001 are 2 MiB


@dataclass(frozen=True, slots=True)
class BettingState:
    """What is remembered of the values so far.

    Attributes:
        alpha: Probability of ever missing the mean, at most.
        above: Per mean m of the grid, ln prod(1 + a_i (x_i - m)): wealth of the bet that the mean is above m.
        below: Per mean m, ln prod(1 - b_i (x_i - m)): wealth of the bet that it is below.
        n: Number of values.
        total: Their sum.
        spread: Sum of (x_i - mean_i)^2, each with the mean up to it.
        low: Largest mean excluded from below so far; 0 if none.
        high: Smallest mean excluded from above so far; 1 if none.
    """

    alpha: float
    above: tuple[float, ...]
    below: tuple[float, ...]
    n: int = 0
    total: float = 0.0
    spread: float = 0.0
    low: float = 0.0
    high: float = 1.0

    @property
    def interval(self) -> Interval:
        """The range now; its ends are excluded means of the grid, so it errs on the wide side."""
        return Interval(
            low=self.low,
            high=self.high,
            estimate=self.total / self.n if self.n else math.nan,
            level=1.0 - self.alpha,
            n=self.n,
            method="hedged betting sequence",
            anytime=True,
        )

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "alpha": self.alpha,
            "above": list(self.above),
            "below": list(self.below),
            "n": self.n,
            "total": self.total,
            "spread": self.spread,
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Json]) -> BettingState:
        """Read back what `as_dict` gave.

        Raises:
            OutOfRange: A field is absent or of another type.
        """
        above, below = _numbers(record, "above"), _numbers(record, "below")
        n = record.get("n")
        if not isinstance(n, int) or len(above) != len(below) or len(above) < 3:
            raise OutOfRange("n", n, "a whole number, beside two grids of one length, at least 3")
        alpha, total, spread, low, high = (
            _number(record, name) for name in ("alpha", "total", "spread", "low", "high")
        )
        return cls(alpha, above, below, n, total, spread, low, high)


def betting_start(*, alpha: float = 0.05, grid: int = GRID) -> BettingState:
    """The state before the first value.

    Args:
        alpha: Probability of ever missing the mean, at most.
        grid: Number of means that are bet on, evenly spaced from 0 to 1; the range is exact up to 1/(grid - 1).

    Raises:
        OutOfRange: A setting is out of range.
    """
    check_open_unit("alpha", alpha)
    if grid < 3:
        raise OutOfRange("grid", grid, "at least 3")
    return BettingState(alpha, (0.0,) * grid, (0.0,) * grid)


def betting_update(state: BettingState, values: ArrayLike) -> tuple[BettingState, Band]:
    """Feed values in order; feeding in pieces gives the same as all at once.

    A mean m is excluded once max(prod(1 + a_i (x_i - m)), prod(1 - b_i (x_i - m)))/2 reaches 1/alpha, with
    a_i = min(l_i, 1/(2m)), b_i = min(l_i, 1/(2(1 - m))), l_t = sqrt(2 ln(2/alpha) / (var_{t-1} t ln(1 + t))).

    Args:
        state: `betting_start()`, or what an earlier call returned.
        values: shape (T,), in [0, 1], oldest first.

    Returns:
        The state after them and the range after each of them.

    Raises:
        OutOfRange: A value is outside [0, 1].

    Source: Waudby-Smith & Ramdas (2024), JRSS B 86, 1-27, theorem 3 and its remark on running intersections.
    """
    x = unit_vector(values, "values")
    size = len(state.above)
    means = np.linspace(0.0, 1.0, size)
    with np.errstate(divide="ignore"):
        cap_above, cap_below = _STAKE_CAP / means, _STAKE_CAP / (1.0 - means)
    above, below = np.asarray(state.above), np.asarray(state.below)
    limit = math.log(2.0 / state.alpha)
    stakes, total, spread = _stakes(state, x)
    low, high = np.empty(len(x)), np.empty(len(x))
    for start in range(0, len(x), _BLOCK):
        part = slice(start, start + _BLOCK)
        gaps: Floats = x[part, np.newaxis] - means
        bet: Floats = stakes[part, np.newaxis]
        rising = above + np.cumsum(np.log1p(np.minimum(bet, cap_above) * gaps), axis=0)
        falling = below + np.cumsum(np.log1p(-np.minimum(bet, cap_below) * gaps), axis=0)
        above, below = rising[-1], falling[-1]
        # The first product falls with m, the second rises: what is excluded is the start and the end of the grid.
        too_low, too_high = np.sum(rising >= limit, axis=1), np.sum(falling >= limit, axis=1)
        low[part] = means[np.maximum(too_low - 1, 0)]
        high[part] = means[np.minimum(size - too_high, size - 1)]
    low = np.maximum.accumulate(np.concatenate([[state.low], low]))[1:]
    high = np.minimum.accumulate(np.concatenate([[state.high], high]))[1:]
    if len(x) == 0:
        return state, Band(low, high)
    after = BettingState(
        alpha=state.alpha,
        above=tuple(above.tolist()),
        below=tuple(below.tolist()),
        n=state.n + len(x),
        total=total,
        spread=spread,
        low=float(low[-1]),
        high=float(high[-1]),
    )
    return after, Band(low, high)


def betting_sequence(values: ArrayLike, *, alpha: float = 0.05, grid: int = GRID) -> Band:
    """Range of the mean after each value; all of them hold at once with probability 1 - alpha.

    Args:
        values: shape (T,), in [0, 1], in order of arrival. The mean must be the same given the past.
        alpha: Probability of ever missing the mean, at most.
        grid: As in `betting_start`.

    Raises:
        OutOfRange: A value is outside [0, 1], or a setting is out of range.

    >>> band = betting_sequence([float(i % 5 == 0) for i in range(1000)])
    >>> round(float(band.low[-1]), 3), round(float(band.high[-1]), 3)
    (0.156, 0.251)
    """
    return betting_update(betting_start(alpha=alpha, grid=grid), values)[1]


def _stakes(state: BettingState, x: Floats) -> tuple[Floats, float, float]:
    """Uncapped stakes, from earlier values only, and the sums after the last value."""
    t = state.n + np.arange(1, len(x) + 1)
    totals: Floats = np.concatenate([[state.total], state.total + np.cumsum(x)])
    means = (0.5 + totals[1:]) / (t + 1)
    spreads: Floats = np.concatenate([[state.spread], state.spread + np.cumsum((x - means) ** 2)])
    variance = (0.25 + spreads[:-1]) / t
    stakes: Floats = np.sqrt(2.0 * math.log(2.0 / state.alpha) / (variance * t * np.log1p(t)))
    return stakes, float(totals[-1]), float(spreads[-1])


def _number(record: Mapping[str, Json], name: str) -> float:
    value = record.get(name)
    if not isinstance(value, int | float):
        raise OutOfRange(name, value, "a number")
    return float(value)


def _numbers(record: Mapping[str, Json], name: str) -> tuple[float, ...]:
    values = record.get(name)
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise OutOfRange(name, values, "a list of numbers")
    return tuple(float(cast(float, value)) for value in values)
