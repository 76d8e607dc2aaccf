"""A table as it looks, from one pass over its rows, at any size.

    profile("rides.parquet", target="tips")       # displays itself in a notebook
    open("rides.html", "w").write(page(profile("rides.parquet")))

A `Profile` is small, keeps as JSON, and profiles of parts of a table merge into the profile of the whole. It tells of
each column what `columns` keeps, of rows what `rows` keeps; what two columns have to do with each other is read from
the sample of rows (`association`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import polars as pl
from msgspec import Struct

from perennial.data.column_types import column_type
from perennial.data.profile.arrays import Hashes, decode, encode
from perennial.data.profile.columns import ColumnProfile, Kind, kind_of, plain
from perennial.data.profile.rows import Repeats, Sample, Sampler, sample_size
from perennial.data.scan import BATCH_ROWS, Scan, scan
from perennial.errors import DataError, NotFound

__all__ = ["Profile", "bounded_batches", "profile"]

BATCH_BYTES = 8 << 20  # of the values of a batch: what bounds memory when rows are wide
FIRST_ROWS = 256  # that tell how wide a row is; also the fewest of a batch
HASHING = f"polars {pl.__version__}"  # hashes of texts and rows agree within one version of polars
THREADS = min(8, os.cpu_count() or 1)


class Profile(Struct, kw_only=True, eq=False):
    """What is kept of a table.

    Attributes:
        name: What a person calls the table.
        rows: How many there are.
        size_bytes: In memory, about.
        columns: In the table's order.
        sample: A uniform sample of its rows.
        repeats: How many rows are repeated.
        target: The column that is to be predicted, if any.
        hashing: Which hash of texts and rows this was counted with.
    """

    name: str
    rows: int
    size_bytes: int
    columns: list[ColumnProfile]
    sample: Sample
    repeats: Repeats
    target: str | None = None
    hashing: str = HASHING

    @property
    def says(self) -> str:
        """What a person calls it."""
        return self.name

    def kinds(self) -> dict[str, tuple[str, Kind]]:
        """Type of each column, and how it is looked at."""
        return {column.name: (column.type, column.kind) for column in self.columns}

    def __getitem__(self, name: str) -> ColumnProfile:
        """A column by its name.

        Raises:
            NotFound: There is none.
        """
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            raise NotFound(f"there is no column {name!r}", where=self.name)
        return found

    def merge(self, other: Profile) -> Profile:
        """The profile of both parts together; neither is changed.

        Raises:
            DataError: They have different columns, or their hashes were made by different versions.
        """
        if self.hashing != other.hashing:
            raise DataError(
                f"one profile was counted with {self.hashing}, the other with {other.hashing}",
                remedy="make both again",
            )
        mine, theirs = [[column.name for column in part.columns] for part in (self, other)]
        if mine != theirs:
            raise DataError("the two profiles have different columns", remedy="merge profiles of parts of one table")
        whole = Profile.from_bytes(self.to_bytes())
        for column, added in zip(whole.columns, other.columns, strict=True):
            column.merge(added)
            column.finish()
        whole.repeats.merge(other.repeats)
        sampler = Sampler(self.sample.size, [0])
        sampler.merge(self.sample)
        sampler.merge(other.sample)
        whole.sample = sampler.sample()
        whole.rows += other.rows
        whole.size_bytes += other.size_bytes
        return whole

    def to_bytes(self) -> bytes:
        """As JSON."""
        return encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Read back what `to_bytes` gave.

        Raises:
            DataError: These bytes are no profile.
        """
        return decode(data, cls)

    def _repr_html_(self) -> str:
        from perennial.data.profile.page import fragment

        return fragment(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def __repr__(self) -> str:
        return f"<profile of {self.name}: {self.rows} rows, {len(self.columns)} columns>"


def profile(
    what: object, *, target: str | None = None, name: str = "", tell: Callable[[str], None] | None = None
) -> Profile:
    """Read a table once, in batches, and keep what `Profile` holds.

    Args:
        what: A `Scan`; or what `scan` takes: a file, a folder, a frame of pandas, polars or pyarrow.
        target: Name of the column to be predicted: the page shows what every other column tells about it.
        name: What a person calls the table; by default what the scan is called.
        tell: Is told how far it is.

    Raises:
        NotFound: There is no such file or column.
        DataError: It is no table, or cannot be read.
    """
    source = what if isinstance(what, Scan) else scan(what)
    counting: _Counting | None = None
    with ThreadPoolExecutor(THREADS) as threads:
        for batch in bounded_batches(source):
            counting = counting or _Counting(batch, threads, source.says, target)
            counting.add(batch)
            if tell:
                tell(f"profile of {source.says}: {counting.rows:,} rows")
        if counting is None:
            counting = _Counting(
                cast(pl.DataFrame, pl.from_arrow(source.schema.empty_table())), threads, source.says, target
            )
    return counting.finished(name)


def bounded_batches(source: Scan, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """All rows, so many at a time that memory stays bounded however wide a row is."""
    rows = BATCH_ROWS
    if source.format == "parquet":  # the first rows of other formats cost as much as many
        first = next(iter(source.batches(columns=columns, rows=FIRST_ROWS)), None)
        rows = rows if first is None else _rows_at_once(first)
    for batch in source.batches(columns=columns, rows=rows):
        yield from batch.iter_slices(max(_rows_at_once(batch), 1)) if batch.height > FIRST_ROWS else (batch,)


def _rows_at_once(batch: pl.DataFrame) -> int:
    width = batch.estimated_size() / max(batch.height, 1)
    return max(FIRST_ROWS, min(BATCH_ROWS, int(BATCH_BYTES / max(width, 1))))


class _Counting:
    """A profile that grows by batches; the columns of a batch are counted side by side."""

    def __init__(self, first: pl.DataFrame, threads: ThreadPoolExecutor, says: str, target: str | None) -> None:
        if target is not None and target not in first.columns:
            known = ", ".join(name[:60] for name in first.columns[:20])
            raise NotFound(f"there is no column {target!r}", where=says, remedy=f"choose one of {known}")
        self.rows = 0
        self._says, self._target = says, target
        self._threads = threads
        self._size = 0
        empty = first.clear().to_arrow().schema
        self._columns = [
            ColumnProfile(name=name, type=column_type(empty.field(name).type), kind=kind_of(dtype))
            for name, dtype in first.schema.items()
        ]
        self._repeats = Repeats()
        beginning = first.head(FIRST_ROWS)
        seed = int(_row_hashes(beginning).sum()) if first.width else 0
        self._sampler = Sampler(sample_size(first.width), [seed])

    def add(self, batch: pl.DataFrame) -> None:
        self.rows += batch.height
        self._size += int(batch.estimated_size())
        frame = batch.select(plain(name, dtype) for name, dtype in batch.schema.items())
        counted = [self._threads.submit(column.add, frame[column.name]) for column in self._columns]
        self._repeats.add(_row_hashes(frame))
        self._sampler.add(frame)
        for done in counted:
            done.result()

    def finished(self, name: str) -> Profile:
        for column in self._columns:
            column.finish()
        return Profile(
            name=name or self._says,
            rows=self.rows,
            size_bytes=self._size,
            columns=self._columns,
            sample=self._sampler.sample(),
            repeats=self._repeats,
            target=self._target,
        )


def _row_hashes(frame: pl.DataFrame) -> Hashes:
    return frame.hash_rows().to_numpy() if frame.width else np.zeros(0, np.uint64)
