"""Pairs of numbers or dates of which one is never above the other, although by chance it would be."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from perennial.data.relations.texts import Texts
from perennial.data.schema import Order

__all__ = ["find_orders", "magnitudes"]

HOLDS = 0.99  # an order may be broken by this share of rows, as data have errors,
BY_CHANCE = 0.05  # when at least this share would break it if the columns had nothing to do with each other
MIN_ROWS = 30
_DRAWS = 7  # shifts of one column against the other
_DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y", "%d.%m.%Y")

Floats = np.ndarray[Any, np.dtype[np.float64]]


def magnitudes(column: Texts) -> tuple[str, Floats] | None:
    """What can be compared in a column: ("number" or "time", one value for each row, NaN where there is none).

    None when fewer than 95 % of its values are numbers, or dates of one form.
    """
    known = ~column.is_missing
    needed = 0.95 * column.counts[known].sum()
    for kind, values in (("number", column.numbers), ("time", _times(column.values))):
        usable = known & ~np.isnan(values)
        if column.counts[usable].sum() >= max(needed, 1):
            return kind, np.where(usable, values, np.nan)[column.codes]
    return None


def find_orders(columns: list[Texts]) -> list[Order]:
    """Orders that hold in nearly all rows and would not by chance; `holds` is the share of rows that keep it."""
    found: list[Order] = []
    readable = [(column, read) for column in columns if column.distinct > 2 and (read := magnitudes(column))]
    for (a, (kind_a, x)), (b, (kind_b, y)) in combinations(readable, 2):
        if kind_a == kind_b:
            found += [order for order in (_order(a, x, b, y), _order(b, y, a, x)) if order]
    return found


def _order(lower: Texts, x: Floats, upper: Texts, y: Floats) -> Order | None:
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if len(x) < MIN_ROWS or np.array_equal(x, y):
        return None
    holds = float((x <= y).mean())
    if holds < HOLDS:
        return None
    steps = np.linspace(0, len(x), _DRAWS + 2, dtype=np.int64)[1:-1]
    chance = float(np.mean([(x > np.roll(y, int(step))).mean() for step in steps]))
    if chance < max(BY_CHANCE, 5 * (1 - holds)):
        return None
    return Order(lower=lower.name, upper=upper.name, strict=bool((x < y).mean() == holds), holds=holds)


def _times(values: pl.Series) -> Floats:
    for form in _DATES:
        read = values.str.strip_chars().str.to_datetime(form, strict=False)
        if read.null_count() < len(read):
            return read.dt.timestamp("us").cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.full(len(values), np.nan)
