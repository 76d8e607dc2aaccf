"""Columns whose values are tensors: lists of numbers of one shape become a polars Array, anything else is refused."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from perennial.data.column_types import column_type
from perennial.errors import DataError
from perennial.models.rows import POLARS_TYPES

__all__ = ["shape_of", "to_polars"]


def to_polars(table: pa.Table, what: str, remedy: str) -> pl.DataFrame:
    """A table of canonical types as a polars frame.

    Raises:
        DataError: A column holds something no model takes, such as structs, or lists of different lengths.
    """
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    odd = [field for field in table.schema if column_type(field.type) not in POLARS_TYPES]
    return frame.with_columns([_tensors(frame[field.name], f"{what} {field.name!r}", field, remedy) for field in odd])


def shape_of(dtype: Any) -> list[int] | None:
    """The shape of an Array column's values; None for any other column."""
    return list(dtype.shape) if isinstance(dtype, pl.Array) else None


def _tensors(series: pl.Series, what: str, field: pa.Field, remedy: str) -> pl.Series:
    shape: list[int] = []
    dtype, first = series.dtype, series.drop_nulls()
    value: Any = first[0] if len(first) else None
    while isinstance(dtype, pl.List | pl.Array):
        shape.append(len(value) if value is not None else 0)
        value = value[0] if value is not None and len(value) else None
        dtype = dtype.inner
    if not shape or 0 in shape or not dtype.is_numeric():
        raise DataError(f"{what} holds {field.type}, which no model takes", remedy=remedy)
    try:
        return series.cast(pl.Array(pl.Float64(), tuple(shape)))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{what} holds lists of different lengths: the first has the shape {' x '.join(map(str, shape))}",
            remedy="give each row a tensor of the same shape",
        ) from error
