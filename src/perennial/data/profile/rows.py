"""What is kept of whole rows, in bounded size: a uniform sample of them, and how many are repeated.

Sample    up to 10,000 rows, each row of the table equally likely
Repeats   share of rows that an earlier row equals: exact up to 32,768 different rows, then off by 0.6 % of rows at most
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import polars as pl
from msgspec import Struct, field

from perennial.data.profile.arrays import Hashes, Ints

__all__ = ["Repeats", "Sample", "Sampler", "sample_size"]

CELLS = 1_000_000  # of a sample: rows times columns
LEAST, MOST = 500, 10_000  # rows of a sample
LETTERS = 100  # of a text that a sample keeps
REPEATS = 1 << 15  # different rows that are followed


def sample_size(columns: int) -> int:
    """Rows of the sample of a table with this many columns.

    >>> sample_size(10), sample_size(1000)
    (10000, 1000)
    """
    return max(LEAST, min(MOST, CELLS // max(columns, 1)))


class Sample(Struct, eq=False):
    """Rows as an Arrow file, each with the random tag that chose it: the rows with the smallest tags are kept."""

    size: int = LEAST
    tags: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    rows: bytes = b""

    def frame(self) -> pl.DataFrame:
        """The rows."""
        return pl.read_ipc(io.BytesIO(self.rows)) if self.rows else pl.DataFrame()


class Sampler:
    """Draws a `Sample` from batches of rows."""

    def __init__(self, size: int, seed: Sequence[int]) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._tags: Hashes = np.zeros(0, np.uint64)
        self._frames: list[pl.DataFrame] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Take a batch in plain types."""
        tags = self._random.integers(0, 2**64, frame.height, dtype=np.uint64)
        if self._tags.size >= self._size:
            chosen = np.flatnonzero(tags < np.partition(self._tags, self._size - 1)[self._size - 1])
        else:
            chosen = np.argsort(tags)[: self._size]
        self._take(_own(frame[chosen].select(_light(frame.schema))), tags[chosen])

    def merge(self, sample: Sample) -> None:
        self._take(sample.frame(), sample.tags)

    def frame(self) -> pl.DataFrame:
        """The rows with the smallest tags."""
        if self._frames:
            best = np.argsort(self._tags, kind="stable")[: self._size]
            self._frames, self._tags = [pl.concat(self._frames)[best]], self._tags[best]
        return self._frames[0] if self._frames else pl.DataFrame()

    def sample(self) -> Sample:
        """The same, to be kept."""
        target = io.BytesIO()
        self.frame().write_ipc(target, compression="zstd")
        return Sample(size=self._size, tags=self._tags, rows=target.getvalue())

    def _take(self, frame: pl.DataFrame, tags: Hashes) -> None:
        if tags.size:
            self._frames.append(frame)
            self._tags = np.concatenate([self._tags, tags])
        if self._tags.size > 2 * self._size:
            self.frame()


class Repeats(Struct, eq=False):
    """Counts of the rows whose hash begins with `zeros` zeros: a sample of the different rows, with exact counts.

    Source: Gibbons (2001), VLDB 541-550, distinct sampling.
    """

    zeros: int = 0
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, hashes: Hashes) -> None:
        self._combine(hashes, np.ones(hashes.size, np.int64))

    def merge(self, other: Repeats) -> None:
        self.zeros = max(self.zeros, other.zeros)
        self._combine(other.hashes, other.counts)

    @property
    def is_exact(self) -> bool:
        return self.zeros == 0

    @property
    def share(self) -> float:
        """Share of all rows that an earlier row equals."""
        total = int(self.counts.sum())
        return (total - self.counts.size) / total if total else 0.0

    def _combine(self, hashes: Hashes, counts: Ints) -> None:
        followed = self._follows(hashes)
        hashes = np.concatenate([self.hashes, hashes[followed]])
        self.hashes, places = np.unique(hashes, return_inverse=True)
        weights = np.concatenate([self.counts, counts[followed]])
        self.counts = np.bincount(places, weights=weights, minlength=self.hashes.size).astype(np.int64)
        while self.hashes.size > REPEATS:
            self.zeros += 1
            stay = self._follows(self.hashes)
            self.hashes, self.counts = self.hashes[stay], self.counts[stay]

    def _follows(self, hashes: Hashes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return hashes >> np.uint64(64 - self.zeros) == 0 if self.zeros else np.ones(hashes.size, np.bool_)


def _own(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in memory of their own: a text cut or taken from a column would keep all of that column in memory."""
    return cast(pl.DataFrame, pl.from_arrow(frame.to_arrow(compat_level=pl.CompatLevel.oldest())))


def _light(schema: pl.Schema) -> Iterator[pl.Expr]:
    """The columns that a sample keeps, long texts by their beginning; nested values and bytes stay out."""
    for name, kind in schema.items():
        if isinstance(kind, pl.String):
            yield pl.col(name).str.slice(0, LETTERS)
        elif isinstance(kind, pl.Int64 | pl.Float64 | pl.Boolean):
            yield pl.col(name)
