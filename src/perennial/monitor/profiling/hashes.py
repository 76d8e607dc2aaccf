"""A sample of the distinct values of a column, or of the distinct rows of a window, that adds up.

Every value has a 64-bit hash that depends on its content alone, today and in any later version. Kept are the hashes
below a limit, with exact counts; the limit is halved until at most so many are left (distinct sampling). Which hashes
are kept depends on the set of values only, so shards, days and orders of addition all give the same sample; and two
windows keep the same hashes, so that what they share can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
_FREE = np.arange(_SLOTS, dtype=np.uint64) ^ np.uint64(1)  # of an empty slot: a value that never belongs there
_FIRST = 512  # values that are looked at first, then eight times as many and so on: each part lowers the limit
_ENOUGH = 4096  # values below the limit that are worth a look
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


def number_hashes(
    values: Floats, *, room: tuple[Hashes, Hashes] | None = None, has_negative_zero: bool = True
) -> Hashes:
    """A hash of each number; 0 and -0 have the same. NaN are for the caller to set apart.

    Args:
        values: shape (n,).
        room: Two arrays of that length that may be written to; the hashes are in the first.
        has_negative_zero: Some value may be -0; False saves the pass that makes it 0.
    """
    hashes, part = room or (np.empty(len(values), np.uint64), np.empty(len(values), np.uint64))
    bits = (np.add(values, 0.0, out=hashes.view(np.float64)) if has_negative_zero else values).view(np.uint64)
    np.right_shift(bits, np.uint64(32), out=part)
    np.bitwise_xor(bits, part, out=hashes)
    hashes *= _BASE
    np.right_shift(hashes, np.uint64(32), out=part)
    hashes ^= part
    hashes *= _BASE_INVERSE
    return hashes


def text_hashes(values: pl.Series) -> Hashes:
    """A hash of the first 256 bytes of each text.

    A polynomial in its bytes modulo 2^64, by differences of one running sum over all texts of the column; scrambled.
    """
    edges, data = _letters(values)
    if (edges[1:] - edges[:-1]).max(initial=0) > LETTERS_BYTES:
        edges, data = _letters(values.str.slice(0, LETTERS_BYTES // 4))
    starts, ends = edges[:-1], edges[1:]
    lengths = ends - starts
    powers = _powers(_BASE, len(data) + 1)
    running = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[:-1], out=running[1:])
    hashes = (running[ends] - running[starts]) * _powers(_BASE_INVERSE, len(data) + 1)[starts]
    hashes = scrambled(hashes ^ (lengths.astype(np.uint64) << np.uint64(32)))
    if values.null_count():
        hashes[values.is_null().to_numpy()] = MISSING
    return hashes


def _letters(values: pl.Series) -> tuple[Ints, NDArray[np.uint8]]:
    """Where each text starts and ends among the bytes of all of them; null is any text."""
    arrow = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, letters = arrow.buffers()
    edges = np.frombuffer(offsets, dtype=np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    return edges - edges[0], np.frombuffer(letters or b"", dtype=np.uint8)[edges[0] : edges[-1]]


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
        hashes = np.concatenate([self.hashes, other.hashes])
        counts = np.concatenate([self.counts, other.counts])
        if not len(hashes):
            return KeptHashes(capacity=self.capacity, halvings=halvings)
        order = np.argsort(hashes)
        hashes, counts = hashes[order], counts[order]
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        return _thinned(self.capacity, halvings, hashes[starts], np.add.reduceat(counts, starts))

    def shared(self, other: KeptHashes) -> tuple[int, int]:
        """Of the hashes that both would keep: how many of ours the other has too, and how many of ours there are."""
        halvings = max(self.halvings, other.halvings)
        mine, theirs = (_below(one.hashes, halvings) for one in (self, other))
        if not len(theirs):
            return 0, len(mine)
        at = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
        return int(np.count_nonzero(theirs[at] == mine)), len(mine)

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

    A hash that is kept already is found in a table by twelve of its bits, so that a column with few values is never
    sorted, and one with many values loses most of a batch to the limit first.
    """

    def __init__(self, capacity: int) -> None:
        self._kept = KeptHashes(capacity=capacity)
        self._is_begun = False
        self._waiting: list[Hashes] = []  # few hashes at a time are not worth a look: they wait for more
        self._waiting_rows = 0
        self._table = _FREE.copy()  # kept hashes by slot; where two have the same, one is not found here
        self._places = np.zeros(_SLOTS, np.int64)  # theirs among the kept ones
        self._counts = np.zeros(_SLOTS, np.int64)  # found here since the kept ones were last counted

    def add(self, hashes: Hashes) -> None:
        """Count a batch."""
        if not self._is_begun:
            self._begin(hashes)
        start, size = 0, len(hashes) if self._is_begun else _FIRST
        while start < len(hashes):
            part, limit = hashes[start : start + size], self._kept.halvings
            # A copy either way: the caller goes on with its array while these wait.
            part = part[part < _limit(limit)] if limit else part.copy()
            self._waiting.append(part)
            self._waiting_rows += len(part)
            if self._waiting_rows >= (_ENOUGH if self._is_begun else 1):
                self._look()
            start, size = start + size, 8 * size
        self._is_begun = True

    def _begin(self, hashes: Hashes) -> None:
        """Halve the limit at once as often as it will be anyway: more distinct hashes lie below it than are kept."""
        capacity = self._kept.capacity
        halvings = (len(hashes) // capacity).bit_length() - 2
        if halvings > 0 and len(set(_below(hashes, halvings).tolist())) > capacity:
            self._kept, self._is_begun = KeptHashes(capacity=capacity, halvings=halvings), True

    def kept(self) -> KeptHashes:
        """What is kept of all that was added."""
        if self._waiting_rows:
            self._look()
        return self._counted()

    def _look(self) -> None:
        hashes = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting, self._waiting_rows = [], 0
        slots = (hashes & np.uint64(_SLOTS - 1)).view(np.int64)
        is_kept = self._table.take(slots, mode="wrap") == hashes
        if is_kept.all():
            self._counts += np.bincount(slots, minlength=_SLOTS)
            return
        self._counts += np.bincount(slots[is_kept], minlength=_SLOTS)
        new = hashes[~is_kept]
        before = self._counted()
        self._kept = kept = before + KeptHashes(
            capacity=len(new), halvings=before.halvings, hashes=new, counts=np.ones(len(new), np.int64)
        )
        slots = (kept.hashes & np.uint64(_SLOTS - 1)).view(np.int64)
        self._table[:], self._counts[:] = _FREE, 0
        self._places[slots] = np.arange(len(slots))
        self._table[slots] = kept.hashes[self._places[slots]]

    def _counted(self) -> KeptHashes:
        used = np.flatnonzero(self._counts > 0)
        counts = self._kept.counts.copy()
        counts[self._places[used]] += self._counts[used]
        return replace(self._kept, counts=counts)


def _limit(halvings: int) -> np.uint64:
    return np.uint64((1 << 64 - halvings) - 1) if halvings else np.uint64((1 << 64) - 1)


def _below(hashes: Hashes, halvings: int) -> Hashes:
    return hashes[hashes < _limit(halvings)] if halvings else hashes


def _thinned(capacity: int, halvings: int, hashes: Hashes, counts: Ints) -> KeptHashes:
    """Of ascending hashes those below the limit; it is halved until they are few enough."""
    if len(hashes) > capacity:  # the first that is too many must not lie below the limit, 2^(64 - halvings) - 1
        halvings = max(halvings, 1, 65 - (int(hashes[capacity]) + 1).bit_length())
    end = int(np.searchsorted(hashes, _limit(halvings))) if halvings else len(hashes)
    return KeptHashes(capacity=capacity, halvings=halvings, hashes=hashes[:end].copy(), counts=counts[:end].copy())
