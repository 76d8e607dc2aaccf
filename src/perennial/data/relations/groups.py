"""How well the other rows that agree in one column tell a row's value in another.

    share of rows right = sum over rows [the other rows of its group hold its value most often] / rows that have others

A row is never told by itself, so columns that have nothing to do with each other come out at what the most frequent
value alone would give, however small the groups are: this is what corrects for chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perennial.data.relations.texts import Ints

__all__ = ["Groups", "Told", "joined", "told"]


@dataclass(frozen=True)
class Groups:
    """The rows that agree in `x`, and how often each value of `y` stands in each group of them.

    Attributes:
        rows: How many rows have both.
        keys: The code of `x` of each group.
        starts: Where each group begins among the pairs, which are sorted by group.
        sizes: Rows of each group.
        counts: Rows of each pair.
        values: The code of `y` of each pair.
        first: Rows of the most frequent value of each group.
        top: Its pair.
    """

    rows: int
    keys: Ints
    starts: Ints
    sizes: Ints
    counts: Ints
    values: Ints
    first: Ints
    top: Ints

    @classmethod
    def of(cls, x: Ints, y: Ints) -> Groups:
        """Codes below 0 are missing; rows without both are left out."""
        present = (x >= 0) & (y >= 0)
        x, y = x[present], y[present]
        width = int(y.max(initial=0)) + 1
        ordered = np.sort(x * width + y)
        at = np.flatnonzero(np.diff(ordered, prepend=-1))
        counts, key, values = np.diff(at, append=len(ordered)), ordered[at] // width, ordered[at] % width
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        first, top = _largest(counts, starts)
        sizes = np.add.reduceat(counts, starts) if len(starts) else starts
        return cls(len(y), key[starts], starts, sizes, counts, values, first, top)

    @property
    def holds(self) -> float:
        """The share of rows that hold their group's most frequent value."""
        return float(self.first.sum() / self.rows) if self.rows else 0.0

    def runners(self) -> tuple[Ints, Ints]:
        """How many rows of each group hold its second value, and that value's pair."""
        rest = self.counts.copy()
        rest[self.top] = 0
        return _largest(rest, self.starts)

    def strength(self, min_rows: int) -> float:
        """How strongly `x` determines `y`: (right - base) / (1 - base), base the share of the most frequent value.

        1 is a rule without exception, 0 is what columns give that have nothing to do with each other. It is 0 when
        fewer than `min_rows` rows have others in their group, or when the rule could be told from a constant by fewer
        than a third as many.

        >>> x = np.repeat(np.arange(20), 5)
        >>> Groups.of(x, x % 7).strength(30)
        1.0
        """
        has_others = self.sizes > 1
        told_rows = int(self.sizes[has_others].sum())
        if self.rows < min_rows or told_rows < min_rows:
            return 0.0
        base = float(np.bincount(self.values, weights=self.counts).max() / self.rows)
        if (1 - base) * told_rows < min_rows / 3:
            return 0.0
        second, _ = self.runners()
        right = float(self.first[has_others & (self.first - 1 > second)].sum() / told_rows)
        return (right - base) / (1 - base)


@dataclass(frozen=True)
class Told:
    """For each row what the other rows of its group say.

    Attributes:
        own: How many of them hold the row's own value (or are missing too, where it is missing).
        best: How many hold the most frequent other value.
        other: That value's code; -1 where there is none.
        others: How many there are with a value.
    """

    own: Ints
    best: Ints
    other: Ints
    others: Ints


def told(x: Ints, y: Ints) -> Told:
    """What the other rows say, for each row; where `x` is missing nobody says anything."""
    own, best, others = (np.zeros(len(x), dtype=np.int64) for _ in range(3))
    other = np.full(len(x), -1, dtype=np.int64)
    groups = Groups.of(x, y)
    if not groups.rows:
        return Told(own, best, other, others)
    top = groups.values[groups.top]
    second, runner = groups.runners()
    next_best = np.where(second > 0, groups.values[runner], -1)

    group_of = np.repeat(np.arange(len(groups.starts)), np.diff(groups.starts, append=len(groups.counts)))
    both = np.flatnonzero((x >= 0) & (y >= 0))
    width = int(y.max()) + 1
    pair = np.searchsorted(groups.keys[group_of] * width + groups.values, x[both] * width + y[both])
    group = group_of[pair]
    is_top = pair == groups.top[group]
    own[both] = groups.counts[pair] - 1
    best[both] = np.where(is_top, second[group], groups.first[group])
    other[both] = np.where(is_top, next_best[group], top[group])
    others[both] = groups.sizes[group] - 1

    blank = np.flatnonzero((x >= 0) & (y < 0))
    if len(blank):
        group_at = np.full(int(x.max()) + 1, -1, dtype=np.int64)
        group_at[groups.keys] = np.arange(len(groups.keys))
        blanks = np.bincount(x[blank], minlength=len(group_at))
        known = blank[group_at[x[blank]] >= 0]
        group = group_at[x[known]]
        own[known] = blanks[x[known]] - 1
        best[known], other[known], others[known] = groups.first[group], top[group], groups.sizes[group]
    return Told(own, best, other, others)


def joined(columns: list[Ints]) -> Ints:
    """One code for several columns together; -1 where one of them is missing."""
    together = columns[0]
    for column in columns[1:]:
        width = int(column.max(initial=0)) + 1
        both = np.where((together >= 0) & (column >= 0), together * width + column, -1)
        values, codes = np.unique(both, return_inverse=True)
        together = codes.astype(np.int64) - (1 if len(values) and values[0] < 0 else 0)
    return together


def _largest(counts: Ints, starts: Ints) -> tuple[Ints, Ints]:
    """The largest count of each group, and the position of the first that has it."""
    if not len(starts):
        return starts, starts
    largest = np.maximum.reduceat(counts, starts)
    length = np.diff(starts, append=len(counts))
    hits = np.flatnonzero(counts == np.repeat(largest, length))
    group = np.repeat(np.arange(len(starts)), length)[hits]
    return largest, hits[np.flatnonzero(np.diff(group, prepend=-1))]
