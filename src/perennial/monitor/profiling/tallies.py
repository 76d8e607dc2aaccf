"""What is kept of a column of a window: counts, sums and samples of hashes, never a row. All of it adds up.

`a + b` is the tally of the rows of both, in any order and however they were cut: exactly for counts, extremes and
hashes, up to rounding for sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.monitor.profiling.hashes import KeptHashes

__all__ = [
    "MAGNITUDES",
    "NEGATIVE_ZERO",
    "ColumnTally",
    "LossSums",
    "Magnitudes",
    "added",
    "magnitude_counts",
    "magnitude_edges",
    "not_finite",
    "numbers",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.int64] | NDArray[np.float64]
MAGNITUDES = 1 << 15
NEGATIVE_ZERO = 1 << 14  # its bucket, in which the smallest negative numbers are as well
MANTISSA_BITS = 49  # of a double that are dropped: sign, exponent and three bits stay, eight buckets to a doubling


@dataclass(frozen=True, kw_only=True, eq=False)
class Magnitudes:
    """Rows by sign, power of two and eighth of it: the same buckets for every column, so that columns compare.

    Attributes:
        places: Buckets that hold rows: the upper 15 bits of the double. Ascending.
        counts: Rows of each.
    """

    places: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of_counts(cls, counts: Ints) -> Magnitudes:
        """Of rows per bucket, as `magnitude_counts` gives them."""
        used = np.flatnonzero(counts > 0)  # of booleans numpy finds them much sooner
        return cls(places=used.astype(np.int64), counts=counts[used])

    def __add__(self, other: Self) -> Magnitudes:
        places, where = np.unique(np.concatenate([self.places, other.places]), return_inverse=True)
        counts = np.zeros(len(places), np.int64)
        np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
        return Magnitudes(places=places, counts=counts)

    def quantiles(self, probs: Floats) -> Floats:
        """Quantiles, at most 6 % off: the middle of the bucket that holds each; NaN without rows."""
        if not len(self.places):
            return np.full(len(probs), math.nan)
        low, high = magnitude_edges(self.places)
        order = np.argsort(low, kind="stable")
        reached = np.cumsum(self.counts[order])
        chosen = order[np.searchsorted(reached, probs * reached[-1], side="left").clip(0, len(order) - 1)]
        return (low[chosen] + high[chosen]) / 2.0


def magnitude_counts(values: Floats, *, room: NDArray[np.uint64] | None = None) -> Ints:
    """Values per bucket, shape (32768,).

    Args:
        values: shape (n,).
        room: An array of that length that may be written to.
    """
    upper = np.right_shift(np.ascontiguousarray(values).view(np.uint64), np.uint64(MANTISSA_BITS), out=room)
    return np.bincount(upper.view(np.int64), minlength=MAGNITUDES)


def not_finite(counts: Ints) -> Ints:
    """The part of `magnitude_counts` that is of infinite values and NaN, as a view: their exponent is all ones."""
    return counts.reshape(2, -1)[:, -8:]


def magnitude_edges(places: Ints) -> tuple[Floats, Floats]:
    """Lower and upper end of the values in each bucket, shape (n,)."""
    near = (places.astype(np.int64) << MANTISSA_BITS).view(np.float64)
    far = (((places.astype(np.int64) + 1) << MANTISSA_BITS) - 1).view(np.float64)
    return np.minimum(near, far), np.maximum(near, far)


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnTally:
    """One column of a window.

    Attributes:
        counts: Rows per bin, in the order of the column's bins; the last is of missing values.
        kinds: Rows with a value by kind of column that they came in: "number", "text", "time", "other"; "absent" counts
            rows of tables without the column.
        unreadable: Values that are not of the column's kind; they count as missing as well.
        finite: Values that the sums are of.
        total: Sum of their differences from the column's centre.
        squares: Sum of the squares of these.
        low: Smallest finite value; None without one.
        high: Largest.
        beyond: Sums of how far values lie below the reference's range and above it.
        magnitudes: Of the finite values.
        values: Sample of the distinct values.
        lags: Of a column of hours, its difference from the hour of the event time, 0 to 23: rows of each; else empty.
    """

    counts: Counts
    kinds: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0
    finite: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float | None = None
    high: float | None = None
    beyond: tuple[float, float] = (0.0, 0.0)
    magnitudes: Magnitudes = field(default_factory=Magnitudes)
    values: KeptHashes
    lags: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def rows(self) -> float:
        """All rows, with and without a value."""
        return float(self.counts.sum())

    @property
    def missing(self) -> float:
        """Rows without a value."""
        return float(self.counts[-1])

    @property
    def present(self) -> float:
        """Rows with one."""
        return self.rows - self.missing

    def mean(self, centre: float) -> float:
        """Mean of the finite values; NaN without one."""
        return centre + self.total / self.finite if self.finite else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the finite values; NaN with fewer than two, or where their squares are no floats."""
        if self.finite < 2:
            return math.nan
        around = self.squares - self.total * self.total / self.finite
        return math.sqrt(max(0.0, around) / (self.finite - 1)) if math.isfinite(around) else math.nan

    def __add__(self, other: Self) -> ColumnTally:
        if len(self.counts) != len(other.counts):
            raise Invalid(
                f"tallies of {len(self.counts)} and {len(other.counts)} bins do not add up",
                remedy="profile both windows with the same profiler",
            )
        return ColumnTally(
            counts=self.counts + other.counts,
            kinds=added(self.kinds, other.kinds),
            unreadable=self.unreadable + other.unreadable,
            finite=self.finite + other.finite,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            low=_extreme(min, self.low, other.low),
            high=_extreme(max, self.high, other.high),
            beyond=(self.beyond[0] + other.beyond[0], self.beyond[1] + other.beyond[1]),
            magnitudes=self.magnitudes + other.magnitudes,
            values=self.values + other.values,
            lags=self.lags + other.lags if len(self.lags) == len(other.lags) else np.zeros(0, np.int64),
        )

    def as_dict(self) -> dict[str, Any]:
        """For msgpack: small integers, and hashes as bytes."""
        return {
            "counts": self.counts.tolist(),
            "kinds": dict(self.kinds),
            "unreadable": self.unreadable,
            "finite": self.finite,
            "total": self.total,
            "squares": self.squares,
            "low": self.low,
            "high": self.high,
            "beyond": self.beyond,
            "places": self.magnitudes.places.tolist(),
            "rows": self.magnitudes.counts.tolist(),
            "values": self.values.as_dict(),
            "lags": self.lags.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColumnTally:
        """What `as_dict` gave."""
        return cls(
            counts=numbers(stored["counts"]),
            kinds=stored["kinds"],
            unreadable=stored["unreadable"],
            finite=stored["finite"],
            total=stored["total"],
            squares=stored["squares"],
            low=stored["low"],
            high=stored["high"],
            beyond=tuple(stored["beyond"]),
            magnitudes=Magnitudes(
                places=np.asarray(stored["places"], dtype=np.int64), counts=np.asarray(stored["rows"], dtype=np.int64)
            ),
            values=KeptHashes.from_dict(stored["values"]),
            lags=np.asarray(stored["lags"], dtype=np.int64),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LossSums:
    """Losses of labelled rows: of all (shape (1,)), or per bin of a slicing column (shape (bins,)).

    Attributes:
        n: Labelled rows.
        total: Sum of their losses.
        squares: Sum of the squares.
    """

    n: Ints
    total: Floats
    squares: Floats

    @classmethod
    def of(cls, losses: Floats, places: Ints, bins: int) -> LossSums:
        """Of losses (NaN: not labelled), by bin."""
        known = ~np.isnan(losses)
        loss, where = losses[known], places[known]
        return cls(
            n=np.bincount(where, minlength=bins).astype(np.int64),
            total=np.bincount(where, weights=loss, minlength=bins).astype(np.float64),
            squares=np.bincount(where, weights=loss**2, minlength=bins).astype(np.float64),
        )

    @property
    def mean(self) -> Floats:
        """Mean loss per bin; NaN where nothing is labelled."""
        return np.divide(self.total, self.n, out=np.full(len(self.n), math.nan), where=self.n > 0)

    def __add__(self, other: Self) -> LossSums:
        return LossSums(n=self.n + other.n, total=self.total + other.total, squares=self.squares + other.squares)

    def as_dict(self) -> dict[str, Any]:
        """For msgpack."""
        return {"n": self.n.tolist(), "total": self.total.tolist(), "squares": self.squares.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LossSums:
        """What `as_dict` gave."""
        return cls(
            n=np.asarray(stored["n"], dtype=np.int64),
            total=np.asarray(stored["total"], dtype=np.float64),
            squares=np.asarray(stored["squares"], dtype=np.float64),
        )


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Counts by name, of both."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in [*one, *(n for n in other if n not in one)]}


def numbers(stored: list[Any]) -> Counts:
    """Counts as they were: whole, or re-weighted."""
    is_whole = all(isinstance(value, int) for value in stored)
    return np.asarray(stored, dtype=np.int64) if is_whole else np.asarray(stored, dtype=np.float64)


def _extreme(of: Any, one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return cast(float, of(one, other))
