"""Bins fixed on a reference, so that windows are compared by counts alone.

Counts add: two shards or two days counted with the same bins are merged with `+`. Numeric bins sit at reference
quantiles; values outside the reference range and missing values keep bins of their own, because both are news.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Counts, Ints, same_length, vector
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Json

__all__ = ["Bins", "CategoryBins", "NumericBins", "bins_from_dict"]

NUMERIC_BINS = 10  # deciles: PSI noise grows with the number of bins, power hardly does
TOP_CATEGORIES = 50
_BLOCK = 65_536  # values at a time: half a MiB stays in cache while every bound is compared, in few calls
_FEW_EDGES = 48  # up to here one comparison per edge beats a binary search per row (measured: 5 times at 11 edges)


@dataclass(frozen=True, slots=True)
class NumericBins:
    """Bins of a numeric column. Order: below the reference, [low, u1], (u1, u2], ..., above the reference, missing.

    Attributes:
        low: Smallest finite reference value; None if there is none. Then the bins are present, missing.
        uppers: Strictly increasing upper bounds, each in its bin; the last is the largest finite reference value.
    """

    low: float | None
    uppers: tuple[float, ...]
    kind: ClassVar[str] = "numeric"

    def __post_init__(self) -> None:
        if (self.low is None) != (not self.uppers):
            raise OutOfRange("low", self.low, "None exactly if there is no upper bound")
        if any(not math.isfinite(edge) for edge in (self.low or 0.0, *self.uppers)):
            raise OutOfRange("uppers", self.uppers, "finite, as is low")
        if any(b <= a for a, b in pairwise(self.uppers)) or (self.low is not None and self.low > self.uppers[0]):
            raise OutOfRange("uppers", self.uppers, "strictly increasing, from low on")

    @classmethod
    def from_reference(cls, values: ArrayLike, *, n_bins: int = NUMERIC_BINS) -> NumericBins:
        """Put bounds at the quantiles i/n_bins of the finite reference values; equal quantiles are merged.

        Quantiles are reference values themselves (no interpolation), so a value that fills several quantiles gets its
        own bin and integers stay integers. NaN is missing; infinite values are outside the range.

        Args:
            values: Reference values, shape (n,).
            n_bins: Number of bins before merging, >= 1.

        Raises:
            OutOfRange: `n_bins` is below 1 or `values` is not one-dimensional.

        >>> NumericBins.from_reference([0, 0, 0, 0, 0, 0, 0, 1, 2, 3], n_bins=4).labels
        ('below 0', '[0, 0]', '(0, 1]', '(1, 3]', 'above 3', 'missing')
        """
        if n_bins < 1:
            raise OutOfRange("n_bins", n_bins, "at least 1")
        array = vector(values, "values")
        finite = array[np.isfinite(array)]
        if finite.size == 0:
            return cls(None, ())
        finite.sort()
        ranks = -(-finite.size * np.arange(1, n_bins + 1) // n_bins)  # of the quantiles, from 1: rounded up
        return cls(float(finite[0]), tuple(dict.fromkeys((finite[ranks - 1] + 0.0).tolist())))

    @property
    def n_bins(self) -> int:
        """Length of the count array."""
        return len(self.uppers) + (2 if self.low is None else 3)

    @property
    def labels(self) -> tuple[str, ...]:
        """One short text per bin, in count order."""
        if self.low is None:
            return ("present", "missing")
        inner = [f"({a:.6g}, {b:.6g}]" for a, b in pairwise(self.uppers)]
        first = f"[{self.low:.6g}, {self.uppers[0]:.6g}]"
        return (f"below {self.low:.6g}", first, *inner, f"above {self.uppers[-1]:.6g}", "missing")

    def count(self, values: ArrayLike, *, within: tuple[float, float] | None = None) -> Counts:
        """Count the values per bin.

        Args:
            values: shape (m,); NaN is missing.
            within: Smallest and largest of the values, where the caller knows them and that none is missing: a bound
                outside of them need not be compared.

        Returns:
            int64 counts, shape (n_bins,), summing to m. Counts of two arrays add up to the counts of both together.

        >>> NumericBins.from_reference([1, 2, 3, 4], n_bins=2).count([0, 1, 2, 3, 9, float("nan")])
        array([1, 2, 1, 1, 1])
        """
        array = vector(values, "values")
        missing = 0 if within else int(np.count_nonzero(np.isnan(array)))
        present = array.size - missing
        if self.low is None:
            return np.array([present, missing], dtype=np.int64)
        least, most = within or (-math.inf, math.inf)
        bounds = (math.nextafter(self.low, -math.inf), *self.uppers)
        # Running totals: none, below low, at most each upper bound, all. NaN is at most nothing.
        totals = np.zeros(len(bounds) + 2, dtype=np.int64)
        first, end = bisect_left(bounds, least), bisect_left(bounds, most)
        totals[end + 1 :] = present
        if end - first <= _FEW_EDGES:
            for start in range(0, array.size, _BLOCK):
                block = array[start : start + _BLOCK]
                for i in range(first, end):
                    totals[i + 1] += np.count_nonzero(block <= bounds[i])
        else:
            found = np.searchsorted(np.asarray(bounds), array[~np.isnan(array)], side="left")
            totals[1:] = np.cumsum(np.bincount(found, minlength=len(bounds) + 1))
        return np.append(totals[1:] - totals[:-1], missing)

    def places(self, values: ArrayLike) -> Ints:
        """The bin of each value, in the order of `count`, shape (m,).

        >>> NumericBins.from_reference([1, 2, 3, 4], n_bins=2).places([0, 1, 2, 3, 9, float("nan")])
        array([0, 1, 1, 2, 3, 4])
        """
        array = vector(values, "values")
        if self.low is None:
            return np.isnan(array).astype(np.int64)
        edges = np.array([math.nextafter(self.low, -math.inf), *self.uppers])
        found: Ints = np.searchsorted(edges, array, side="left").astype(np.int64)
        found[np.isnan(array)] = self.n_bins - 1
        return found

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `bins_from_dict` reads them back without loss."""
        return {"kind": self.kind, "low": self.low, "uppers": list(self.uppers)}


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """Bins of a text column. Order: the named categories, other, missing.

    Attributes:
        categories: The most frequent categories of the reference, most frequent first; ties in alphabetical order.
    """

    categories: tuple[str, ...]
    kind: ClassVar[str] = "category"

    def __post_init__(self) -> None:
        if len(set(self.categories)) != len(self.categories):
            raise OutOfRange("categories", "repeated", "distinct")

    @classmethod
    def from_reference(cls, values: Iterable[str | None], *, top: int = TOP_CATEGORIES) -> CategoryBins:
        """Keep the `top` most frequent categories of the reference; the rest is counted as other.

        Raises:
            OutOfRange: `top` is negative, or a value is neither text nor missing.

        >>> CategoryBins.from_reference(["b", "a", "b", None, "c"], top=2).labels
        ('b', 'a', 'other', 'missing')
        """
        if top < 0:
            raise OutOfRange("top", top, "at least 0")
        return cls._ranked(_tally(values)[0], top)

    @classmethod
    def from_distinct(
        cls, values: Sequence[str | None], counts: ArrayLike, *, top: int = TOP_CATEGORIES
    ) -> CategoryBins:
        """As `from_reference`, of a column of which the distinct values are known, and how often each occurs.

        Raises:
            OutOfRange: `top` is negative.
            LengthMismatch: The two differ in length.

        >>> CategoryBins.from_distinct(["a", None, "b"], [1, 7, 2]).categories
        ('b', 'a')
        """
        if top < 0:
            raise OutOfRange("top", top, "at least 0")
        rows: Counts = np.asarray(counts, dtype=np.int64)
        same_length("counts", rows, len(values))
        named = zip(values, rows.tolist(), strict=True)
        return cls._ranked({name: count for name, count in named if name is not None}, top)

    @classmethod
    def _ranked(cls, named: Mapping[str, int], top: int) -> CategoryBins:
        ranked = sorted(named.items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(name for name, _ in ranked[:top]))

    @property
    def n_bins(self) -> int:
        """Length of the count array."""
        return len(self.categories) + 2

    @property
    def labels(self) -> tuple[str, ...]:
        """One short text per bin, in count order."""
        return (*self.categories, "other", "missing")

    def count(self, values: Iterable[str | None]) -> Counts:
        """Count the values per bin.

        Args:
            values: Texts; None (or a float NaN, as tables use) is missing.

        Returns:
            int64 counts, shape (n_bins,). Counts of two sequences add up to the counts of both together.

        >>> CategoryBins(("b", "a")).count(["a", "b", "b", "z", None])
        array([2, 1, 1, 1])
        """
        named, missing = _tally(values)
        return self._of_tally(named, missing)

    def count_distinct(self, values: Sequence[str | None], counts: ArrayLike) -> Counts:
        """Count a column of which the distinct values are known, and how often each occurs.

        What a dictionary-encoded column holds already: a million rows then cost as much as their distinct values.

        Args:
            values: Distinct texts; None is missing.
            counts: Rows of each, same length.

        Raises:
            LengthMismatch: The two differ in length.

        >>> CategoryBins(("b", "a")).count_distinct(["a", "b", "z", None], [1, 2, 1, 1])
        array([2, 1, 1, 1])
        """
        rows: Counts = np.asarray(counts, dtype=np.int64)
        same_length("counts", rows, len(values))
        named = dict(zip(values, rows.tolist(), strict=True))
        missing = named.pop(None, 0)
        return self._of_tally(cast(dict[str, int], named), missing)

    def _of_tally(self, named: Mapping[str, int], missing: int) -> Counts:
        counts = [named.get(name, 0) for name in self.categories]
        other = sum(named.values()) - sum(counts)
        return np.array([*counts, other, missing], dtype=np.int64)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `bins_from_dict` reads them back without loss."""
        return {"kind": self.kind, "categories": list(self.categories)}


Bins = NumericBins | CategoryBins


def bins_from_dict(record: Mapping[str, Json]) -> Bins:
    """Read back what `as_dict` of either kind of bins gave.

    Raises:
        OutOfRange: The kind is unknown, or its list is absent or holds values of another type.

    >>> bins_from_dict({"kind": "category", "categories": ["a"]})
    CategoryBins(categories=('a',))
    """
    kind = record.get("kind")
    if kind == NumericBins.kind:
        low, uppers = record.get("low"), record.get("uppers")
        if not isinstance(uppers, list) or not all(isinstance(edge, int | float) for edge in uppers):
            raise OutOfRange("uppers", uppers, "a list of numbers")
        if not (low is None or isinstance(low, int | float)):
            raise OutOfRange("low", low, "a number or None")
        return NumericBins(None if low is None else float(low), tuple(float(cast(float, edge)) for edge in uppers))
    if kind == CategoryBins.kind:
        categories = record.get("categories")
        if isinstance(categories, list) and all(isinstance(name, str) for name in categories):
            return CategoryBins(tuple(cast(Sequence[str], categories)))
        raise OutOfRange("categories", categories, "a list of texts")
    raise OutOfRange("kind", kind, "'numeric' or 'category'")


def _tally(values: Iterable[str | None]) -> tuple[dict[str, int], int]:
    # Counting objects first runs in C; only the distinct ones are looked at in Python.
    raw: Counter[object] = Counter(cast(list[object], values.tolist()) if isinstance(values, np.ndarray) else values)
    named: dict[str, int] = {}
    missing = 0
    for value, count in raw.items():
        if isinstance(value, str):
            named[value] = count
        elif value is None or (isinstance(value, float) and math.isnan(value)):
            missing += count
        else:
            raise OutOfRange("values", repr(value), "text or None", remedy="turn the column into text first")
    return named, missing
