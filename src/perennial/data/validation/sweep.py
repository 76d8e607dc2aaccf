"""Go through a table once and count what breaks each rule; of what is broken, fetch the first rows.

Each piece is one plan that counts all rules together. Rows are fetched from the piece in which they are found, and
only until there are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from perennial.data.scan import Scan
from perennial.data.validation.pieces import Piece, pieces
from perennial.data.validation.reading import Reading
from perennial.data.validation.rules import Broken, Rule
from perennial.errors import DataError, UserCodeError

__all__ = ["KINDS", "Function", "Table", "sweep"]

KINDS = 1000  # different values that are counted before "more" has to do
_ROW, _SHOWN = "\1row", "\1shown"


@dataclass(frozen=True, kw_only=True)
class Function:
    """A check that is a function: given rows, a mask that is true for good ones, under the name `mask`."""

    name: str
    mask: str
    columns: tuple[str, ...]
    holds: Callable[[pl.DataFrame], Any]


class Table:
    """A table as its checks read it: in pieces, where what stands for a missing value is null."""

    def __init__(self, scan: Scan, read: Mapping[str, Reading], functions: Sequence[Function] = ()) -> None:
        self.scan = scan
        self.read = read
        self.functions = functions

    @property
    def names(self) -> list[str]:
        """All columns, and the masks of functions."""
        return [*self.read, *(function.mask for function in self.functions)]

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """The rows in order, with these of `names`."""
        for first, plan in pieces(self.scan, self._needed(columns)):
            yield Piece(first, self.read_plan(plan, columns, first))

    def read_plan(self, plan: pl.LazyFrame, columns: Sequence[str], first: int) -> pl.LazyFrame:
        """Rows as they stand in the table, read; row `first` is the first of them."""
        calls = [function for function in self.functions if function.mask in columns]
        chosen = plan.select(part for name in self._needed(columns) for part in self.read[name].expressions)
        return _called(chosen.collect(), calls, first) if calls else chosen

    def _needed(self, columns: Sequence[str]) -> list[str]:
        asked = set(columns).union(*(function.columns for function in self.functions if function.mask in columns))
        return [name for name in self.read if name in asked] or list(self.read)[:1]

    def empty(self) -> pl.DataFrame:
        """No rows, with the columns and types that the pieces have."""
        plan = pl.DataFrame(schema=pl.Schema(self.scan.schema)).lazy()
        return plan.select(reading.value for reading in self.read.values()).collect()


def sweep(table: Table, rules: Sequence[Rule], *, examples: int) -> tuple[int, list[Broken]]:
    """The number of rows, and for each rule how it is broken."""
    found = [Broken() for _ in rules]
    counts = [pl.len(), *(rule.bad.sum().alias(str(index)) for index, rule in enumerate(rules))]
    counts += [
        (pl.len() if rule.among is None else rule.among.sum()).alias(f"among {index}")
        for index, rule in enumerate(rules)
    ]
    rows = 0
    for first, plan in table.pieces([name for rule in rules for name in rule.needs]):
        told = plan.select(counts).collect().row(0)
        rows += told[0]
        for index, (rule, broken) in enumerate(zip(rules, found, strict=True)):
            count = told[1 + index] or 0
            broken.among += told[1 + len(rules) + index] or 0
            if count:
                _fetch(plan, first, rule, broken, examples)
                broken.count += count
    return rows, found


def _fetch(plan: pl.LazyFrame, first: int, rule: Rule, broken: Broken, examples: int) -> None:
    wanted = KINDS - len(broken.kinds) if rule.different else examples - len(broken.rows)
    if wanted <= 0:
        return
    bad = plan.with_row_index(_ROW, first).filter(rule.bad)
    if rule.shown is None:
        broken.rows += bad.select(_ROW).head(wanted).collect().to_series().to_list()
        return
    shown = (bad if rule.different else bad.head(wanted)).select(_ROW, rule.shown.alias(_SHOWN))
    if rule.different:
        shown = shown.filter(~pl.col(_SHOWN).is_in(sorted(broken.kinds))).unique(_SHOWN, keep="first").sort(_ROW)
    rows, values = shown.head(wanted).collect().get_columns()
    if rule.different:
        broken.kinds.update(values)
    room = examples - len(broken.rows)
    broken.rows += rows.head(room).to_list()
    broken.values += values.head(room).to_list()


def _called(frame: pl.DataFrame, calls: Sequence[Function], first: int) -> pl.LazyFrame:
    masks: list[pl.Series] = []
    for call in calls:
        try:
            answer = call.holds(frame.select(call.columns))
        except Exception as error:  # the user's own; told as theirs
            raise UserCodeError(
                f"check {call.name!r} raised {type(error).__name__}: {error}",
                where=f"rows {first} to {first + frame.height - 1}",
                remedy="mend the check",
            ) from error
        mask = answer if isinstance(answer, pl.Series) else pl.Series(answer)
        if (mask.dtype != pl.Boolean and mask.dtype != pl.Null) or len(mask) != frame.height:
            raise DataError(
                f"check {call.name!r} gave {len(mask)} of {mask.dtype} for {frame.height} rows",
                remedy="return one True or False for each row",
            )
        masks.append(mask.cast(pl.Boolean).alias(call.mask))
    return frame.with_columns(masks).lazy()
