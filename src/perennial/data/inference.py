"""Infer a table's schema.

Inference follows TFDV (Breck et al., MLSys 2019): type, missing values, closed set of texts, range, uniqueness; and
what stands for a missing value, the forms of texts, and on request what holds between columns. One pass in pieces, then
one over each column that may hold every value once; memory does not grow with the table.
"""

from __future__ import annotations

import datetime as dt
import math
from functools import partial
from typing import Any, cast

import polars as pl
import pyarrow as pa

from perennial.data.inferred_texts import InferredTexts
from perennial.data.scan import Scan, scan
from perennial.data.schema import Column, Schema
from perennial.data.validation.pieces import readable
from perennial.data.validation.reading import readings
from perennial.data.validation.repeats import Repeats
from perennial.data.validation.sweep import Table

__all__ = ["infer"]

MAX_DOMAIN = 50  # a text column with more different values has no closed set
MAX_DOMAIN_SHARE = 0.1  # nor has one whose values hardly repeat (Deequ's rule)
LOOK_ROWS = 1 << 16  # by which it is seen that most columns are not unique
MIN_ROWS = 30  # of which a share of missing values says something
PRESENCE_STEP = 0.1  # a share of present values may fall by this, and is told in such steps
DEVIATIONS = 3.0  # of what a counted share varies by
_ORDERED = ("int64", "float64", "date", "datetime")


def infer(what: pa.Table | Scan, *, target: str | None = None, relations: bool = False) -> Schema:
    """The schema that this table fits.

    Args:
        what: The table; it may be larger than memory.
        target: A column that is there in training and not in serving.
        relations: Whether to look for dependencies and orders between columns, which costs more than all the rest.

    Raises:
        DataError: The table cannot be read.
    """
    source = what if isinstance(what, Scan) else scan(what)
    with readable(source.says):
        table = Table(source, readings(source, ()))
        seen = [_Seen(name, reading.type) for name, reading in table.read.items()]
        rows = 0
        for _, plan in table.pieces(list(table.read)):
            for one in seen:
                one.take(plan.select(one.name).collect().to_series())
            rows += plan.select(pl.len()).collect().item()
        columns = [one.column(rows, table, is_target=one.name == target) for one in seen]
    if not relations or not rows:
        return Schema(columns=columns)
    from perennial.data.relations import discover

    found = discover(source)
    keys = [key for key in found.keys if len(key) > 1]
    return Schema(columns=columns, keys=keys, dependencies=found.dependencies, orders=found.orders)


class _Seen:
    """What was seen of one column so far."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.missing = 0
        self.ends: list[Any] = []
        self.may_be_unique: bool | None = None  # None: nothing was seen yet
        self.texts = InferredTexts() if kind == "string" else None

    def take(self, values: pl.Series) -> None:
        """See the next values."""
        self.missing += values.null_count()
        if self.kind in _ORDERED:
            finite = values.filter(values.is_finite()) if self.kind == "float64" and not _is_finite(values) else values
            self.ends += [end for end in (finite.min(), finite.max()) if end is not None]
            self.ends = [min(self.ends), max(self.ends)] if self.ends else []
        if self.may_be_unique is None:
            look = values.head(LOOK_ROWS)
            self.may_be_unique = self.kind in ("int64", "string") and look.n_unique() == len(look)
        if self.texts is not None:
            self.texts.take(values)

    def column(self, rows: int, table: Table, *, is_target: bool) -> Column:
        """The column that fits all that was seen."""
        markers = self.texts.missing() if self.texts else {}
        missing = self.missing + sum(markers.values())
        values = self.texts.values() if self.texts else None
        is_closed = values is not None and 0 < len(values) <= min(MAX_DOMAIN, MAX_DOMAIN_SHARE * (rows - missing))
        patterns = self.texts.patterns if self.texts and not is_closed else None
        return Column(
            name=self.name,
            type=self.kind,
            nullable=missing > 0,
            presence=_presence(rows - missing, rows) if missing else None,
            missing=sorted(markers) or None,
            categories=values if is_closed else None,
            minimum=_end(self.ends[0]) if self.ends else None,
            maximum=_end(self.ends[1]) if self.ends else None,
            patterns=patterns or None,
            unique=bool(self.may_be_unique) and not missing and rows > 1 and not self._repeats(rows, table),
            absent_in=["serving"] if is_target else [],
        )

    def _repeats(self, rows: int, table: Table) -> int:
        return rows > LOOK_ROWS and Repeats([self.name], partial(table.pieces, [self.name]), rows).count


def _is_finite(values: pl.Series) -> bool:
    return math.isfinite(cast(float, values.min() or 0.0)) and math.isfinite(cast(float, values.max() or 0.0))


def _end(value: Any) -> float | str:
    return value.isoformat() if isinstance(value, dt.date) else float(value)


def _presence(present: int, rows: int) -> float | None:
    """A share that stays below the present one however the rows were drawn, and by a step."""
    share = present / rows
    least = share - PRESENCE_STEP - DEVIATIONS * math.sqrt(share * (1 - share) / rows)
    steps = math.floor(least / PRESENCE_STEP)
    return round(steps * PRESENCE_STEP, 10) if rows >= MIN_ROWS and steps > 0 else None
