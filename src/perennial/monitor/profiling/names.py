"""Finds texts among the named categories of a column, by hashes that polars gives them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.profiling.hashes import MISSING, KeptHashes, text_hashes

__all__ = ["KEPT_VALUES", "NameTable", "table_of"]

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
KEPT_VALUES = 128  # distinct values of a column that are kept; a standard error of about 10 % of their number
_TABLE_BITS = 12


class NameTable:
    """Finds the place of a text among the named categories: one multiplication and one look.

    The hashes are those of polars in this process; they are never stored.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.other, self.missing = len(names), len(names) + 1
        texts = pl.Series(names, dtype=pl.String)
        hashes = texts.hash().to_numpy()
        bits = max(_TABLE_BITS, 2 * len(names).bit_length())
        self._shift = np.uint64(64 - bits)
        self._factor, slots = self._apart(hashes)
        self._hashes = np.zeros(1 << bits, np.uint64)
        self._places = np.full(1 << bits, self.other, np.int64)
        self._hashes[slots], self._places[slots] = hashes, np.arange(len(names))
        self.own = np.concatenate([text_hashes(texts), np.array([0, MISSING], np.uint64)])  # by place

    def places(self, hashes: Hashes, lost: NDArray[np.bool_] | None) -> Ints:
        """The bin of each text by its hash (`pl.Series.hash`), in the order of `CategoryBins.count`."""
        slots = hashes * self._factor
        slots >>= self._shift
        slots = slots.view(np.int64)
        places = self._places.take(slots, mode="wrap")  # no slot lies outside, which is not looked at again
        unknown = self._hashes.take(slots, mode="wrap") != hashes
        if unknown.any():
            places[unknown] = self.other
        if lost is not None:
            places[lost] = self.missing
        return places

    def kept(self, counts: Ints) -> KeptHashes:
        """The named categories that occur, by what `places` told of them."""
        named = counts[: self.other]
        used = np.flatnonzero(named)
        order = used[np.argsort(self.own[used])]
        found = KeptHashes(capacity=len(order), hashes=self.own[order], counts=named[order])
        return KeptHashes(capacity=KEPT_VALUES) + found

    def _apart(self, hashes: Hashes) -> tuple[np.uint64, Ints]:
        """A factor that gives every name a slot of its own. The table has room for the square of their number."""
        draw = np.random.default_rng(0)
        while True:
            factor = np.uint64(int(draw.integers(0, 1 << 63)) * 2 + 1)
            slots = ((hashes * factor) >> self._shift).astype(np.int64)
            if len(set(slots.tolist())) == len(set(hashes.tolist())):
                return factor, slots


@lru_cache(maxsize=32)  # 64 KiB each
def table_of(names: tuple[str, ...]) -> NameTable:
    """The table of these names, made once: answers have the same classes window after window."""
    return NameTable(names)
