"""What is kept of a column's values, in bounded size: each part takes batches and merges with its like.

    Distinct   how many different values     HyperLogLog, 4,096 registers: standard error 1.6 %
    Frequent   the most frequent values      Misra-Gries: exact up to 1,000 different values, then off by 0.1 % of rows
    Moments    mean, spread, skew, tails     exact up to rounding
    Quantiles  ranks                         at most 0.5 % of rows off; exact up to 1,024 different values

They take what a sort of the batch already gives (`runs`), so that a batch is sorted once and no value meets Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from perennial.data.profile.arrays import Floats, Hashes, Ints, Octets

__all__ = ["Distinct", "Frequent", "Moments", "Quantiles", "Value", "mixed", "runs"]

Value = bool | int | float | str
REGISTER_BITS = 12
REGISTERS = 1 << REGISTER_BITS
CAPACITY = 1_000  # different values that are counted exactly
KEPT = 100  # of a column with more than that, this many stay in the stored profile
POINTS = 1_024  # of the value axis that stand for all values
FULL = 4 * POINTS  # points at which the axis is thinned to POINTS again
_GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, spread evenly: offsets without a random source


def runs(ordered: NDArray[np.generic]) -> tuple[NDArray[np.generic], Ints]:
    """The different values of a sorted array, and how often each occurs.

    >>> [part.tolist() for part in runs(np.array([1, 1, 4]))]
    [[1, 4], [2, 1]]
    """
    if not ordered.size:
        return ordered, np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    return ordered[starts], np.diff(starts, append=ordered.size).astype(np.int64)


def mixed(numbers: NDArray[np.generic]) -> Hashes:
    """A 64-bit hash of each number, by its bits: the same everywhere and for ever (SplitMix64's finalizer)."""
    if np.issubdtype(numbers.dtype, np.floating):
        bits = (numbers.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 is 0.0
    else:
        bits = numbers.astype(np.int64).view(np.uint64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class Distinct(Struct, eq=False):
    """How many different values: HyperLogLog with the estimator of Ertl, which needs no correction tables.

    Source: Flajolet, Fusy, Gandouet & Meunier (2007), AOFA 137-156; Ertl (2017), arXiv 1702.01284, algorithm 6.
    """

    registers: Octets = field(default_factory=lambda: np.zeros(REGISTERS, np.uint8))

    def add(self, hashes: Hashes) -> None:
        low = int(self.registers.min())
        rest = hashes << np.uint64(REGISTER_BITS)
        if low:  # a hash that begins with fewer zeros than every register has seen changes nothing
            news = rest < np.uint64(1 << (64 - low))
            hashes, rest = hashes[news], rest[news]
        places = (hashes >> np.uint64(64 - REGISTER_BITS)).astype(np.intp)
        rest |= np.uint64(1 << (REGISTER_BITS - 1))  # at most 52 zeros
        ranks = (65 - np.frexp(rest.astype(np.float64))[1]).astype(np.uint8)
        news = ranks > self.registers[places]
        np.maximum.at(self.registers, places[news], ranks[news])

    def merge(self, other: Distinct) -> None:
        self.registers = np.maximum(self.registers, other.registers)

    def estimate(self) -> float:
        bits = 64 - REGISTER_BITS
        counts = np.bincount(self.registers, minlength=bits + 2)
        ranks = np.arange(1, bits + 1)
        total = float(np.ldexp(counts[1 : bits + 1].astype(np.float64), -ranks).sum())
        total += math.ldexp(REGISTERS * _tau(1 - counts[bits + 1] / REGISTERS), -bits)
        total += REGISTERS * _sigma(counts[0] / REGISTERS)
        return 0.0 if math.isinf(total) else float(REGISTERS * REGISTERS / (2 * math.log(2) * total))


class Frequent(Struct, eq=False):
    """Counts of the most frequent values, largest first; each true count is at most `slack` above what is told.

    `slack` is 0 while there were at most `CAPACITY` different values: then these are all of them.

    Source: Misra & Gries (1982); merging: Agarwal, Cormode, Huang, Phillips, Wei & Yi (2013), TODS 38(4).
    """

    values: list[Value] = field(default_factory=list[Value])
    counts: list[int] = field(default_factory=list[int])
    slack: int = 0

    @property
    def is_complete(self) -> bool:
        return self.slack == 0

    def add(self, values: Sequence[Value], counts: Sequence[int]) -> None:
        known = dict(zip(self.values, self.counts, strict=True))
        for value, count in zip(values, counts, strict=True):
            known[value] = known.get(value, 0) + count
        ranked = sorted(known.items(), key=lambda item: (-item[1], str(item[0])))
        self.values, self.counts = [value for value, _ in ranked], [count for _, count in ranked]
        self.reduce(CAPACITY)

    def of_batch(self, counts: Ints) -> tuple[Ints, Ints]:
        """Which values of a batch to add, and with which counts, so that no more than `CAPACITY` meet Python."""
        places = np.arange(counts.size)
        if counts.size > CAPACITY:
            less = int(np.partition(counts, counts.size - CAPACITY - 1)[counts.size - CAPACITY - 1])
            self.slack += less
            places = np.flatnonzero(counts > less)
            return places, counts[places] - less
        return places, counts

    def merge(self, other: Frequent) -> None:
        self.slack += other.slack
        self.add(other.values, other.counts)

    def reduce(self, capacity: int) -> None:
        """Keep at most this many values, each counted less by what the next one has."""
        if len(self.values) > capacity:
            less = self.counts[capacity]
            stay = sum(count > less for count in self.counts[:capacity])
            self.values, self.counts = self.values[:stay], [count - less for count in self.counts[:stay]]
            self.slack += less


class Moments(Struct, eq=False):
    """Count, mean and the sums of the 2nd to 4th powers of differences from it.

    Source: Pébay (2008), Sandia report SAND2008-6212: formulas that add without cancellation.
    """

    sums: Floats = field(default_factory=lambda: np.zeros(5))  # count, mean, second, third, fourth

    def add(self, values: Floats, counts: Ints) -> None:
        n = int(counts.sum())
        if n:
            with np.errstate(over="ignore", invalid="ignore"):
                weights = counts.astype(np.float64)
                mean = float(np.dot(values, weights / n))
                apart = values - mean
                squares = apart * apart
                weighted = squares * weights
                powers = [weighted.sum(), np.dot(weighted, apart), np.dot(weighted, squares)]
            self.merge(Moments(np.array([n, mean, *powers])))

    def merge(self, other: Moments) -> None:
        (n, mean, s2, s3, s4), (m, mean_b, t2, t3, t4) = self.sums, other.sums
        both = n + m
        if both == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            d = mean_b - mean
            self.sums = np.array(
                [
                    both,
                    mean + d * m / both,
                    s2 + t2 + d**2 * n * m / both,
                    s3 + t3 + d**3 * n * m * (n - m) / both**2 + 3 * d * (n * t2 - m * s2) / both,
                    s4
                    + t4
                    + d**4 * n * m * (n * n - n * m + m * m) / both**3
                    + 6 * d**2 * (n * n * t2 + m * m * s2) / both**2
                    + 4 * d * (n * t3 - m * s3) / both,
                ]
            )

    @property
    def mean(self) -> float | None:
        return self._told(self.sums[1])

    @property
    def sd(self) -> float | None:
        """With n - 1 in the denominator; None for fewer than two values."""
        return self._told(math.sqrt(self.sums[2] / (self.sums[0] - 1))) if self.sums[0] > 1 else None

    @property
    def skew(self) -> float | None:
        """0 for a symmetric column, 2 for an exponential one."""
        n, _, s2, s3, _ = self.sums
        return self._told(math.sqrt(n) * s3 / s2**1.5) if n > 1 and s2 > 0 else None

    @property
    def kurtosis(self) -> float | None:
        """Excess: 0 for a normal column, 6 for an exponential one."""
        n, _, s2, _, s4 = self.sums
        return self._told(n * s4 / s2**2 - 3) if n > 1 and s2 > 0 else None

    def _told(self, figure: float) -> float | None:
        return float(figure) if self.sums[0] and math.isfinite(figure) else None


class Quantiles(Struct, eq=False):
    """Weighted points of the value axis; when there are too many, they are thinned to `POINTS` of equal weight.

    Each thinning moves a rank by at most half a point's weight; the offsets differ from thinning to thinning, so that
    the errors do not add up.
    """

    values: Floats = field(default_factory=lambda: np.zeros(0))
    weights: Floats = field(default_factory=lambda: np.zeros(0))
    thinnings: int = 0

    def add(self, values: Floats, weights: Floats) -> None:
        if values.size > FULL:
            values, weights = self._thinned(values, weights)
        self._extend(values, weights)

    def merge(self, other: Quantiles) -> None:
        self.thinnings += other.thinnings
        self._extend(other.values, other.weights)

    def at(self, shares: Sequence[float]) -> list[float]:
        """The smallest value that at least this share of the values does not exceed; [] when there is none."""
        if not self.values.size:
            return []
        values, below = self._cumulated()
        places = np.searchsorted(below, np.asarray(shares) * below[-1] * (1 - 1e-12), side="left")
        return [float(value) for value in values[np.minimum(places, values.size - 1)]]

    def shares(self, edges: Sequence[float]) -> Floats:
        """Share of the values that each edge is not below."""
        if not self.values.size:
            return np.zeros(len(edges))
        values, below = self._cumulated()
        places = np.searchsorted(values, edges, side="right")
        return np.concatenate([[0.0], below])[places] / below[-1]

    def _cumulated(self) -> tuple[Floats, Floats]:
        order = np.argsort(self.values, kind="stable")
        return self.values[order], np.cumsum(self.weights[order])

    def finish(self) -> None:
        """As few points as there are different values, and at most `POINTS`."""
        self.values, self.weights = self._combined()
        if self.values.size > POINTS:
            self.values, self.weights = self._thinned(self.values, self.weights)

    def _extend(self, values: Floats, weights: Floats) -> None:
        self.values, self.weights = np.concatenate([self.values, values]), np.concatenate([self.weights, weights])
        if self.values.size > FULL:
            self.values, self.weights = self._combined()
            if self.values.size > POINTS:
                self.values, self.weights = self._thinned(self.values, self.weights)

    def _combined(self) -> tuple[Floats, Floats]:
        """In order, each value once."""
        values, below = self._cumulated()
        last = np.append(values[1:] != values[:-1], [True])[: values.size]
        return values[last], np.diff(below[last], prepend=0.0)

    def _thinned(self, ordered: Floats, weights: Floats) -> tuple[Floats, Floats]:
        below = np.cumsum(weights)
        targets = (np.arange(POINTS) + self._offset()) * (below[-1] / POINTS)
        places = np.minimum(np.searchsorted(below, targets, side="right"), ordered.size - 1)
        return ordered[places], np.full(POINTS, below[-1] / POINTS)

    def _offset(self) -> float:
        self.thinnings += 1
        return self.thinnings * _GOLDEN % 1.0


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before, z, y = z, z + x * y, y + y
        if z == before:
            return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1.0 - x
    while True:
        x = math.sqrt(x)
        y *= 0.5
        before, z = z, z - (1.0 - x) ** 2 * y
        if z == before:
            return z / 3.0
