"""Columns of a table as a model's inputs: what can be told of a whole column is refused, what is wrong in a row is that
row's error.

The rules are those of a request: an integer is a number, a number with a fraction is no integer, what was never missing
in training must not be missing, an infinite number is none. In a CSV file, whose columns have no type, numbers are read
from text; times, dates and bytes (base64) may be text in any file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from perennial.errors import Invalid
from perennial.models.rows import polars_type
from perennial.models.signature import Field, Signature

__all__ = ["ERROR", "check_columns", "typed"]

ERROR = "error"
_SAYS = {
    "float64": "a number",
    "int64": "a whole number",
    "bool": "true or false",
    "string": "text",
    "binary": "bytes",
    "datetime": "a time",
    "date": "a date",
}
_FROM: Mapping[str, frozenset[str]] = {
    "float64": frozenset({"float64", "int64"}),
    "int64": frozenset({"int64", "float64"}),
    "bool": frozenset({"bool"}),
    "string": frozenset({"string"}),
    "binary": frozenset({"binary", "string"}),
    "datetime": frozenset({"datetime", "date", "string"}),
    "date": frozenset({"date", "string"}),
}
_TRUE, _FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]


def check_columns(signature: Signature, types: Mapping[str, str], *, from_text: bool) -> list[str]:
    """The names of the columns to read, in the signature's order.

    Args:
        signature: What the model takes.
        types: Canonical type of each column of the table.
        from_text: Numbers and truth values may be written as text.

    Raises:
        Invalid: A column is missing, or of a type that holds no values of this input.
    """
    names: list[str] = []
    for field in signature.inputs:
        if not field.required:
            continue
        found = types.get(field.name)
        if found is None:
            raise Invalid(
                f"the table has no column {field.name!r}, which the model takes",
                remedy=f"give the columns {', '.join(one.name for one in signature.inputs if one.required)}",
            )
        fits = (
            found.startswith(("list", "large_list", "fixed_size_list")) if field.shape else found in _FROM[field.type]
        )
        if not fits and not (from_text and found == "string" and field.shape is None):
            raise Invalid(
                f"column {field.name!r} holds {found}, the model takes {_says(field)}", remedy="convert the column"
            )
        names.append(field.name)
    return names


def typed(signature: Signature, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """The inputs in the signature's types, and why a row cannot be asked: null where it can.

    Args:
        frame: The required inputs, which `check_columns` let pass.
    """
    columns: list[pl.Series] = []
    errors = pl.Series(ERROR, [None], dtype=pl.String).new_from_index(0, frame.height)
    for field in signature.inputs:
        if not field.required:
            continue
        raw = frame[field.name]
        made = _cast(raw, field)
        columns.append(made)
        if not made.null_count():
            continue
        gone = raw.is_null() | (raw.is_nan() if raw.dtype.is_float() else False)
        wrong = made.is_null() & ~gone
        if not field.nullable:
            wrong = wrong | made.is_null()
        if wrong.any():
            errors = _told(errors, wrong, raw, gone, field)
    return pl.DataFrame(columns), errors


def _cast(raw: pl.Series, field: Field) -> pl.Series:
    """The values in the field's type; null for what is none."""
    if field.shape is not None:
        return _tensors(raw, field)
    kind = polars_type(field)
    if raw.dtype == kind and field.type != "float64":
        return raw
    if field.type == "float64":
        numbers = (raw.str.strip_chars() if raw.dtype == pl.String else raw).cast(pl.Float64, strict=False)
        finite = numbers.is_finite()
        return numbers if finite.all() else _only(numbers, finite)
    if raw.dtype != pl.String:
        if field.type == "int64" and raw.dtype.is_float():
            return _only(raw.cast(pl.Int64, strict=False), raw.floor() == raw)
        return raw.cast(kind, strict=False)
    text = raw.str.strip_chars()
    if field.type == "bool":
        return _only(text.is_in(_TRUE), text.is_in([*_TRUE, *_FALSE]))
    if field.type == "binary":
        return raw.str.decode("base64", strict=False)
    if field.type == "date":
        return text.str.to_date("%Y-%m-%d", strict=False)
    if field.type == "datetime":
        zoned = text.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00Z").str.replace(
            r"^(\d{4}-\d\d-\d\d)[T ]([0-9:.]+)$", "${1}T${2}Z"
        )
        return zoned.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return text.cast(kind, strict=False)


def _only(values: pl.Series, kept: pl.Series) -> pl.Series:
    return pl.select(pl.when(kept).then(values)).to_series().rename(values.name)


def _tensors(raw: pl.Series, field: Field) -> pl.Series:
    try:
        return raw.cast(polars_type(field))
    except pl.exceptions.PolarsError:  # a list of another length somewhere: only its row is wrong
        import numpy as np

        shape = tuple(field.shape or ())
        values = [None if one is None or np.shape(one) != shape else one for one in map(_listed, raw.to_list())]
        return pl.Series(raw.name, values, dtype=polars_type(field), strict=False)


def _listed(value: Any) -> Any:
    """A value whose rows are of one length, so that it has a shape; else None."""
    if not isinstance(value, list):
        return value
    rows = [_listed(one) for one in value]
    lengths = {len(one) if isinstance(one, list) else -1 for one in rows}
    return rows if len(lengths) == 1 else None


def _told(errors: pl.Series, wrong: pl.Series, raw: pl.Series, gone: pl.Series, field: Field) -> pl.Series:
    """The first error of each row."""
    rows = wrong.arg_true()
    values = raw.gather(rows).to_list()
    empty = gone.gather(rows).to_list() if isinstance(gone, pl.Series) else [False] * len(rows)
    said = [
        f"column {field.name!r} is missing, and no training row was"
        if is_gone
        else f"column {field.name!r} expects {_says(field)}: got {repr(value)[:80]}"
        for value, is_gone in zip(values, empty, strict=True)
    ]
    before = errors.gather(rows).to_list()
    return errors.clone().scatter(rows, [old or new for old, new in zip(before, said, strict=True)])


def _says(field: Field) -> str:
    if field.shape is None:
        return _SAYS[field.type]
    return f"lists of numbers of the shape {' x '.join(map(str, field.shape))}"
