"""A sample of the distinct values of a column, or of the distinct rows of a window, that adds up.

Every value has a 64-bit hash that depends on its content alone, today and in any later version. Kept are the hashes
below a limit, with exact counts; the limit is halved until at most so many are left (distinct sampling). Which hashes
are kept depends on the set of values only, so shards, days and orders of addition all give the same sample; and two
windows keep the same hashes, so that what they share can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["HashCounter", "KeptHashes", "number_hashes", "scrambled", "text_hashes"]

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
LETTERS_BYTES = 256  # of a text that its hash looks at
MISSING = np.uint64(0x6D697373696E6721)
_SLOTS = 4096
_FIRST = 4096  # values that are looked at first, then twice as many and so on: each part lowers the limit for the next
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that its powers have inverses modulo 2^64
_BASE_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))


def scrambled(bits: Hashes) -> Hashes:
    """SplitMix64's finalizer, in place."""
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


def number_hashes(values: Floats) -> Hashes:
    """A hash of each number; 0 and -0 have the same. NaN are for the caller to set apart."""
    hashes = (values + 0.0).view(np.uint64)
    part = hashes >> np.uint64(32)
    hashes ^= part
    hashes *= _BASE
    np.right_shift(hashes, np.uint64(32), out=part)
    hashes ^= part
    hashes *= _BASE_INVERSE
    return hashes


def text_hashes(values: pl.Series) -> Hashes:
    """A hash of the first 256 bytes of each text.

    A polynomial in its bytes modulo 2^64, by differences of one running sum over all texts of the column; scrambled.
    """
    longest = cast(int | None, values.str.len_bytes().max())
    texts = values if (longest or 0) <= LETTERS_BYTES else values.str.slice(0, LETTERS_BYTES // 4)
    arrow = texts.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, letters = arrow.buffers()
    edges = np.frombuffer(offsets, dtype=np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    data = np.frombuffer(letters or b"", dtype=np.uint8)[edges[0] : edges[-1]]
    starts, ends = edges[:-1] - edges[0], edges[1:] - edges[0]
    lengths = ends - starts
    powers = _powers(_BASE, len(data) + 1)
    running = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[:-1], out=running[1:])
    hashes = (running[ends] - running[starts]) * _powers(_BASE_INVERSE, len(data) + 1)[starts]
    hashes = scrambled(hashes ^ (lengths.astype(np.uint64) << np.uint64(32)))
    lost = values.is_null().to_numpy()
    if lost.any():
        hashes[lost] = MISSING
    return hashes


def _powers(base: np.uint64, count: int) -> Hashes:
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptHashes:
    """The kept hashes and how many rows have each.

    Attributes:
        capacity: At most so many are kept.
        halvings: How often the limit was halved: a hash is kept with probability 2^-halvings.
        hashes: Ascending.
        counts: Rows of each.
    """

    capacity: int
    halvings: int = 0
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def is_complete(self) -> bool:
        """Every distinct value is kept."""
        return self.halvings == 0

    @property
    def distinct(self) -> float:
        """How many distinct values there are; a standard error of about 1/sqrt(kept) where not complete."""
        return float(len(self.hashes)) * 2.0**self.halvings

    def __add__(self, other: Self) -> KeptHashes:
        halvings = max(self.halvings, other.halvings)
        hashes, places = np.unique(np.concatenate([self.hashes, other.hashes]), return_inverse=True)
        counts = np.zeros(len(hashes), np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return _thinned(self.capacity, halvings, hashes, counts)

    def shared(self, other: KeptHashes) -> tuple[int, int]:
        """Of the hashes that both would keep: how many of ours the other has too, and how many of ours there are."""
        halvings = max(self.halvings, other.halvings)
        mine, theirs = (_below(one.hashes, halvings) for one in (self, other))
        return int(np.isin(mine, theirs).sum()), len(mine)

    def as_dict(self) -> dict[str, object]:
        """For msgpack."""
        return {
            "capacity": self.capacity,
            "halvings": self.halvings,
            "hashes": self.hashes.astype("<u8").tobytes(),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, object]) -> KeptHashes:
        """What `as_dict` gave."""
        return cls(
            capacity=cast(int, stored["capacity"]),
            halvings=cast(int, stored["halvings"]),
            hashes=np.frombuffer(cast(bytes, stored["hashes"]), dtype="<u8").astype(np.uint64),
            counts=np.asarray(stored["counts"], dtype=np.int64),
        )


class HashCounter:
    """Counts hashes in one pass; `kept` gives what is kept of them.

    A hash that was met before is found in a table by twelve of its bits, so that a column with few values is never
    sorted, and one with many values loses most of a batch to the limit first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._halvings = 0
        self._is_begun = False
        self._waiting: list[Hashes] = []  # few hashes at a time are not worth a look: they wait for more
        self._waiting_rows = 0
        self._table = np.zeros(_SLOTS, np.uint64)  # 0 is free: what hashes to 0 itself is counted the slow way
        self._counts = np.zeros(_SLOTS, np.int64)
        self._rest = KeptHashes(capacity=capacity)

    def add(self, hashes: Hashes) -> None:
        """Count a batch."""
        start, size = 0, len(hashes) if self._is_begun else _FIRST
        while start < len(hashes):
            part = hashes[start : start + size]
            # A copy either way: the caller goes on with its array while these wait.
            part = part[part < _limit(self._halvings)] if self._halvings else part.copy()
            self._waiting.append(part)
            self._waiting_rows += len(part)
            if self._waiting_rows >= _FIRST:
                self._look()
            start, size = start + size, 2 * size
        self._is_begun = True

    def kept(self) -> KeptHashes:
        """What is kept of all that was added."""
        self._look()
        used = np.flatnonzero(self._counts)
        order = used[np.argsort(self._table[used])]
        found = _thinned(self._capacity, self._halvings, self._table[order], self._counts[order])
        return found + self._rest

    def _look(self) -> None:
        if not self._waiting_rows:
            return
        hashes = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting, self._waiting_rows = [], 0
        slots = (hashes & np.uint64(_SLOTS - 1)).astype(np.intp)
        hit = (self._table[slots] == hashes) & (hashes != 0)
        if hit.all():
            self._counts += np.bincount(slots, minlength=_SLOTS)
            return
        self._counts += np.bincount(slots[hit], minlength=_SLOTS)
        new, counts = np.unique(hashes[~hit], return_counts=True)
        new_slots, first = np.unique((new & np.uint64(_SLOTS - 1)).astype(np.intp), return_index=True)
        is_free = (self._table[new_slots] == 0) & (new[first] != 0)
        placed = first[is_free]
        self._table[new_slots[is_free]] = new[placed]
        self._counts[new_slots[is_free]] = counts[placed]
        left = np.ones(len(new), np.bool_)
        left[placed] = False
        if left.any():
            self._rest += KeptHashes(capacity=len(new), halvings=self._halvings, hashes=new[left], counts=counts[left])
        self._thin()

    def _thin(self) -> None:
        known = np.concatenate([self._table[self._counts > 0], self._rest.hashes])
        halvings = max(self._halvings, self._rest.halvings)
        while len(known) > self._capacity:
            halvings += 1
            known = _below(known, halvings)
        if halvings > self._halvings:
            self._halvings = halvings
            gone = self._table >= _limit(halvings)
            self._table[gone], self._counts[gone] = 0, 0
            rest = self._rest
            stay = rest.hashes < _limit(halvings)
            self._rest = KeptHashes(
                capacity=self._capacity, halvings=halvings, hashes=rest.hashes[stay], counts=rest.counts[stay]
            )


def _limit(halvings: int) -> np.uint64:
    return np.uint64((1 << 64 - halvings) - 1) if halvings else np.uint64((1 << 64) - 1)


def _below(hashes: Hashes, halvings: int) -> Hashes:
    return hashes[hashes < _limit(halvings)] if halvings else hashes


def _thinned(capacity: int, halvings: int, hashes: Hashes, counts: Ints) -> KeptHashes:
    stay = hashes < _limit(halvings) if halvings else np.ones(len(hashes), np.bool_)
    while int(stay.sum()) > capacity:
        halvings += 1
        stay = hashes < _limit(halvings)
    return KeptHashes(capacity=capacity, halvings=halvings, hashes=hashes[stay], counts=counts[stay])
