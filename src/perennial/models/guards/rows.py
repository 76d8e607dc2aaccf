"""Rows as the guards look at them: their numbers as one matrix, their other values as they stand in requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.models.guards.fitted import NumberColumn
from perennial.models.rows import to_records

__all__ = ["column_values", "matrix_of"]

Floats = NDArray[np.float64]


def matrix_of(frame: pl.DataFrame, numbers: Sequence[NumberColumn]) -> Floats:
    """The numbers of each row, shape (n, width), NaN where one is missing."""
    if not numbers:
        return np.empty((frame.height, 0))
    parts: list[Floats] = []
    for column in numbers:
        series = frame[column.name]
        values = series.to_numpy() if isinstance(series.dtype, pl.Array) else series.cast(pl.Float64()).to_numpy()
        parts.append(np.asarray(values, dtype=np.float64).reshape(frame.height, column.width))
    return np.ascontiguousarray(np.hstack(parts))


def column_values(frame: pl.DataFrame, name: str, keep: NDArray[np.int64] | None = None) -> list[Any]:
    """The values of a column as they stand in requests."""
    values = [record[name] for record in to_records(frame.select(name))]
    return values if keep is None else [values[at] for at in keep.tolist()]
