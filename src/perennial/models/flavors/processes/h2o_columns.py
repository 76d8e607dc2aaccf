"""A frame's columns as h2o's scoring library takes them: one row of doubles for each row.

Which places a column fills, and with what, the MOJO says (`jvm.py` asks h2o's own encoders); a numeric column fills one
with its value. Times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import DataError

__all__ = ["FALSE", "TRUE", "Column", "number"]

TRUE, FALSE = ("True", "TRUE", "true", "1"), ("False", "FALSE", "false", "0")
# What h2o's client writes for a missing text of a pandas frame, by the type of the column: to h2o it is a level like
# any other. Where no row of training held it as a text, a missing value is this level, as it was in training.
MISSING = ("nan", "")


class Column:
    """Where a column's values go in a row of the MOJO's.

    `described`: its name, places, levels and their values. `seen`: the texts that training held, where they are known.
    """

    def __init__(self, described: Mapping[str, Any], seen: list[str]) -> None:
        self.name: str = described["name"]
        self._places: list[int] = described["places"]
        self._levels: list[str] | None = described["levels"]
        # One row for each level, the last for a missing value.
        self._table = np.array(described["values"], dtype=np.float64) if self._levels is not None else None
        self._missing = len(self._levels or [])
        for text in MISSING:
            if self._levels is not None and text in self._levels and text not in seen:
                self._missing = self._levels.index(text)
                break

    def expression(self, dtype: pl.DataType) -> pl.Expr:
        """A column of this type as a number: the value, or the row of the table."""
        column = pl.col(self.name)
        if self._levels is None:
            return number(column, dtype, self.name).alias(self.name)
        if dtype == pl.Boolean():
            true, false = (self._code(words) for words in (TRUE, FALSE))
            codes = pl.when(column.is_null()).then(self._missing).when(column).then(true).otherwise(false)
        else:
            texts = column.map_batches(_whole, return_dtype=pl.String()) if dtype.is_float() else column
            levels = texts.cast(pl.String()).cast(pl.Enum(self._levels), strict=False)
            codes = levels.to_physical().cast(pl.Int64()).fill_null(self._missing)
        return codes.cast(pl.Float64()).alias(self.name)

    def fill(self, matrix: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Write the values into their places."""
        if self._table is None:
            matrix[:, self._places[0]] = values
        else:
            matrix[:, self._places] = self._table[values.astype(np.int64)]

    def _code(self, words: tuple[str, ...]) -> int:
        """The row of the level that is one of these words."""
        levels = self._levels or []
        return next((levels.index(word) for word in words if word in levels), self._missing)


def number(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """A column that is numeric to h2o; missing is NaN."""
    if isinstance(dtype, pl.Datetime):
        column = column.dt.epoch("ms")
    elif dtype == pl.Date():
        column = column.to_physical().cast(pl.Int64()) * 86_400_000
    elif not (dtype.is_numeric() or dtype == pl.Boolean()):
        raise DataError(
            f"column {name!r} holds {dtype}, but to the h2o model it is a number",
            remedy="give the model the type that it was trained on",
        )
    return column.cast(pl.Float64()).fill_null(float("nan"))


def _whole(series: pl.Series) -> pl.Series:
    """Numbers as h2o writes the levels that it made of them: whole ones without a point."""
    values = cast("list[float | None]", series.fill_nan(None).to_list())
    texts = [None if value is None else str(int(value)) if value.is_integer() else repr(value) for value in values]
    return pl.Series(series.name, texts, dtype=pl.String())
