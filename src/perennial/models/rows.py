"""Checked records to a polars frame of exactly the signature's types, and text to the categories of training."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import polars as pl

from perennial.models.signature import Field, Records, Signature

__all__ = ["POLARS_TYPES", "encode", "to_frame", "to_records"]

POLARS_TYPES: dict[str, Any] = {
    "float64": pl.Float64(),
    "int64": pl.Int64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
    "binary": pl.Binary(),
    "datetime": pl.Datetime("us", "UTC"),
    "date": pl.Date(),
}


def to_frame(signature: Signature, records: Records) -> pl.DataFrame:
    """The required inputs of checked records, in the signature's order."""
    return pl.DataFrame(
        [_series(field, [row[field.name] for row in records]) for field in signature.inputs if field.required]
    )


def to_records(frame: pl.DataFrame) -> Records:
    """Rows as JSON values: what `Requests` accepts and `to_frame` reads back."""
    texts: list[pl.Series] = []
    for series in frame.get_columns():
        if series.dtype == pl.Binary:
            series = series.bin.encode("base64")
        elif series.dtype == pl.Date:
            series = series.dt.to_string("%Y-%m-%d")
        elif isinstance(series.dtype, pl.Datetime):
            series = series.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        texts.append(series)
    return pl.DataFrame(texts).to_dicts() if texts else []


def encode(frame: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """The model's columns in its order; a text that training did not see becomes null."""
    return frame.select(
        [
            pl.col(field.name).cast(pl.Enum(field.categories), strict=False)
            if field.categories is not None
            else pl.col(field.name).cast(POLARS_TYPES[field.type])
            for field in fields
        ]
    )


def _series(field: Field, values: list[Any]) -> pl.Series:
    kind = POLARS_TYPES[field.type]
    if field.type == "binary":
        return pl.Series(field.name, [None if v is None else base64.b64decode(v) for v in values], dtype=kind)
    if field.type == "date":
        return pl.Series(field.name, values, dtype=pl.String()).str.to_date("%Y-%m-%d")
    if field.type == "datetime":
        times = pl.Series(field.name, values, dtype=pl.String())
        zoned = times.str.replace(r"([0-9])$", "${1}Z") if times.str.contains(r"T[0-9:.]+$").any() else times
        return zoned.str.to_datetime("%+", time_unit="us", time_zone="UTC")
    return pl.Series(field.name, values, dtype=kind)
