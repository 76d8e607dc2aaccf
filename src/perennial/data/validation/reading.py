"""How the columns of a table are read for its checks: canonical types, and what stands for a missing value is missing.

A file of text has no types but what its values look like. There a column of whole numbers may be one of any numbers,
and a column that holds texts is read as what the schema says wherever its texts can be.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from perennial.data.scan import Scan
from perennial.data.schema import Column

__all__ = ["RAW", "Reading", "literal", "readings"]

RAW = "\1raw "  # before the name of a column: its texts as they stand, where they are read as another type
_TYPES = {
    "int64": pl.Int64(),
    "float64": pl.Float64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Reading:
    """One column of the table.

    Attributes:
        name: Of the column.
        type: Its canonical type, as it is or as the schema has it read.
        seen: Its canonical type as it is.
        value: The expression that reads it.
        raw: Whether its texts are read as another type; some may not be of it.
    """

    name: str
    type: str
    seen: str
    value: pl.Expr
    raw: bool = False

    @property
    def expressions(self) -> list[pl.Expr]:
        """What a plan selects to have this column."""
        return [self.value, pl.col(self.name).alias(RAW + self.name)] if self.raw else [self.value]


def readings(table: Scan, columns: Sequence[Column]) -> dict[str, Reading]:
    """Each column of the table, as the schema's columns want it read."""
    known = {column.name: column for column in columns}
    dtypes = pl.Schema(table.schema)
    is_text = table.format in ("csv", "jsonl")
    return {name: _reading(name, kind, dtypes[name], known.get(name), is_text) for name, kind in table.types().items()}


def literal(value: float | str, kind: str) -> pl.Expr:
    """A bound of a schema as a value of the column's type.

    Raises:
        ValueError: It is none.
    """
    if kind == "date":
        return pl.lit(dt.date.fromisoformat(str(value)[:10]))
    if kind == "datetime":
        time = dt.datetime.fromisoformat(str(value))
        return pl.lit(time if time.tzinfo else time.replace(tzinfo=dt.UTC), dtype=pl.Datetime("us", "UTC"))
    return pl.lit(value)


def _reading(name: str, kind: str, dtype: pl.DataType, column: Column | None, is_text: bool) -> Reading:
    value = pl.col(name)
    wanted = column.type if column else kind
    if dtype == pl.Null and wanted in _TYPES:  # a column without any value is of any type
        return Reading(name, wanted, wanted, value.cast(_TYPES[wanted]))
    if kind == "string":
        value = value if dtype == pl.String else value.cast(pl.String)
        if column and column.missing:
            value = pl.when(~value.is_in(column.missing)).then(value)
        if is_text and wanted != kind and wanted in _TYPES:
            return Reading(name, wanted, kind, _from_text(value.str.strip_chars(), wanted).alias(name), raw=True)
    elif dtype.is_float():
        value = value.fill_nan(None)
    elif isinstance(dtype, pl.Datetime):
        zoned = value.dt.convert_time_zone("UTC") if dtype.time_zone else value.dt.replace_time_zone("UTC")
        value = zoned.dt.cast_time_unit("us")
    elif is_text and (kind, wanted) == ("int64", "float64"):
        return Reading(name, wanted, kind, value.cast(pl.Float64))
    return Reading(name, kind, kind, value.alias(name))


def _from_text(text: pl.Expr, kind: str) -> pl.Expr:
    if kind == "bool":
        return pl.when(text.str.to_lowercase().is_in(["true", "false"])).then(text.str.to_lowercase() == "true")
    if kind == "date":
        return text.str.to_date(strict=False)
    if kind == "datetime":
        return text.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    return text.cast(_TYPES[kind], strict=False)
