"""The stored tables of predictions: Parquet, one row per predicted row.

Columns of the request are `input.NAME` (numbers, true or false, or text) or, where values are of several kinds or
nested, `json.NAME` with JSON text. Other values whose type differs between models (entity, prediction, probabilities,
label) are JSON text; whole numbers are written without a fraction, so that equal values are equal text. `value` is the
prediction as a number, where it is one. Tables of before have no such columns but `input`, a JSON object with all of a
row; a column that a table lacks is read with nulls in it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import polars as pl

__all__ = [
    "INPUT",
    "JSON",
    "PREDICTED",
    "SHADOWED",
    "input_names",
    "number",
    "read_table",
    "stack",
    "text",
    "to_parquet",
]

INPUT, JSON = "input.", "json."  # prefixes of the columns of requests

_ANSWER: dict[str, Any] = {
    "prediction": pl.String,
    "value": pl.Float64,
    "probabilities": pl.String,
    "error": pl.String,
    "latency_us": pl.Int64,
}
PREDICTED: dict[str, Any] = {
    "id": pl.String,
    "key": pl.String,
    "row": pl.Int32,
    "at": pl.Int64,
    "status": pl.Int32,
    "version": pl.Int64,
    "arm": pl.String,
    "entity": pl.String,
    "input": pl.String,  # only of before there were columns for it
    **_ANSWER,
    "shadow_version": pl.Int64,
    "flags": pl.String,  # guards that fired, as a JSON list
    "low": pl.Float64,  # of the interval of a regression; infinite where nothing less holds, null without one
    "high": pl.Float64,
    "label_set": pl.String,  # of a classification, as a JSON list
    "source": pl.String,  # the protocol that it came by
    "policy": pl.String,  # columns of the input that are not as they came, as a JSON object: mask, hash, drop
}
SHADOWED: dict[str, Any] = {"id": pl.String, "at": pl.Int64, "version": pl.Int64, **_ANSWER}
ROW_GROUP = 65_536  # rows; by the least and greatest id and time of a group a reader passes over the others

_encoder = msgspec.json.Encoder(order="deterministic")


def text(value: object) -> str | None:
    """A value as JSON; None for None.

    >>> text(3.0), text("a"), text(None)
    ('3', '"a"', None)
    """
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return _encoder.encode(value).decode()


def number(value: object) -> float | None:
    """The value as a number, where it is one; true and false are not."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def to_parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer, row_group_size=ROW_GROUP, compression_level=1)  # as small as level 3, in two thirds
    return buffer.getvalue()


def read_table(
    data: bytes, schema: dict[str, Any], *, columns: Sequence[str] | None = None, where: pl.Expr | None = None
) -> pl.DataFrame:
    """A stored table, with nulls where it is older than a column.

    Args:
        data: The object.
        schema: `PREDICTED` or `SHADOWED`.
        columns: Of the schema; None: all of it, and all columns of requests.
        where: Only rows for which this is true.
    """
    table = pl.scan_parquet(io.BytesIO(data))
    have = table.collect_schema().names()
    wanted = schema if columns is None else {name: schema[name] for name in columns}
    table = table.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in wanted.items() if name not in have
    )
    table = table if where is None else table.filter(where)
    return table.select(*wanted, *(name for name in have if columns is None and name not in wanted)).collect()


def input_names(table: pl.DataFrame) -> list[str]:
    """The columns of requests, by the names that a client gives them."""
    return [_split(name)[1] for name in table.columns if _split(name)[0]]


def stack(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Tables of one kind under each other; a column of requests whose types do not agree becomes JSON."""
    every = list(tables)
    if all(table.schema == every[0].schema for table in every[1:]):
        return pl.concat(every, rechunk=False)
    kinds: dict[str, set[pl.DataType]] = {}
    for table in every:
        for name, kind in table.schema.items():
            if _split(name)[0]:
                kinds.setdefault(_split(name)[1], set()).add(pl.Object() if name.startswith(JSON) else kind)
    mixed = {name for name, of_name in kinds.items() if not _agree(of_name)}
    return pl.concat([_with_json(table, mixed) for table in every], how="diagonal_relaxed", rechunk=False)


def _agree(kinds: set[pl.DataType]) -> bool:
    known = kinds - {pl.Null()}
    return len(known) < 2 or known == {pl.Int64(), pl.Float64()}


def _with_json(table: pl.DataFrame, mixed: set[str]) -> pl.DataFrame:
    found = [INPUT + name for name in mixed if INPUT + name in table.columns]
    texts = [
        pl.Series(JSON + _split(name)[1], [text(value) for value in table[name]], dtype=pl.String) for name in found
    ]
    return table.drop(found).with_columns(texts) if found else table


def _split(column: str) -> tuple[str, str]:
    """The prefix of a column of requests and its name; no prefix where it is none."""
    for prefix in (INPUT, JSON):
        if column.startswith(prefix):
            return prefix, column[len(prefix) :]
    return "", column
