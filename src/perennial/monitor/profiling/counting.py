"""Count a table once: every column into its tally, and every row into a sample of distinct rows.

The rows are cut into ranges that stay in the processor's cache; threads count ranges apart, and what they counted is
added up. Nothing is sorted, and no value becomes an object of Python.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.profiling.hashes import MISSING, HashCounter, KeptHashes, number_hashes, scrambled, text_hashes
from perennial.monitor.profiling.tallies import MAGNITUDES, ColumnTally, Magnitudes, magnitude_counts
from perennial.stats.bins import Bins, CategoryBins, NumericBins, bins_from_dict

__all__ = ["ColumnPlan", "Counted", "NameTable", "count_rows", "count_series", "kind_of", "place_series"]

Kind = Literal["number", "text", "time", "other"]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

RANGE = 65_536  # rows: half a megabyte of doubles, of which some stay in the second-level cache
THREADS = min(4, os.cpu_count() or 1)
KEPT_VALUES = 128  # distinct values of a column that are kept; a standard error of about 10 % of their number
KEPT_ROWS = 1024  # distinct rows: 4 %
HOUR = 3_600_000_000  # microseconds
_TABLE_BITS = 12


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """How a column is counted, fixed on the reference.

    Attributes:
        kind: What its values are.
        bins: Where they are counted.
        centre: What sums are taken from: the reference mean, so that squares keep their digits.
        is_hour: Its values are the hours of the event times.
        is_slow: It has one value on most days, as the month or a holiday has.
    """

    kind: Kind
    bins: Bins
    centre: float = 0.0
    is_hour: bool = False
    is_slow: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "bins": self.bins.as_dict(),
            "centre": self.centre,
            "is_hour": self.is_hour,
            "is_slow": self.is_slow,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColumnPlan:
        """What `as_dict` gave."""
        return cls(
            kind=stored["kind"],
            bins=bins_from_dict(stored["bins"]),
            centre=stored["centre"],
            is_hour=stored["is_hour"],
            is_slow=stored["is_slow"],
        )


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The tallies of a table, and the sample of its distinct rows."""

    columns: Mapping[str, ColumnTally]
    rows: KeptHashes

    def __add__(self, other: Counted) -> Counted:
        both = {name: tally + other.columns[name] for name, tally in self.columns.items()}
        return Counted(columns=both, rows=self.rows + other.rows)


def kind_of(dtype: pl.DataType) -> Kind:
    """What the values of a column are; true and false are the numbers 1 and 0."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype == pl.String or isinstance(dtype, pl.Enum | pl.Categorical):
        return "text"
    return "time" if dtype.is_temporal() else "other"


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
        slots = ((hashes * self._factor) >> self._shift).view(np.int64)
        places = self._places[slots]
        unknown = self._hashes[slots] != hashes
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
            if len(np.unique(slots)) == len(np.unique(hashes)):
                return factor, slots


class _Column:
    """One column while it is counted."""

    def __init__(self, plan: ColumnPlan, table: NameTable | None) -> None:
        self._plan, self._table = plan, table
        self._counts = np.zeros(plan.bins.n_bins, np.int64)
        self._magnitudes = np.zeros(MAGNITUDES if plan.kind == "number" else 0, np.int64)
        self._values = HashCounter(KEPT_VALUES)
        self._finite, self._total, self._squares = 0, 0.0, 0.0
        self._low: float | None = None
        self._high: float | None = None
        self._below, self._above = 0.0, 0.0
        self._lags = np.zeros(24 if plan.is_hour else 0, np.int64)

    def numbers(self, values: Floats, hours: Ints | None) -> Hashes:
        bins = self._plan.bins
        counts = bins.count(values)
        self._counts += counts
        hashes = number_hashes(values)
        finite, own = values, hashes
        apart = values - self._plan.centre
        squares = _squares(apart)
        if not math.isfinite(squares):  # some value is not finite: one look at the sum instead of one at every value
            is_finite = np.isfinite(values)
            finite, own = values[is_finite], hashes[is_finite]
            apart = finite - self._plan.centre
            squares = _squares(apart)
            hashes[np.isnan(values)] = MISSING
        if len(finite):
            self._finite += len(finite)
            self._total += float(apart.sum())
            self._squares += squares
            low, high = float(finite.min()), float(finite.max())
            self._low = low if self._low is None else min(low, self._low)
            self._high = high if self._high is None else max(high, self._high)
            self._magnitudes += magnitude_counts(finite)
            self._values.add(own)
            if isinstance(bins, NumericBins) and bins.low is not None and counts[0] + counts[-2]:
                self._below += float((bins.low - finite[finite < bins.low]).sum())
                self._above += float((finite[finite > bins.uppers[-1]] - bins.uppers[-1]).sum())
        if self._plan.is_hour and hours is not None:
            whole = (values >= 0.0) & (values < 24.0)
            self._lags += np.bincount((values[whole].astype(np.int64) - hours[whole]) % 24, minlength=24)
        return hashes

    def texts(self, ready: _Ready, start: int, end: int) -> Hashes:
        table, hashed = self._table, ready.hashes
        assert table is not None  # every text column has one,
        assert hashed is not None  # and its hashes
        places = table.places(hashed[start:end], None if ready.lost is None else ready.lost[start:end])
        counts = np.bincount(places, minlength=self._plan.bins.n_bins)
        self._counts += counts
        hashes = table.own[places]
        if counts[table.other]:
            others = places == table.other
            hashes[others] = text_hashes(ready.series[start:end].filter(pl.Series(others)))
            self._values.add(hashes[others])
        return hashes

    def rest(self, values: pl.Series) -> Hashes:
        lost = values.is_null().to_numpy()
        self._counts += np.array([len(values) - int(lost.sum()), int(lost.sum())])
        if values.dtype.is_temporal():
            return number_hashes(values.to_physical().cast(pl.Float64).to_numpy())
        return np.where(lost, MISSING, np.uint64(1))  # of lists and bytes only whether they are there

    def tally(self) -> ColumnTally:
        values = self._values.kept()
        if self._table is not None:  # the named categories were counted already
            values += self._table.kept(self._counts)
        return ColumnTally(
            counts=self._counts,
            finite=self._finite,
            total=self._total,
            squares=self._squares,
            low=self._low,
            high=self._high,
            beyond=(self._below, self._above),
            magnitudes=Magnitudes.of_counts(self._magnitudes),
            values=values,
            lags=self._lags,
        )


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A column in the kind in which it is counted, and what was lost on the way."""

    numbers: Floats | None = None
    series: pl.Series
    hashes: Hashes | None = None  # of texts, by polars
    lost: NDArray[np.bool_] | None = None  # texts that are missing; None where none is
    kinds: dict[str, int]
    unreadable: int


def count_rows(
    frame: pl.DataFrame,
    plans: Mapping[str, ColumnPlan],
    tables: Mapping[str, NameTable],
    *,
    at: NDArray[np.int64] | None = None,
    threads: int = THREADS,
) -> Counted:
    """Count a table by the plans of its columns.

    Args:
        frame: Any rows; a column without a plan is left out, and a plan without a column counts rows as missing.
        plans: By column.
        tables: Of the text columns.
        at: Event times, microseconds, shape (n,).
        threads: Ranges that are counted at once.
    """
    ready = {name: _ready(frame, name, plan) for name, plan in plans.items()}
    cuts = [(start, min(start + RANGE, frame.height)) for start in range(0, frame.height, RANGE)]
    workers = max(1, min(threads, len(cuts) // 2))
    shares = [cuts[index::workers] for index in range(workers)]
    if workers == 1:
        found = [_count(ready, plans, tables, at, shares[0])]
    else:
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(lambda share: _count(ready, plans, tables, at, share), shares))
    counted = reduce(add, found)
    # Of whole columns: in which kind they came, and what could not be read.
    told = {
        name: replace(tally, kinds=ready[name].kinds, unreadable=ready[name].unreadable)
        for name, tally in counted.columns.items()
    }
    return Counted(columns=told, rows=counted.rows)


def count_series(values: pl.Series, plan: ColumnPlan) -> ColumnTally:
    """Count one column, such as the predictions."""
    tables = {"": NameTable(plan.bins.categories)} if isinstance(plan.bins, CategoryBins) else {}
    return count_rows(pl.DataFrame({"": values}), {"": plan}, tables).columns[""]


def place_series(values: pl.Series, plan: ColumnPlan, table: NameTable | None = None) -> Ints:
    """The bin of each value, shape (n,), in the order of the counts."""
    if isinstance(plan.bins, CategoryBins):
        texts = values.cast(pl.String())
        names = table or NameTable(plan.bins.categories)
        return names.places(texts.hash().to_numpy(), texts.is_null().to_numpy())
    if plan.kind == "number" and kind_of(values.dtype) in ("number", "text"):
        return plan.bins.places(values.cast(pl.Float64(), strict=False).to_numpy())
    return values.is_null().to_numpy().astype(np.int64)


def _count(
    ready: Mapping[str, _Ready],
    plans: Mapping[str, ColumnPlan],
    tables: Mapping[str, NameTable],
    at: NDArray[np.int64] | None,
    cuts: Sequence[tuple[int, int]],
) -> Counted:
    columns = {name: _Column(plan, tables.get(name)) for name, plan in plans.items()}
    seen = HashCounter(KEPT_ROWS)
    factors = scrambled(np.arange(1, len(columns) + 1, dtype=np.uint64)) | np.uint64(1)
    needs_hours = any(plan.is_hour for plan in plans.values())
    for start, end in cuts:
        hours = None if at is None or not needs_hours else (at[start:end] // HOUR) % 24
        row = np.zeros(end - start, np.uint64)
        for factor, (name, column) in zip(factors, columns.items(), strict=True):
            one = ready[name]
            if one.numbers is not None:
                hashes = column.numbers(one.numbers[start:end], hours)
            elif plans[name].kind == "text":
                hashes = column.texts(one, start, end)
            else:
                hashes = column.rest(one.series[start:end])
            hashes *= factor  # a column's hashes are its own from here on
            row += hashes
        if columns:
            seen.add(scrambled(row))
    return Counted(columns={name: column.tally() for name, column in columns.items()}, rows=seen.kept())


def _ready(frame: pl.DataFrame, name: str, plan: ColumnPlan) -> _Ready:
    if name not in frame.columns:
        series = pl.Series(name, [None], dtype=_DTYPE[plan.kind]).new_from_index(0, frame.height)
        kinds: dict[str, int] = {"absent": frame.height}
    else:
        series = frame[name]
        present = len(series) - series.null_count()
        if series.dtype.is_float():
            present -= int(series.is_nan().sum())
        kinds = {kind_of(series.dtype): present} if present else {}
    known = series.null_count()
    if plan.kind == "number":
        readable = series if kind_of(series.dtype) in ("number", "text") else series.clear(len(series))
        cast = readable.cast(pl.Float64(), strict=False)
        return _Ready(numbers=cast.to_numpy(), series=series, kinds=kinds, unreadable=cast.null_count() - known)
    if plan.kind == "text":
        if kind_of(series.dtype) == "other":
            series = pl.Series(name, [None], dtype=pl.String()).new_from_index(0, frame.height)
        texts = series.cast(pl.String())
        return _Ready(
            series=texts,
            hashes=texts.hash().to_numpy(),
            lost=texts.is_null().to_numpy() if texts.null_count() else None,
            kinds=kinds,
            unreadable=texts.null_count() - known,
        )
    if plan.kind == "time" and not series.dtype.is_temporal():
        return _Ready(series=series.clear(len(series)), kinds=kinds, unreadable=len(series) - known)
    return _Ready(series=series, kinds=kinds, unreadable=0)


_DTYPE: dict[Kind, Any] = {"number": pl.Float64(), "text": pl.String(), "time": pl.Datetime("us"), "other": pl.Null()}


def _squares(values: Floats) -> float:
    """Their sum, without BLAS: its threads would wait for each other inside ours."""
    return float(np.einsum("i,i->", values, values))
