"""Which rows hold a value, or values in several columns together, that an earlier row holds already.

Values are compared by 64-bit hashes, sorted in memory; a large table takes several passes over these columns, each
for a share of the hashes, so that at most one byte of memory per row is needed. Where few rows seem to repeat others,
the values themselves decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from perennial.data.validation.pieces import Piece

__all__ = ["Repeats"]

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
VALUES = 1 << 24  # hashes sorted at a time: 128 MB
PASSES = 8  # beyond which memory grows instead: a byte for each row
FEW = 10_000  # rows up to which values are compared and not only their hashes
_HASH = "\1hash"


class Repeats:
    """The repetitions in some columns. A row in which one of them is missing repeats nothing.

    Attributes:
        count: How many rows repeat an earlier one.
    """

    def __init__(self, columns: Sequence[str], read: Callable[[], Iterator[Piece]], rows: int) -> None:
        """Look through the table.

        Args:
            columns: The columns that count together.
            read: Gives the pieces of the table, from the beginning each time.
            rows: Of the table.
        """
        self.columns = list(columns)
        passes = max(1, min(PASSES, -(-rows // VALUES)))
        found = [self._repeated(read(), share, passes, rows) for share in range(passes)]
        self._hashes: Hashes = np.sort(np.concatenate([hashes for hashes, _ in found]))
        self.count = sum(count for _, count in found)
        if 0 < self.count <= FEW:
            self._compare(read())
        self._is_seen = np.zeros(len(self._hashes), dtype=np.bool_)

    def mask(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows repeat an earlier one. Takes the pieces of the table in order, each once."""
        if not len(self._hashes):
            return pl.repeat(value=False, n=frame.height, dtype=pl.Boolean, eager=True)
        hashes = frame.select(_hash(self.columns)).to_series()
        rows = np.flatnonzero(hashes.is_not_null().to_numpy())
        values = hashes.drop_nulls().to_numpy()
        which = np.searchsorted(self._hashes, values).clip(max=len(self._hashes) - 1)
        is_near = self._hashes[which] == values
        rows, which = rows[is_near], which[is_near]
        is_first = pl.Series(which).is_first_distinct().to_numpy() & ~self._is_seen[which]
        self._is_seen[which] = True
        repeats = np.zeros(frame.height, dtype=np.bool_)
        repeats[rows] = ~is_first
        return pl.Series(repeats)

    def _repeated(self, read: Iterator[Piece], share: int, passes: int, rows: int) -> tuple[Hashes, int]:
        """The hashes of this share that occur more than once, and how many occurrences are not the first."""
        room = np.empty(rows // passes + rows // 100 + 1024, dtype=np.uint64)
        used = count = 0
        repeated: list[Hashes] = []

        def settle() -> int:
            """Sort what is there and keep each hash once."""
            held = room[:used]
            held.sort()
            again = held[1:] == held[:-1]
            if not again.any():
                return used
            repeated.append(np.unique(held[1:][again]))
            kept = np.concatenate([held[:1], held[1:][~again]])
            room[: len(kept)] = kept
            return len(kept)

        for piece in read:
            plan = piece.plan.select(_hash(self.columns).alias(_HASH)).drop_nulls()
            plan = plan if passes == 1 else plan.filter(pl.col(_HASH) % passes == share)
            values = plan.collect().to_series().to_numpy()
            if used + len(values) > len(room):
                before, used = used, settle()
                count += before - used
            if used + len(values) > len(room):
                room = np.concatenate([room, np.empty(len(room) + len(values), dtype=np.uint64)])
            room[used : used + len(values)] = values
            used += len(values)
        count += used - settle()
        return np.unique(np.concatenate([*repeated, np.empty(0, dtype=np.uint64)])), count

    def _compare(self, read: Iterator[Piece]) -> None:
        """Drop what only its hash repeats."""
        suspects = pl.Series(self._hashes).implode()
        near: list[pl.DataFrame] = []
        for piece in read:
            plan = piece.plan.select(*self.columns, _hash(self.columns).alias(_HASH))
            near.append(plan.filter(pl.col(_HASH).is_in(suspects)).collect())
        groups = pl.concat(near).group_by(_HASH, *self.columns).len().filter(pl.col("len") > 1)
        self._hashes = np.sort(groups[_HASH].unique().to_numpy())
        self.count = int(groups["len"].sum()) - groups.height


def _hash(columns: Sequence[str]) -> pl.Expr:
    """One hash of all columns; null when a value is missing."""
    mixed = pl.lit(0, dtype=pl.UInt64)
    for index, name in enumerate(columns):
        mixed = (mixed ^ pl.col(name).hash(index)).hash(index) if index else pl.col(name).hash()
    return pl.when(pl.all_horizontal(pl.col(name).is_not_null() for name in columns)).then(mixed)
