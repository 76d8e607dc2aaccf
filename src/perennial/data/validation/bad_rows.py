"""Rows that break their schema apart from those that keep it, each bad one with its reasons.

Bad is a row that breaks a demand of severity "error" that is about single rows: a hard limit, a check, a key, and what
the schema says of a column whose severity is "error". Of rows that repeat each other the first is good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from perennial.data.scan import Scan, scan
from perennial.data.schema import Schema
from perennial.data.validation.pieces import pieces, readable
from perennial.data.validation.repeats import Repeats
from perennial.data.validation.rules import Rule
from perennial.data.validation.sweep import Table
from perennial.data.validation.validate import UserCheck, breaking_rows, repetitions, rules_of

__all__ = ["REASONS", "Split", "split_bad"]

REASONS = "reasons"  # the column that bad rows have more; with another name when the table has one of this
_ROW, _MARK = "\1row", "\1mark "
Rows = np.ndarray[Any, np.dtype[np.int64]]


class Split:
    """A table in two parts. Each is read from the table anew, piece by piece, with the values as they stand there.

    Attributes:
        rows: Of the table.
        bad_rows: How many of them are bad.
        reasons: The name of the column of reasons.
    """

    def __init__(self, table: Table, rules: Sequence[Rule], marked: Sequence[tuple[Rule, Rows]]) -> None:
        """Find the bad rows.

        Args:
            table: The table.
            rules: Demands on single rows.
            marked: Demands that other rows have a part in, with the rows that break them.
        """
        self._table = table
        self._rules = rules
        self._marked = marked
        found = [rows for _, rows in marked]
        self.rows = 0
        for first, plan in table.pieces([name for rule in rules for name in rule.needs]):
            is_bad = pl.any_horizontal(*(rule.bad for rule in rules), pl.lit(value=False))
            rows = (
                plan.select(pl.len(), is_bad.arg_true().implode()).collect()
                if rules
                else plan.select(pl.len()).collect()
            )
            self.rows += int(rows.item(0, 0))
            if rules:
                found.append(rows.to_series(1).explode().drop_nulls().to_numpy().astype(np.int64) + first)
        self._bad: Rows = np.unique(np.concatenate([*found, np.empty(0, dtype=np.int64)]))
        self.bad_rows = len(self._bad)
        self.reasons = REASONS
        while self.reasons in table.read:
            self.reasons += "_"

    def good(self) -> Iterator[pa.Table]:
        """The good rows, in order."""
        for frame, is_bad in self._pieces():
            yield (frame.filter(~is_bad) if is_bad.any() else frame).to_arrow()

    def bad(self) -> Iterator[pa.Table]:
        """The bad rows, in order, with one more column: why each is bad."""
        first = 0
        for frame, is_bad in self._pieces():
            if is_bad.any():
                rows = frame.with_row_index(_ROW, first).filter(is_bad)
                yield rows.drop(_ROW).with_columns(self._why(rows).alias(self.reasons)).to_arrow()
            first += frame.height

    def _pieces(self) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
        for first, plan in pieces(self._table.scan, list(self._table.read)):
            frame = plan.collect()
            start, end = np.searchsorted(self._bad, [first, first + frame.height])
            is_bad = np.zeros(frame.height, dtype=np.bool_)
            is_bad[self._bad[start:end] - first] = True
            yield frame, pl.Series(is_bad)

    def _why(self, rows: pl.DataFrame) -> pl.Series:
        marks = {f"{_MARK}{index}": pl.Series(bad) for index, (_, bad) in enumerate(self._marked)}
        here = [rows[_ROW].cast(pl.Int64).is_in(bad.implode()).alias(name) for name, bad in marks.items()]
        plan = self._table.read_plan(rows.lazy(), list(self._table.names), int(rows[_ROW][0]))
        broken = [(rule, rule.bad) for rule in self._rules]
        broken += [(rule, pl.col(name)) for (rule, _), name in zip(self._marked, marks, strict=True)]
        why = [pl.when(bad).then(_reason(rule)) for rule, bad in broken]
        return (
            plan.collect().with_columns(here).select(pl.concat_str(why, separator="; ", ignore_nulls=True)).to_series()
        )


def split_bad(what: pa.Table | Scan, schema: Schema, *, checks: Sequence[UserCheck] = ()) -> Split:
    """Tell the bad rows of a table from the good ones.

    Raises:
        DataError: The table cannot be read.
        Invalid: A check is not one.
        UserCodeError: A check's function raised.
    """
    source = what if isinstance(what, Scan) else scan(what)
    with readable(source.says):
        table, rules = rules_of(source, schema, checks)
        marked = [
            (rule, _repeated(table, rule, repeats))
            for rule, repeats in repetitions(table, schema, source.count())
            if rule.severity == "error"
        ]
        for check in checks:
            if isinstance(check.holds, pl.Expr) and check.severity == "error":
                marked += breaking_rows(table, check, check.holds)
        return Split(table, [rule for rule in rules if rule.of_rows and rule.severity == "error"], marked)


def _repeated(table: Table, rule: Rule, repeats: Repeats) -> Rows:
    found: list[Rows] = [np.empty(0, dtype=np.int64)]
    for first, plan in table.pieces(repeats.columns):
        found.append(np.flatnonzero(repeats.mask(plan.collect()).to_numpy()) + first)
    return np.concatenate(found)


def _reason(rule: Rule) -> pl.Expr:
    return pl.lit(rule.reason) if rule.shown is None else pl.format("{}: {}", pl.lit(rule.reason), rule.shown)
