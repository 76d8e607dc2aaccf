"""Inputs at which two computations of one model would part: made of test rows, with one column or all of them changed.

Ends of the range, zero, missing and infinite values, each category and none; the numbers next to a tree's threshold, in
64 and in 32 bits; columns of different rows put together; and near ties: two rows with different labels, and the
neighbouring points between them (in 32 bits) where the label changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.models.signature import Signature

__all__ = ["boundary_rows", "near_ties"]

MAX_THRESHOLDS = 1_000  # each gives seven rows
MIXED_ROWS = 500
PAIRS = 32
HALVINGS = 60


def boundary_rows(
    x: pl.DataFrame,
    signature: Signature,
    *,
    thresholds: Sequence[tuple[int, float]],
    missing: Sequence[bool],
    infinite: Sequence[bool],
    seed: int,
) -> pl.DataFrame:
    """Rows as the model's columns.

    Args:
        x: Test rows.
        signature: What the columns are.
        thresholds: (column, threshold) of tests that the model makes.
        missing: For each column whether the model takes a missing value.
        infinite: The same for infinite ones.
        seed: Of the draws.
    """
    draw = np.random.default_rng(seed)
    parts = [x[[0]], *_each_column(x, signature, missing, infinite, draw)]
    all_missing = [
        pl.lit(None, dtype=x.schema[column.name]).alias(column.name)
        for column, takes in zip(signature.columns, missing, strict=True)
        if takes
    ]
    parts.append(x[[0]].with_columns(all_missing))
    parts.append(pl.DataFrame([series.gather(draw.integers(0, x.height, MIXED_ROWS)) for series in x.get_columns()]))
    parts += _around(x, thresholds, draw)
    return pl.concat(parts)


def near_ties(
    x: pl.DataFrame, labels: NDArray[Any], label_of: Callable[[pl.DataFrame], NDArray[Any]], *, seed: int
) -> pl.DataFrame:
    """Neighbouring rows, in 32 bits, with different labels: between pairs of test rows; only numbers are moved."""
    draw = np.random.default_rng(seed)
    numbers = [name for name, kind in x.schema.items() if kind == pl.Float64]
    clean = x.with_row_index("__row").drop_nulls(numbers)["__row"].to_numpy() if numbers else np.array([], dtype=int)
    if len(clean) < 2:
        return x.clear()
    a, b = draw.choice(clean, PAIRS * 4), draw.choice(clean, PAIRS * 4)
    apart = np.flatnonzero(labels[a] != labels[b])[:PAIRS]
    if not len(apart):
        return x.clear()  # all rows have one label
    a, b = a[apart], b[apart]
    low, high = _numbers(x[a], numbers), _numbers(x[b], numbers)
    start = x[a]
    at_low, at_high = label_of(_moved(start, numbers, low)), label_of(_moved(start, numbers, high))
    keep = (at_low != at_high) & np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    start, low, high, at_low = start.filter(pl.Series(keep)), low[keep], high[keep], at_low[keep]
    if not len(low):
        return x.clear()
    left, right = np.zeros(len(low)), np.ones(len(low))
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        same = label_of(_moved(start, numbers, _between(low, high, middle))) == at_low
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return pl.concat([_moved(start, numbers, _between(low, high, where)) for where in (left, right)])


def _between(low: NDArray[np.float64], high: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    return (low + at[:, None] * (high - low)).astype(np.float32).astype(np.float64)


def _numbers(x: pl.DataFrame, names: list[str]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return x.select(names).to_numpy().astype(np.float32).astype(np.float64)


def _moved(x: pl.DataFrame, names: list[str], values: NDArray[np.float64]) -> pl.DataFrame:
    return x.with_columns(pl.Series(name, values[:, i]) for i, name in enumerate(names))


def _each_column(
    x: pl.DataFrame,
    signature: Signature,
    missing: Sequence[bool],
    infinite: Sequence[bool],
    draw: np.random.Generator,
) -> list[pl.DataFrame]:
    parts = list[pl.DataFrame]()
    for i, column in enumerate(signature.columns):
        series = x.to_series(i)
        values: list[Any]
        if column.categories is not None:
            values = list(column.categories)
        elif series.dtype == pl.Boolean:
            values = [False, True]
        elif series.dtype == pl.Int64:
            values = [series.min(), series.max(), 0, -1, 2**24 + 1]
        elif series.dtype == pl.Float64:
            ends = [cast("float | None", series.min()), cast("float | None", series.max())]
            values = [*(end for end in ends if end is not None), 0.0, -0.0, -1.0, 1e30, -1e30, 0.1, 1e-40]
            values += [np.nextafter(end, np.inf) for end in ends if end is not None]
            values += [float("inf"), float("-inf")] if infinite[i] else []
        else:
            continue
        values += [None] if missing[i] else []
        rows = x[draw.integers(0, x.height, len(values)).tolist()]
        parts.append(rows.with_columns(pl.Series(column.name, values, dtype=series.dtype)))
    return parts


def _around(x: pl.DataFrame, thresholds: Sequence[tuple[int, float]], draw: np.random.Generator) -> list[pl.DataFrame]:
    """Rows whose one column is a threshold or one of its neighbours."""
    known = sorted({(i, split) for i, split in thresholds if np.isfinite(split) and abs(split) < 1e37})
    if len(known) > MAX_THRESHOLDS:
        known = [known[k] for k in sorted(draw.choice(len(known), MAX_THRESHOLDS, replace=False).tolist())]
    parts = list[pl.DataFrame]()
    for i in sorted({i for i, _ in known}):
        splits = np.array([split for k, split in known if k == i])
        narrow = splits.astype(np.float32)
        near = [
            splits,
            np.nextafter(splits, -np.inf),
            np.nextafter(splits, np.inf),
            narrow,
            np.nextafter(narrow, np.float32(-np.inf)),
            np.nextafter(narrow, np.float32(np.inf)),
        ]
        values = np.concatenate([values.astype(np.float64) for values in near])
        series = x.to_series(i)
        if series.dtype == pl.Int64:
            values = np.unique(np.concatenate([np.floor(splits), np.ceil(splits)]))
        elif series.dtype != pl.Float64:
            continue
        rows = x[draw.integers(0, x.height, len(values)).tolist()]
        parts.append(rows.with_columns(pl.Series(series.name, values).cast(series.dtype)))
    return parts
