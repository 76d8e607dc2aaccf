"""Checked records to a polars frame of exactly the signature's types, and text to the categories of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from perennial.models.signature import Field, Records, Signature

__all__ = ["POLARS_TYPES", "encoding", "polars_type", "to_frame", "to_records"]

POLARS_TYPES: dict[str, Any] = {
    "float64": pl.Float64(),
    "int64": pl.Int64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
    "binary": pl.Binary(),
    "datetime": pl.Datetime("us", "UTC"),
    "date": pl.Date(),
}
_JSON_TYPES: dict[str, Any] = {"binary": pl.String(), "datetime": pl.String(), "date": pl.String()}


def polars_type(field: Field) -> Any:
    """The polars type of a column, a tensor's as an Array."""
    plain = POLARS_TYPES[field.type]
    return pl.Array(plain, tuple(field.shape)) if field.shape is not None else plain


def to_frame(signature: Signature, records: Records) -> pl.DataFrame:
    """The required inputs of checked records, in the signature's order."""
    fields = [field for field in signature.inputs if field.required]
    schema = {field.name: _JSON_TYPES.get(field.type) or polars_type(field) for field in fields}
    frame = pl.DataFrame(records, schema=schema)
    encoded = [_decoded(frame.get_column(field.name), field) for field in fields if field.type in _JSON_TYPES]
    return frame.with_columns(encoded) if encoded else frame


def to_records(frame: pl.DataFrame) -> Records:
    """Rows as JSON values: what a request may hold and `to_frame` reads back."""
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


def encoding(fields: Sequence[Field]) -> list[pl.Expr]:
    """Selects the model's columns in its order; a text that training did not see becomes null."""
    return [
        pl.col(field.name).cast(pl.Enum(field.categories), strict=False)
        if field.categories is not None
        else pl.col(field.name).cast(polars_type(field))
        for field in fields
    ]


def _decoded(texts: pl.Series, field: Field) -> pl.Series:
    if field.type == "binary":
        return texts.str.decode("base64")
    if field.type == "date":
        return texts.str.to_date("%Y-%m-%d")
    zoned = texts.str.replace(r"(T[0-9:.]+)$", "${1}Z")  # a time without zone is UTC
    return zoned.str.to_datetime("%+", time_unit="us", time_zone="UTC")
