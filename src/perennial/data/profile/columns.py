"""What is kept of one column, and how a batch of it is added."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import polars as pl
from msgspec import Struct, field
from numpy.typing import NDArray

from perennial.data.profile.sketches import KEPT, Distinct, Frequent, Moments, Quantiles, Value, mixed, runs
from perennial.errors import DataError

__all__ = ["ColumnProfile", "Kind", "kind_of", "plain"]

Kind = Literal["number", "time", "text", "flag", "other"]
LONG = 200  # characters; a longer text is told by its beginning and a hash of all of it


class ColumnProfile(Struct, kw_only=True, eq=False):
    """One column. Of a text, `low`, `high`, `moments` and `quantiles` tell of its length in characters.

    Attributes:
        name: Of the column.
        type: Its canonical type (`column_types`), else Arrow's word.
        kind: How it is looked at: a time is microseconds since 1970 in UTC, a flag 0 or 1; of "other" (lists, bytes)
            only how many and how many different are told.
        rows: Rows of the table.
        missing: Rows without a value; NaN is none.
        infinite: Values that are no finite number. They are in none of the figures below.
        zeros: Values that are 0; of texts: empty ones.
        negatives: Values below 0.
        low: The smallest value.
        high: The largest value.
    """

    name: str
    type: str
    kind: Kind
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    zeros: int = 0
    negatives: int = 0
    low: int | float | None = None
    high: int | float | None = None
    distinct: Distinct = field(default_factory=Distinct)
    frequent: Frequent = field(default_factory=Frequent)
    moments: Moments = field(default_factory=Moments)
    quantiles: Quantiles = field(default_factory=Quantiles)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def n_distinct(self) -> int:
        """Different values: exact up to 1,000, else with a standard error of 1.6 %."""
        if self.kind != "other" and self.frequent.is_complete:
            return len(self.frequent.values)
        return min(round(self.distinct.estimate()), self.present)

    def add(self, values: pl.Series) -> None:
        """Take one batch, as `plain` made it."""
        self.rows += len(values)
        match self.kind:
            case "number" | "time":
                self._add_numbers(values)
            case "text":
                self._add_texts(values)
            case "flag":
                self._add_flags(values)
            case "other":
                present = values.drop_nulls()
                self.missing += len(values) - len(present)
                self.distinct.add(present.hash().unique().to_numpy())

    def merge(self, other: ColumnProfile) -> None:
        """Add what another part of the same table has.

        Raises:
            DataError: It is another column, or of another kind.
        """
        if (self.name, self.kind) != (other.name, other.kind):
            raise DataError(
                f"column {other.name!r} ({other.kind}) cannot be added to {self.name!r} ({self.kind})",
                remedy="merge profiles of parts of one table",
            )
        self.rows += other.rows
        self.missing += other.missing
        self.infinite += other.infinite
        self.zeros += other.zeros
        self.negatives += other.negatives
        self._widen(other.low, other.high)
        self.distinct.merge(other.distinct)
        self.frequent.merge(other.frequent)
        self.moments.merge(other.moments)
        self.quantiles.merge(other.quantiles)

    def finish(self) -> None:
        """Let go of what is of no use in a stored profile."""
        if not self.frequent.is_complete:
            self.frequent.reduce(KEPT)
        self.quantiles.finish()

    def __repr__(self) -> str:
        return f"<{self.kind} column {self.name}: {self.present} of {self.rows} rows, {self.n_distinct} values>"

    def _add_numbers(self, values: pl.Series) -> None:
        if values.dtype.is_integer():
            ordered = np.sort(values.drop_nulls().to_numpy())
            self.missing += len(values) - ordered.size
        else:
            ordered = np.sort(values.to_numpy())  # null becomes NaN, and NaN comes last
            n = ordered.size - int(np.count_nonzero(np.isnan(ordered)))
            first, end = np.searchsorted(ordered, -np.inf, "right"), np.searchsorted(ordered, np.inf, "left")
            self.missing += ordered.size - n
            self.infinite += int(first) + n - int(end)
            ordered = ordered[first:end]
        different, counts = runs(ordered)
        self._add_ordered(ordered, different, counts)
        self.distinct.add(mixed(different))
        places, kept = self.frequent.of_batch(counts)
        self.frequent.add(cast(list[Value], different[places].tolist()), cast(list[int], kept.tolist()))

    def _add_texts(self, values: pl.Series) -> None:
        present = values.drop_nulls()
        self.missing += len(values) - len(present)
        hashes = cast(NDArray[np.uint64], present.hash().to_numpy())
        order = np.argsort(hashes)
        different, counts = runs(hashes[order])
        self.distinct.add(cast(NDArray[np.uint64], different))
        places, kept = self.frequent.of_batch(counts)
        if places.size:
            first = np.concatenate([[0], np.cumsum(counts)])[places]
            texts = cast(list[str], present.gather(order[first]).to_list())
            told = [_shortened(text, int(key)) for text, key in zip(texts, different[places], strict=True)]
            self.frequent.add(told, cast(list[int], kept.tolist()))
        else:
            self.frequent.add([], [])
        ordered = np.sort(present.str.len_chars().to_numpy()).astype(np.int64)
        self._add_ordered(ordered, *runs(ordered))

    def _add_flags(self, values: pl.Series) -> None:
        self.missing += values.null_count()
        high = int(values.sum() or 0)
        counts = np.array([len(values) - values.null_count() - high, high])
        seen = np.flatnonzero(counts)
        self._add_ordered(np.repeat(seen, counts[seen]), seen, counts[seen])
        self.distinct.add(mixed(seen))
        self.frequent.add([bool(value) for value in seen], cast(list[int], counts[seen].tolist()))

    def _add_ordered(self, ordered: NDArray[Any], different: NDArray[Any], counts: NDArray[np.int64]) -> None:
        if not ordered.size:
            return
        below, to = np.searchsorted(ordered, 0, "left"), np.searchsorted(ordered, 0, "right")
        self.negatives += int(below)
        self.zeros += int(to - below)
        self._widen(ordered[0].item(), ordered[-1].item())
        values = different.astype(np.float64)
        self.moments.add(values, counts)
        self.quantiles.add(values, counts.astype(np.float64))

    def _widen(self, low: int | float | None, high: int | float | None) -> None:
        if low is not None and high is not None:
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)


def kind_of(dtype: pl.DataType) -> Kind:
    """How a column of this type is looked at."""
    if dtype.is_numeric() or dtype == pl.Null or isinstance(dtype, pl.Duration):
        return "number"
    if isinstance(dtype, pl.Datetime | pl.Date):
        return "time"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Time):
        return "text"
    return "flag" if dtype == pl.Boolean else "other"


def plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column as one of a few types: Int64, Float64, String, Boolean; others as they are."""
    column = pl.col(name)
    match kind_of(dtype):
        case "number":
            if isinstance(dtype, pl.Duration):
                return column.dt.total_microseconds() / 1e6  # seconds
            return column.cast(pl.Int64 if dtype.is_integer() and not _is_huge(dtype) else pl.Float64)
        case "time":
            return column.cast(pl.Datetime("us")).to_physical()
        case "text":
            return column.cast(pl.String)
        case _:
            return column


def _is_huge(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.UInt64 | pl.Int128 | pl.UInt128)


def _shortened(text: str, key: int) -> str:
    return text if len(text) <= LONG else f"{text[: LONG - 20]}… #{key:016x}"
