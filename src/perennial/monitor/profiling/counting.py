"""Count a table once: every column into its tally, and every row into a sample of distinct rows.

The rows are cut into ranges that stay in the processor's cache, and threads count columns apart. Nothing is sorted, and
no value becomes an object of Python.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.profiling.columns import Column, Room, column_of
from perennial.monitor.profiling.hashes import HashCounter, KeptHashes, scrambled
from perennial.monitor.profiling.names import NameTable, table_of
from perennial.monitor.profiling.plans import ColumnPlan, kind_of
from perennial.monitor.profiling.tallies import ColumnTally
from perennial.stats.bins import CategoryBins

__all__ = ["ColumnPlan", "Counted", "NameTable", "count_rows", "count_series", "kind_of", "place_series"]

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

RANGE = 65_536  # rows: half a megabyte of doubles, of which some stay in the second-level cache
ROWS_AT_ONCE = 16 * RANGE  # whose hashes are held: 8 MiB for each thread
THREADS = min(4, os.cpu_count() or 1)
THREAD_VALUES = 4 * RANGE  # fewer are not worth a thread
KEPT_ROWS = 1024  # distinct rows: a standard error of 4 %


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The tallies of a table, and the sample of its distinct rows."""

    columns: Mapping[str, ColumnTally]
    rows: KeptHashes


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
        threads: Columns that are counted at once.
    """
    columns = {name: column_of(frame, name, plan, tables.get(name)) for name, plan in plans.items()}
    # A column's hashes are its own by its factor: the same value in two columns does not count alike.
    factors = scrambled(np.arange(1, len(columns) + 1, dtype=np.uint64)) | np.uint64(1)
    own = list(zip(factors, columns.values(), strict=True))
    workers = max(1, min(threads, len(own), frame.height * len(own) // THREAD_VALUES))
    shares = [_Share(own[index::workers], at) for index in range(workers)]
    seen = HashCounter(KEPT_ROWS)
    with ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        for start in range(0, frame.height if own else 0, ROWS_AT_ONCE):
            count = partial(_Share.count, start=start, end=min(start + ROWS_AT_ONCE, frame.height))
            rows, *others = (pool.map if pool else map)(count, shares)
            for other in others:
                rows += other
            for first in range(0, len(rows), RANGE):
                seen.add(scrambled(rows[first : first + RANGE]))
    return Counted(columns={name: column.tally() for name, column in columns.items()}, rows=seen.kept())


class _Share:
    """The columns that one thread counts, each with the factor of its hashes."""

    def __init__(self, columns: Sequence[tuple[np.uint64, Column]], at: Ints | None) -> None:
        self._columns, self._at = columns, at
        self._room = Room(RANGE)

    def count(self, start: int, end: int) -> Hashes:
        """Count rows; what the columns add to the hash of each."""
        rows = np.zeros(end - start, np.uint64)
        for first in range(start, end, RANGE):
            last = min(first + RANGE, end)
            row = rows[first - start : last - start]
            for factor, column in self._columns:
                hashes = column.add(first, last, self._at, self._room)
                hashes *= factor
                row += hashes
        return rows


def count_series(values: pl.Series, plan: ColumnPlan) -> ColumnTally:
    """Count one column, such as the predictions."""
    tables = {"": table_of(plan.bins.categories)} if isinstance(plan.bins, CategoryBins) else {}
    return count_rows(pl.DataFrame({"": values}), {"": plan}, tables).columns[""]


def place_series(values: pl.Series, plan: ColumnPlan, table: NameTable | None = None) -> Ints:
    """The bin of each value, shape (n,), in the order of the counts."""
    if isinstance(plan.bins, CategoryBins):
        texts = values.cast(pl.String())
        names = table or table_of(plan.bins.categories)
        return names.places(texts.hash().to_numpy(), texts.is_null().to_numpy())
    if plan.kind == "number" and kind_of(values.dtype) in ("number", "text"):
        return plan.bins.places(values.cast(pl.Float64(), strict=False).to_numpy())
    return values.is_null().to_numpy().astype(np.int64)
