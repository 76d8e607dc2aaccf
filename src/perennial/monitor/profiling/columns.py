"""One column while it is counted, range by range: numbers, texts, or what is only there or not.

Each `add` counts the rows of a range and gives the hash of each of its values, for the hashes of whole rows. Work is
done in arrays that are used again for every range and column, and that stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.profiling.hashes import MISSING, HashCounter, number_hashes, text_hashes
from perennial.monitor.profiling.names import KEPT_VALUES, NameTable
from perennial.monitor.profiling.plans import ColumnPlan, Kind, kind_of
from perennial.monitor.profiling.tallies import (
    MAGNITUDES,
    NEGATIVE_ZERO,
    ColumnTally,
    Magnitudes,
    magnitude_counts,
    not_finite,
)
from perennial.stats.bins import NumericBins

__all__ = ["Column", "Room", "column_of"]

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True)
class Room:
    """Arrays of one thread to work in; what a column gives lies in `hashes` until the next one."""

    rows: int
    hashes: Hashes = field(init=False)
    spare: Hashes = field(init=False)

    def __post_init__(self) -> None:
        for name in ("hashes", "spare"):
            object.__setattr__(self, name, np.empty(self.rows, np.uint64))


class Column(Protocol):
    """What counting a table asks of a column."""

    def add(self, start: int, end: int, at: Ints | None, room: Room) -> Hashes:
        """Count the rows; the hash of each, shape (end - start,), which the caller may write to."""
        ...

    def tally(self) -> ColumnTally:
        """Of all that was counted."""
        ...


def column_of(frame: pl.DataFrame, name: str, plan: ColumnPlan, table: NameTable | None) -> Column:
    """The column of a table by its plan; where the table has none, its rows are missing."""
    if name in frame.columns:
        series = frame[name]
    else:
        series = pl.Series(name, [None], dtype=_DTYPE[plan.kind]).new_from_index(0, frame.height)
    is_absent = name not in frame.columns
    if plan.kind == "number":
        return _Numbers(series, plan, is_absent=is_absent)
    if plan.kind == "text":
        assert table is not None  # every text column has one
        return _Texts(series, plan, table, is_absent=is_absent)
    return _Rest(series, plan, is_absent=is_absent)


_DTYPE: dict[Kind, Any] = {"number": pl.Float64(), "text": pl.String(), "time": pl.Datetime("us"), "other": pl.Null()}


class _Numbers:
    def __init__(self, series: pl.Series, plan: ColumnPlan, *, is_absent: bool) -> None:
        self._kind = "absent" if is_absent else kind_of(series.dtype)
        readable = series if self._kind in ("number", "text", "absent") else series.clear(len(series))
        numbers = readable.cast(pl.Float64(), strict=False)
        self._numbers = numbers.to_numpy()
        self._known = len(series) - series.null_count()
        self._unreadable = numbers.null_count() - series.null_count()
        assert isinstance(plan.bins, NumericBins)  # as all numbers have
        self._plan, self._bins = plan, plan.bins
        self._counts = np.zeros(plan.bins.n_bins, np.int64)
        self._magnitudes = np.zeros(MAGNITUDES, np.int64)
        self._values = HashCounter(KEPT_VALUES)
        self._finite, self._total, self._squares = 0, 0.0, 0.0
        self._low, self._high = np.inf, -np.inf
        self._below, self._above = 0.0, 0.0
        self._lags = np.zeros(24 if plan.is_hour else 0, np.int64)

    def add(self, start: int, end: int, at: Ints | None, room: Room) -> Hashes:
        values, spare = self._numbers[start:end], room.spare[: end - start]
        counted = magnitude_counts(values, room=spare)
        rest = not_finite(counted)
        if rest.any():  # told by counts that are there anyway, without a look at every value
            is_finite = np.isfinite(values)
            rest[:] = 0
            self._counts += self._bins.count(values)
            self._sum(values[is_finite], spare)
            hashes = number_hashes(values, room=(room.hashes[: end - start], spare))
            self._values.add(hashes[is_finite])
            hashes[np.isnan(values)] = MISSING
        else:
            self._counts += self._bins.count(values, within=self._sum(values, spare))
            may_be_minus = bool(counted[NEGATIVE_ZERO])
            hashes = number_hashes(values, room=(room.hashes[: end - start], spare), has_negative_zero=may_be_minus)
            self._values.add(hashes)
        self._magnitudes += counted
        if self._plan.is_hour and at is not None:
            hours = at[start:end] // HOUR % 24
            whole = (values >= 0.0) & (values < 24.0)
            self._lags += np.bincount((values[whole].astype(np.int64) - hours[whole]) % 24, minlength=24)
        return hashes

    def _sum(self, finite: Floats, spare: Hashes) -> tuple[float, float] | None:
        """Sums of finite values; the smallest and the largest of them."""
        if not len(finite):
            return None
        apart = np.subtract(finite, self._plan.centre, out=spare[: len(finite)].view(np.float64))
        self._finite += len(finite)
        self._total += float(apart.sum())
        # Without BLAS: its threads would wait for each other inside ours.
        self._squares += float(np.einsum("i,i->", apart, apart))
        low, high = float(finite.min()), float(finite.max())
        self._low, self._high = min(low, self._low), max(high, self._high)
        bins = self._bins
        if bins.low is not None:
            if low < bins.low:
                self._below += float((bins.low - finite[finite < bins.low]).sum())
            if high > bins.uppers[-1]:
                self._above += float((finite[finite > bins.uppers[-1]] - bins.uppers[-1]).sum())
        return low, high

    def tally(self) -> ColumnTally:
        # Of a column of numbers the last bin holds all that is not there; texts that are no numbers were there.
        present = int(self._counts[:-1].sum()) if self._kind == "number" else self._known
        present = len(self._numbers) if self._kind == "absent" else present
        return ColumnTally(
            counts=self._counts,
            kinds={self._kind: present} if present else {},
            unreadable=self._unreadable,
            finite=self._finite,
            total=self._total,
            squares=self._squares,
            low=self._low if self._finite else None,
            high=self._high if self._finite else None,
            beyond=(self._below, self._above),
            magnitudes=Magnitudes.of_counts(self._magnitudes),
            values=self._values.kept(),
            lags=self._lags,
        )


class _Texts:
    def __init__(self, series: pl.Series, plan: ColumnPlan, table: NameTable, *, is_absent: bool) -> None:
        self._kinds = _kinds(series, is_absent=is_absent)
        readable = series
        if kind_of(series.dtype) == "other":
            readable = pl.Series(series.name, [None], dtype=pl.String()).new_from_index(0, len(series))
        self._texts = readable.cast(pl.String())
        self._unreadable = self._texts.null_count() - series.null_count()
        self._lost = self._texts.is_null().to_numpy() if self._texts.null_count() else None
        self._table = table
        self._counts = np.zeros(plan.bins.n_bins, np.int64)
        self._values = HashCounter(KEPT_VALUES)

    @cached_property
    def _hashed(self) -> Hashes:
        # By the thread that counts the column, all at once: a call costs more than the hashes of a range.
        return self._texts.hash().to_numpy()

    def add(self, start: int, end: int, at: Ints | None, room: Room) -> Hashes:
        table = self._table
        places = table.places(self._hashed[start:end], None if self._lost is None else self._lost[start:end])
        counts = np.bincount(places, minlength=len(self._counts))
        self._counts += counts
        hashes = np.take(table.own, places, mode="wrap", out=room.hashes[: end - start])
        if counts[table.other]:
            others = places == table.other
            hashes[others] = text_hashes(self._texts[start:end].filter(pl.Series(others)))
            self._values.add(hashes[others])
        return hashes

    def tally(self) -> ColumnTally:
        # The named categories were counted already.
        values = self._values.kept() + self._table.kept(self._counts)
        return ColumnTally(counts=self._counts, kinds=self._kinds, unreadable=self._unreadable, values=values)


class _Rest:
    """Times, and what is neither number nor text: of lists and bytes only whether they are there."""

    def __init__(self, series: pl.Series, plan: ColumnPlan, *, is_absent: bool) -> None:
        self._kinds = _kinds(series, is_absent=is_absent)
        is_readable = plan.kind != "time" or series.dtype.is_temporal()
        self._unreadable = 0 if is_readable else len(series) - series.null_count()
        self._series = series if is_readable else series.clear(len(series))
        self._counts = np.zeros(2, np.int64)

    def add(self, start: int, end: int, at: Ints | None, room: Room) -> Hashes:
        values = self._series[start:end]
        lost = values.is_null().to_numpy()
        self._counts += np.array([len(values) - int(lost.sum()), int(lost.sum())])
        if values.dtype.is_temporal():
            return number_hashes(values.to_physical().cast(pl.Float64).to_numpy())
        return np.where(lost, MISSING, np.uint64(1))

    def tally(self) -> ColumnTally:
        values = HashCounter(KEPT_VALUES).kept()
        return ColumnTally(counts=self._counts, kinds=self._kinds, unreadable=self._unreadable, values=values)


def _kinds(series: pl.Series, *, is_absent: bool) -> dict[str, int]:
    """In which kind values came, and how many."""
    if is_absent:
        return {"absent": len(series)}
    present = len(series) - series.null_count()
    if series.dtype.is_float():
        present -= int(series.is_nan().sum())
    return {kind_of(series.dtype): present} if present else {}
