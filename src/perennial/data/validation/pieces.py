"""A table in pieces, each a small lazy plan of its own.

Parquet is cut along its row groups, so that polars reads nothing but the wanted columns of one piece at a time: as fast
as one plan over the whole, in a memory that does not grow with the table.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from perennial.data.scan import Scan
from perennial.errors import DataError

__all__ = ["Piece", "pieces", "readable"]

PIECE_BYTES = 100 << 20  # of decoded columns in one piece, about; a plan over it needs as much again
MAX_ROWS, MIN_ROWS = 1 << 20, 1 << 14
TEXT_BYTES = 16  # of a text beside its characters


class Piece(NamedTuple):
    """Rows of a table, from row `first` on (counted from 0)."""

    first: int
    plan: pl.LazyFrame


def pieces(table: Scan, columns: Sequence[str]) -> Iterator[Piece]:
    """The rows in order, with these columns only."""
    first = 0
    if table.format == "parquet":
        kinds = pl.Schema({name: kind for name, kind in pl.Schema(table.schema).items() if name in columns})
        for part in table.parts:
            plan = pl.scan_parquet(part, glob=False).select(columns)
            if plan.collect_schema() != kinds:  # the parts of a table may differ in width
                plan = plan.cast(kinds)
            for rows in _cuts(part, columns):
                yield Piece(first, plan.slice(rows.start, len(rows)))
                first += len(rows)
    elif table.format == "frame":
        frame = cast(pl.DataFrame, pl.from_arrow(table.parts[0])).select(columns)
        for rows in _even(frame.height, MAX_ROWS):
            yield Piece(first, frame.slice(rows.start, len(rows)).lazy())
            first += len(rows)
    else:
        for frame in table.batches(columns=columns):
            yield Piece(first, frame.lazy())
            first += frame.height


@contextmanager
def readable(says: str) -> Generator[None]:
    """Turn what polars and pyarrow say about unreadable data into one kind of error."""
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, UnicodeDecodeError) as error:
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(
            f"the table cannot be read: {line}", where=says, remedy="mend the file where it is made, then read it again"
        ) from error


def _cuts(part: Path | bytes, columns: Sequence[str]) -> Iterator[range]:
    """Rows of the pieces of one Parquet file: small row groups together, large ones in even parts."""
    with pq.ParquetFile(pa.BufferReader(part) if isinstance(part, bytes) else part) as file:
        metadata = file.metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        most = max(MIN_ROWS, min(MAX_ROWS, int(PIECE_BYTES / _width(groups, set(columns)))))
        sizes = [group.num_rows for group in groups]
    start = end = 0
    for size in sizes:
        if end > start and end - start + size > most:
            yield from _even(end - start, most, start)
            start = end
        end += size
    yield from _even(end - start, most, start)


def _even(rows: int, most: int, start: int = 0) -> Iterator[range]:
    count = math.ceil(rows / most)
    for index in range(count):
        yield range(start + rows * index // count, start + rows * (index + 1) // count)


def _width(groups: Sequence[Any], columns: set[str]) -> float:
    """Bytes of a row when it is decoded, about. Texts that a dictionary holds lie in the file as small numbers."""
    widest = 1.0
    for group in groups:
        width = 0.0
        for index in range(group.num_columns):
            chunk = group.column(index)
            if chunk.path_in_schema.partition(".")[0] in columns:
                stored = chunk.total_uncompressed_size / max(1, group.num_rows)
                width += stored + TEXT_BYTES if chunk.physical_type == "BYTE_ARRAY" else max(stored, 8)
        widest = max(widest, width)
    return widest
