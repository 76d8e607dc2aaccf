"""Find the groups of rows on which a model errs most: conjunctions of a few column values, searched exactly.

What is found is biased upward, because it was searched for: show it as a fact only after it held on rows that the
search did not see.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Counts, Floats, Ints, Mask, finite_vector, same_length
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Json, plain

__all__ = ["FoundSlice", "slice_line"]

MIN_ROWS: Final = 32  # the authors' least size of a slice, or a hundredth of the rows where that is more
MAX_CELLS: Final = 4_000_000  # more cells than this are counted by sorting instead of by an array of all of them
SAMPLE: Final = 20_000  # rows looked at to see whether joining equal ones pays


@dataclass(frozen=True, slots=True)
class FoundSlice:
    """Rows on which every one of `predicates` holds.

    Attributes:
        predicates: Column index -> code.
        rows: How many rows it has.
        mean_error: Mean error over them.
        score: Above 0 where the slice is worse than average by more than its smallness costs.
    """

    predicates: Mapping[int, int]
    rows: int
    mean_error: float
    score: float

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; column indices as text."""
        return {
            "predicates": plain(self.predicates),
            "rows": self.rows,
            "mean_error": self.mean_error,
            "score": self.score,
        }


def slice_line(
    codes: ArrayLike,
    errors: ArrayLike,
    *,
    alpha: float = 0.95,
    min_rows: int | None = None,
    top: int = 10,
    max_predicates: int = 3,
) -> list[FoundSlice]:
    """The `top` slices by score, none missed; best first.

    score = alpha (mean error of the slice / mean error - 1) - (1 - alpha) (rows / rows of the slice - 1), above 0.
    Slices are searched by number of predicates; a slice is taken further only while an upper bound on the score of
    anything inside it, from its size, the sum of its errors above 0 and its largest error, can still reach the list.

    Args:
        codes: Whole numbers, shape (n, d): 1..k for the values (or bins) of a column, 0 for no value.
        errors: Error of each row, shape (n,): losses, or losses above what was expected (then some are negative). The
            mean must be above 0.
        alpha: Weight of the error against the size, in (0, 1].
        min_rows: Least rows of a slice; max(32, n/100) if None.
        top: Length of the list.
        max_predicates: Largest number of columns in a slice.

    Returns:
        At most `top` slices; an empty list where no error is above 0.

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A code is negative, an error not finite, their mean below 0, or a setting out of range.
        NothingToCount: There is no row.

    Source: Sagadeeva & Boehm (2021), SliceLine: Fast, Linear-Algebra-based Slice Finding for ML Model Debugging,
    SIGMOD.

    >>> codes = np.array([[1, 1], [1, 2], [2, 1], [2, 2]] * 100)
    >>> found = slice_line(codes, [0.0, 0.0, 0.0, 1.0] * 100)
    >>> dict(found[0].predicates), found[0].rows, round(found[0].score, 2)
    ({0: 2, 1: 2}, 100, 2.7)
    """
    table, losses = _checked(codes, errors, alpha, top, max_predicates)
    n = len(losses)
    if not bool((losses > 0.0).any()):
        return []
    mean = float(losses.mean())
    if mean <= 0.0:
        raise OutOfRange(
            "mean of errors", mean, "above 0", remedy="set negative errors to 0: slices are about what went wrong"
        )
    smallest = max(MIN_ROWS, math.ceil(n / 100)) if min_rows is None else min_rows
    if smallest < 1:
        raise OutOfRange("min_rows", smallest, "at least 1")
    score = _Score(n=n, mean=mean, alpha=alpha, smallest=smallest)
    best = _Best(top)
    rows = _joined(_Rows.of(table, losses))
    columns = _first_level(rows, score, best)
    _deeper(rows, columns, score, best, max_predicates=max_predicates)
    return best.slices()


class _Score(NamedTuple):
    n: int
    mean: float
    alpha: float
    smallest: int

    def of(self, sizes: Floats, sums: Floats) -> Floats:
        return self.alpha * (sums / sizes / self.mean - 1.0) - (1.0 - self.alpha) * (self.n / sizes - 1.0)

    def bound(self, sizes: Floats, sums: Floats, largest: Floats) -> Floats:
        """No slice inside one of this size, sum of errors above 0 and largest error scores higher.

        Of a part of s rows the errors add up to at most min(sum, s * largest). The score of that rises up to
        s = sum / largest and is monotone after it, so its maximum is there or at either end.
        """
        turn = np.clip(sums / np.maximum(largest, 1e-300), self.smallest, sizes)
        found = np.full(len(sizes), -np.inf)
        for size in (np.full(len(sizes), float(self.smallest)), turn, sizes):
            found = np.maximum(found, self.of(size, np.minimum(sums, size * largest)))
        return found


class _Best:
    """The highest scores so far, at most `top`; equal ones in the order in which they were found."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._heap: list[tuple[float, int, FoundSlice]] = []
        self._seen = 0

    @property
    def threshold(self) -> float:
        return self._heap[0][0] if len(self._heap) == self._top else 0.0

    def offer(self, found: FoundSlice) -> None:
        self._seen += 1
        item = (found.score, -self._seen, found)
        if found.score <= 0.0:
            return
        if len(self._heap) < self._top:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def slices(self) -> list[FoundSlice]:
        return [item[2] for item in sorted(self._heap, key=lambda item: (-item[0], -item[1]))]


class _Rows(NamedTuple):
    """Rows, or groups of equal ones: codes by column (d, n), rows in each, sum of errors, and of those above 0."""

    codes: NDArray[np.int32]
    weight: Floats
    total: Floats
    above: Floats
    largest: Floats

    @classmethod
    def of(cls, table: NDArray[np.int32], losses: Floats) -> _Rows:
        return cls(table, np.ones(len(losses)), losses, np.maximum(losses, 0.0), losses)


def _joined(rows: _Rows) -> _Rows:
    """Equal rows as one, where that leaves less than half of them."""
    n = rows.codes.shape[1]
    if n > SAMPLE:
        sample = np.random.default_rng(0).choice(n, SAMPLE, replace=False)
        # Of m rows drawn from D equally frequent ones about m^2 / (2 D) repeat another one.
        repeats = SAMPLE - 1 - int(_groups(rows.codes[:, sample]).max())
        if repeats * n < SAMPLE**2:
            return rows
    group = _groups(rows.codes)
    count = int(group.max()) + 1
    if count > n // 2:
        return rows
    first = np.empty(count, dtype=np.int64)
    first[group[::-1]] = np.arange(n - 1, -1, -1)
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, group, rows.largest)
    return _Rows(
        np.ascontiguousarray(rows.codes[:, first]),
        weight=_sums(group, rows.weight, count),
        total=_sums(group, rows.total, count),
        above=_sums(group, rows.above, count),
        largest=largest,
    )


def _groups(codes: NDArray[np.int32]) -> Ints:
    """A number for each distinct row, the same for equal rows."""
    group, count = np.zeros(codes.shape[1], dtype=np.int64), 1
    for column in codes:
        values = int(column.max(initial=0)) + 1
        key = group * values + column
        if count * values > MAX_CELLS:
            found, group = np.unique(key, return_inverse=True)
            count = len(found)
        else:
            occurs = np.zeros(count * values, dtype=np.bool_)
            occurs[key] = True
            number: Counts = np.cumsum(occurs, dtype=np.int64)
            group, count = number[key] - 1, int(number[-1])
    return group


def _sums(group: NDArray[np.integer], weights: Floats, groups: int) -> Floats:
    return np.bincount(group, weights, groups).astype(np.float64, copy=False)


class _Column(NamedTuple):
    """What is left of one column: for each row the place of its value among those kept, -1 for none."""

    at: int
    place: NDArray[np.int32]
    codes: Ints
    largest: Floats
    """The largest error of each kept value."""


def _first_level(rows: _Rows, score: _Score, best: _Best) -> list[_Column]:
    kept: list[_Column] = []
    for index, column in enumerate(rows.codes):
        cells, count = (column, int(column.max(initial=0)) + 1)
        if count > MAX_CELLS:
            values, cells = np.unique(column, return_inverse=True)
        else:
            values = np.arange(count)
        sizes = _sums(cells, rows.weight, len(values))
        total = _sums(cells, rows.total, len(values))
        above = _sums(cells, rows.above, len(values))
        largest = np.full(len(values), -np.inf)
        np.maximum.at(largest, cells, rows.largest)
        usable: Mask = (values > 0) & (sizes >= score.smallest)
        for place in np.flatnonzero(usable):
            value = float(score.of(sizes[place : place + 1], total[place : place + 1])[0])
            size = round(float(sizes[place]))
            best.offer(FoundSlice(MappingProxyType({index: int(values[place])}), size, total[place] / size, value))
        usable &= (score.bound(np.maximum(sizes, 1.0), above, largest) > best.threshold) & (largest > 0.0)
        alive = np.flatnonzero(usable)
        if len(alive):
            place_of = np.full(len(values), -1, dtype=np.int32)
            place_of[alive] = np.arange(len(alive))
            kept.append(_Column(index, place_of[cells], values[alive].astype(np.int64), largest[alive]))
    return kept


class _Prefix(NamedTuple):
    """The live slices over some columns: which rows are in any, in which, and what each demands."""

    columns: tuple[int, ...]
    rows: Ints
    cell: Ints
    predicates: list[tuple[int, ...]]
    """For each cell the place of its value in each column."""
    largest: Floats


def _deeper(rows: _Rows, columns: list[_Column], score: _Score, best: _Best, *, max_predicates: int) -> None:
    """All slices of 2 and more predicates, each column set by its first columns and one more.

    By levels, as small slices with few predicates raise the threshold for the many with more. What is kept from a level
    is which sets of columns still hold a live slice and which slices those are; rows are found again from them, as
    keeping them for every set would need memory without bound.
    """
    alive: dict[tuple[int, ...], set[tuple[int, ...]]] = {
        (at,): {(place,) for place in range(len(column.codes))} for at, column in enumerate(columns)
    }
    for level in range(2, max_predicates + 1):
        found: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        for first, cells in alive.items():
            others = [
                at
                for at in range(first[-1] + 1, len(columns))
                if all((*part, at) in alive for part in combinations(first, level - 2))
            ]
            if not others:
                continue
            prefix = _prefix(rows, columns, first, cells)
            for at in others:
                live = _joint(rows, columns, prefix, at, score=score, best=best, last=level == max_predicates)
                if live:
                    found[*first, at] = live
        alive = found


def _prefix(rows: _Rows, columns: list[_Column], first: tuple[int, ...], cells: set[tuple[int, ...]]) -> _Prefix:
    shape = tuple(len(columns[at].codes) for at in first)
    predicates = sorted(cells)
    keys = np.array([_key(places, shape) for places in predicates], dtype=np.int64)
    inside: Mask = columns[first[0]].place >= 0
    for at in first[1:]:
        inside &= columns[at].place >= 0
    index = np.flatnonzero(inside)
    key = np.zeros(len(index), dtype=np.int64)
    for at, size in zip(first, shape, strict=True):
        key = key * size + columns[at].place[index]
    place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    known: Mask = keys[place] == key
    largest = np.array(
        [min(columns[at].largest[place] for at, place in zip(first, cell, strict=True)) for cell in predicates]
    )
    return _Prefix(first, index[known], place[known], predicates, largest)


def _joint(
    rows: _Rows, columns: list[_Column], prefix: _Prefix, at: int, *, score: _Score, best: _Best, last: bool
) -> set[tuple[int, ...]]:
    """Offer every slice over the prefix's columns and this one; those that may hold a better one, unless `last`."""
    column = columns[at]
    width = len(column.codes)
    place = column.place[prefix.rows]
    index = prefix.rows
    key = prefix.cell * width + place
    if bool((place < 0).any()):
        inside = place >= 0
        index, key = index[inside], key[inside]
    if len(index) == 0:
        return set()
    cells: Ints = np.arange(len(prefix.predicates) * width)
    if len(cells) > MAX_CELLS:
        cells, key = np.unique(key, return_inverse=True)
    sizes = _sums(key, rows.weight[index], len(cells))
    total = _sums(key, rows.total[index], len(cells))
    above = _sums(key, rows.above[index], len(cells)) if not last else total
    big = np.flatnonzero(sizes >= score.smallest)
    cells, sizes, total = cells[big], sizes[big], total[big]
    scores = score.of(sizes, total)
    for found in np.flatnonzero(scores > best.threshold):
        before, value = divmod(int(cells[found]), width)
        predicates = {
            columns[first].at: int(columns[first].codes[where])
            for first, where in zip(prefix.columns, prefix.predicates[before], strict=True)
        }
        predicates[column.at] = int(column.codes[value])
        size = round(float(sizes[found]))
        best.offer(FoundSlice(MappingProxyType(predicates), size, float(total[found]) / size, float(scores[found])))
    if last:
        return set()
    above = above[big]
    largest = np.minimum(prefix.largest[cells // width], column.largest[cells % width])
    live = np.flatnonzero(score.bound(sizes, above, largest) > best.threshold)
    return {(*prefix.predicates[int(cells[i]) // width], int(cells[i]) % width) for i in live}


def _key(places: tuple[int, ...], shape: tuple[int, ...]) -> int:
    key = 0
    for place, size in zip(places, shape, strict=True):
        key = key * size + place
    return key


def _checked(
    codes: ArrayLike, errors: ArrayLike, alpha: float, top: int, max_predicates: int
) -> tuple[NDArray[np.int32], Floats]:
    losses = finite_vector(errors, "errors")
    given: NDArray[np.generic] = np.asarray(codes)
    if given.ndim != 2 or given.dtype.kind not in "iub":
        raise OutOfRange("codes", f"{given.dtype} of shape {given.shape}", "whole numbers of shape (n, d)")
    same_length("codes", given, len(losses))
    if len(losses) == 0:
        raise NothingToCount("errors")
    if given.size and (int(given.min()) < 0 or int(given.max()) >= 2**31):
        raise OutOfRange("codes", f"{given.min()} to {given.max()}", "0 for no value, 1..k for values, below 2^31")
    if not 0.0 < alpha <= 1.0:
        raise OutOfRange("alpha", alpha, "above 0 and at most 1")
    for name, value in (("top", top), ("max_predicates", max_predicates)):
        if value < 1:
            raise OutOfRange(name, value, "at least 1")
    return np.ascontiguousarray(given.T, dtype=np.int32), losses
