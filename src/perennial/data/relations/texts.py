"""A table as text: each column as the different texts in it and which of them stands in each row.

Whatever the type, a value is what it looks like when it is written. An empty text is a missing value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from perennial.data.scan import Scan, scan

__all__ = ["MARKERS", "Ints", "Texts", "encode", "text_blocks", "text_sample"]

Ints = np.ndarray[Any, np.dtype[np.int64]]
# How people write "there is nothing here", in lower case.
MARKERS = frozenset(
    {"na", "n/a", "n.a.", "#n/a", "nan", "null", "(null)", "<null>", "<na>", "nil", "\\n", "?", "??", "-", "--", "."}
    | {"missing", "empty", "not available", "no data"}
)

SAMPLED_ROWS = 1 << 15  # rows that are in memory at once when a sample is drawn


@dataclass(frozen=True)
class Texts:
    """One column.

    Attributes:
        name: Of the column.
        values: The different texts, sorted.
        codes: For each row, which of them.
    """

    name: str
    values: pl.Series
    codes: Ints

    @cached_property
    def counts(self) -> Ints:
        """How many rows hold each text."""
        return np.bincount(self.codes, minlength=len(self.values))

    @cached_property
    def is_missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each text whether it stands for a missing value."""
        bare = self.values.str.strip_chars().str.to_lowercase()
        return ((bare == "") | bare.is_in(list(MARKERS))).to_numpy()

    @cached_property
    def present(self) -> Ints:
        """For each row the code of its text, -1 where it is missing."""
        return np.where(self.is_missing[self.codes], -1, self.codes)

    @cached_property
    def distinct(self) -> int:
        """How many different texts there are besides those that stand for a missing value."""
        return int((~self.is_missing).sum())

    @cached_property
    def numbers(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """For each text the number that it is, NaN when it is none."""
        bare = self.values.str.strip_chars()
        grouped = bare.str.contains(r"^[-+]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?$")
        bare = bare.zip_with(~grouped, bare.str.replace_all(",", "", literal=True))
        numbers = bare.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
        return np.where(np.isfinite(numbers), numbers, np.nan)

    @cached_property
    def is_measured(self) -> bool:
        """Whether most values are numbers with a fraction: such a number is measured, it names nothing."""
        fractions = np.nan_to_num(self.numbers % 1) > 0
        return bool(2 * self.counts[fractions].sum() > self.counts[~self.is_missing].sum())

    def rows(self, codes: Ints) -> tuple[Ints, Ints]:
        """The rows that hold one of these texts, and for each its position in `codes`."""
        where = np.full(len(self.values), -1, dtype=np.int64)
        where[codes] = np.arange(len(codes))
        rows = np.flatnonzero(where[self.codes] >= 0)
        return rows, where[self.codes[rows]]


def encode(frame: pl.DataFrame) -> list[Texts]:
    """The columns of a frame of texts without nulls.

    >>> [column] = encode(pl.DataFrame({"city": ["Bend", "", "Bend"]}))
    >>> column.values.to_list(), column.codes.tolist(), column.present.tolist()
    (['', 'Bend'], [1, 0, 1], [1, -1, 1])
    """
    columns: list[Texts] = []
    for series in frame:
        values = series.unique().sort()
        codes = series.rank("dense").cast(pl.Int64).to_numpy() - 1
        columns.append(Texts(series.name, values, codes))
    return columns


def text_blocks(what: pa.Table | Scan, rows: int) -> Iterator[pl.DataFrame]:
    """The rows in order as texts, at most `rows` at a time; a CSV file exactly as it is written.

    Raises:
        DataError: It cannot be read as a table.
    """
    source = what if isinstance(what, Scan) else scan(what)
    return (_as_text(block) for block in _gathered(_blocks(source, rows), rows))


def _gathered(blocks: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in blocks of exactly `rows`, but for the last."""
    waiting: list[pl.DataFrame] = []
    for block in blocks:
        waiting.append(block)
        while (have := sum(part.height for part in waiting)) >= rows:
            whole = pl.concat(waiting)
            yield whole.head(rows)
            waiting = [whole.tail(have - rows)]
    if waiting and (rest := pl.concat(waiting)).height:
        yield rest


def text_sample(what: pa.Table | Scan, rows: int) -> tuple[pl.DataFrame, int]:
    """Some rows as texts, spread evenly over the table, and how many it has; all when that is up to twice as many."""
    source = what if isinstance(what, Scan) else scan(what)
    kept: pl.DataFrame | None = None
    every, seen = 1, 0
    for block in _blocks(source, SAMPLED_ROWS):
        part = _as_text(block.gather_every(every, -seen % every))
        seen += block.height
        kept = part if kept is None else pl.concat([kept, part])
        while kept.height > 2 * rows:
            kept, every = kept.gather_every(2), every * 2
    if kept is None:
        return pl.DataFrame(schema=dict.fromkeys(source.types(), pl.String)), 0
    if kept.height < seen and kept.height > rows:
        kept = kept[np.linspace(0, kept.height - 1, rows).astype(np.int64)]
    return kept, seen


def _blocks(source: Scan, rows: int) -> Iterator[pl.DataFrame]:
    return source.texts(rows=rows) if source.format == "csv" else source.batches(rows=rows)


def _as_text(block: pl.DataFrame) -> pl.DataFrame:
    return block.select(_text(series) for series in block)


def _text(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String:
        return series.fill_null("")
    if series.dtype == pl.Binary or series.dtype.is_nested():
        return pl.Series(series.name, ["" if value is None else repr(value) for value in series], dtype=pl.String)
    return series.cast(pl.String).fill_null("")
