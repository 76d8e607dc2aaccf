"""Infer a table's schema, and say what another table does differently.

Inference follows TFDV (Breck et al., MLSys 2019): type, missing values, closed set of texts, range, uniqueness. A lost,
renamed or retyped column is an error, because steps and models rest on it; values outside what was seen are warnings.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from perennial.data.column_types import column_type
from perennial.data.schema import Column, Schema, Violation

__all__ = ["check", "infer"]

MAX_DOMAIN = 50  # a text column with more different values has no closed set
MAX_DOMAIN_SHARE = 0.1  # nor has one whose values hardly repeat (Deequ's rule)
SLACK = 0.1  # the range may be left by this share of its width


def infer(table: pa.Table) -> Schema:
    """The schema that this table fits exactly. The table is canonical (`column_types.canonical`)."""
    return Schema(columns=[_infer(field.name, table.column(field.name)) for field in table.schema])


def check(table: pa.Table, schema: Schema) -> list[Violation]:
    """How a canonical table differs from a schema, errors first, otherwise in the order of the columns."""
    found: list[Violation] = []
    new = [name for name in table.column_names if all(column.name != name for column in schema.columns)]
    for column in schema.columns:
        if column.name in table.column_names:
            found += _compare(column, table.column(column.name))
        else:
            found.append(_lost(column, new))
    found += [Violation(column=name, kind="new", severity="warning", says=f"column {name!r} is new") for name in new]
    return sorted(found, key=lambda violation: violation.severity != "error")


def _infer(name: str, values: pa.ChunkedArray) -> Column:
    kind = column_type(values.type)
    minimum, maximum = _range(values)
    distinct = None if types.is_nested(values.type) else pc.count_distinct(values, mode="only_valid").as_py()
    present = len(values) - values.null_count
    closed = kind == "string" and distinct is not None and distinct <= min(MAX_DOMAIN, MAX_DOMAIN_SHARE * present)
    return Column(
        name=name,
        type=kind,
        nullable=values.null_count > 0,
        categories=sorted(cast("list[str]", values.unique().drop_null().to_pylist())) if closed else None,
        minimum=minimum,
        maximum=maximum,
        unique=kind in ("int64", "string") and distinct == len(values) > 1,
    )


def _range(values: pa.ChunkedArray) -> tuple[Any, Any]:
    kind = column_type(values.type)
    if kind not in ("int64", "float64", "date", "datetime"):
        return None, None
    ends = pc.min_max(values).as_py()
    if ends["min"] is None:
        return None, None
    if kind in ("date", "datetime"):
        return ends["min"].isoformat(), ends["max"].isoformat()
    return float(ends["min"]), float(ends["max"])


def _lost(column: Column, new: list[str]) -> Violation:
    similar = difflib.get_close_matches(column.name, new, n=1)
    renamed = f"; was it renamed to {similar[0]!r}?" if similar else ""
    return Violation(column=column.name, kind="lost", severity="error", says=f"column {column.name!r} is gone{renamed}")


def _compare(column: Column, values: pa.ChunkedArray) -> list[Violation]:
    kind = column_type(values.type)
    if kind != column.type:
        says = f"column {column.name!r} holds {kind}, was {column.type}"
        return [Violation(column=column.name, kind="type", severity="error", says=says)]
    found: list[Violation] = []

    # In polars: the first scalar that pyarrow makes imports pandas, which costs half a second.
    series = cast("pl.Series", pl.from_arrow(values))

    def warn(what: Literal["missing", "category", "range"], bad: pl.Series, says: str) -> None:
        count = int(bad.sum())
        if count:
            row = int(bad.fill_null(value=False).arg_max() or 0)
            text = says.format(count=count, value=series[row])
            found.append(
                Violation(
                    column=column.name,
                    kind=what,
                    severity="warning",
                    says=f"column {column.name!r} {text}",
                    rows=[row],
                )
            )

    if not column.nullable:
        warn("missing", series.is_null(), "has {count} missing values, had none")
    if column.categories is not None:
        unknown = series.is_not_null() & ~series.is_in(column.categories)
        warn("category", unknown, "has {count} values of a new kind such as {value!r}")
    if isinstance(column.minimum, float) and isinstance(column.maximum, float):
        slack = SLACK * (column.maximum - column.minimum)
        outside = (series < column.minimum - slack) | (series > column.maximum + slack)
        seen = f"{column.minimum:g} to {column.maximum:g}"
        warn("range", outside, "has {count} values outside " + seen + ", such as {value}")
    if column.unique and pc.count_distinct(values, mode="only_valid").as_py() < len(values) - values.null_count:
        says = f"column {column.name!r} repeats values, had none twice"
        found.append(Violation(column=column.name, kind="duplicate", severity="warning", says=says))
    return found
