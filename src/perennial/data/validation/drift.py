"""How far the distributions of two tables are apart, column by column.

Texts and truth values: L-infinity, the largest difference of a value's share. Numbers and times: Jensen-Shannon
divergence to base 2 over the reference's own quantiles. Both lie in [0, 1]; missing values are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from msgspec import Struct

from perennial.data.validation.sweep import Table

__all__ = ["Distance", "distances"]

BINS = 32  # of equal weight in the reference
SAMPLE = 100_000  # rows of the reference that the bins are made of
VALUES = 100_000  # different texts that are counted; rarer ones cannot be the largest difference
_COUNT = "\1count"


class Distance(Struct, frozen=True, kw_only=True):
    """How far a column is from the reference; `at`: the value whose share differs most, when it has values."""

    column: str
    measure: str
    value: float
    at: str | None = None


def distances(table: Table, reference: Table, columns: Iterable[str]) -> list[Distance]:
    """The distance of each column that both have in the same type, if it is of a type that has one."""
    both = [
        name for name in columns if name in table.read and name in reference.read
        if table.read[name].type == reference.read[name].type
    ]  # fmt: skip
    return [
        _of_values(name, table, reference)
        if table.read[name].type in ("string", "bool")
        else _of_numbers(name, table, reference)
        for name in both
        if table.read[name].type in ("string", "bool", "int64", "float64", "date", "datetime")
    ]


def _of_values(name: str, table: Table, reference: Table) -> Distance:
    shares = [_shares(name, each) for each in (table, reference)]
    both = shares[0].join(shares[1], on=name, how="full", coalesce=True).fill_null(0.0)
    apart = both.select(name, (pl.col(_COUNT) - pl.col(f"{_COUNT}_right")).abs().alias(_COUNT))
    if not apart.height:
        return Distance(column=name, measure="L-infinity", value=0.0)
    value, most = apart.sort(_COUNT, name, descending=[True, False]).row(0)
    return Distance(column=name, measure="L-infinity", value=most, at=str(value))


def _shares(name: str, table: Table) -> pl.DataFrame:
    held: pl.DataFrame | None = None
    for _, plan in table.pieces([name]):
        counts = plan.drop_nulls().group_by(name).agg(pl.len().cast(pl.Float64).alias(_COUNT)).collect()
        if held is not None:
            counts = pl.concat([held, counts]).group_by(name).agg(pl.col(_COUNT).sum())
        held = counts.top_k(VALUES, by=_COUNT) if counts.height > 2 * VALUES else counts
    if held is None:
        held = pl.DataFrame(schema={name: table.empty().schema[name], _COUNT: pl.Float64})
    return held.with_columns(pl.col(_COUNT) / pl.col(_COUNT).sum())


def _of_numbers(name: str, table: Table, reference: Table) -> Distance:
    edges = _edges(name, reference)
    counts = [_histogram(name, each, edges) for each in (table, reference)]
    value = _jensen_shannon(*counts) if all(count.sum() for count in counts) else 0.0
    return Distance(column=name, measure="Jensen-Shannon", value=value)


def _edges(name: str, reference: Table) -> np.ndarray:
    """Bounds of bins of about equal weight; a value that is frequent has a bin of its own."""
    every = max(1, reference.scan.count() // SAMPLE)
    sample = [_numbers(plan.gather_every(every), name) for _, plan in reference.pieces([name])]
    values = np.sort(np.concatenate([*sample, np.empty(0)]))
    if not len(values):
        return values
    return np.unique(values[np.linspace(0, len(values) - 1, BINS + 1).astype(np.int64)])


def _histogram(name: str, table: Table, edges: np.ndarray) -> np.ndarray:
    """Counts below, at and between the edges."""
    total = np.zeros(2 * len(edges) + 1)
    for _, plan in table.pieces([name]):
        values = _numbers(plan, name)
        at = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")
        total += np.bincount(at, minlength=len(total))
    return total


def _numbers(plan: pl.LazyFrame, name: str) -> np.ndarray:
    column = plan.select(pl.col(name).to_physical().cast(pl.Float64)).drop_nulls().collect().to_series()
    return column.to_numpy()


def _jensen_shannon(one: np.ndarray, other: np.ndarray) -> float:
    p, q = one / one.sum(), other / other.sum()
    middle = (p + q) / 2

    def against(shares: np.ndarray) -> float:
        held = shares > 0
        return float((shares[held] * np.log2(shares[held] / middle[held])).sum())

    return max(0.0, (against(p) + against(q)) / 2)
