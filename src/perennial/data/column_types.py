"""The seven column types that a model may take, and how other Arrow types become one of them.

    float64  int64  bool  string  binary  datetime (microseconds, UTC)  date

Training and serving see the same types because both pass through `canonical`: widths are widened, dictionaries
decoded, NaN is null, a time without zone is UTC. Other types (lists, structs, decimals) stay as they are in a dataset;
a model refuses them by name.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from perennial.errors import DataError

__all__ = ["ARROW_TYPES", "canonical", "column_type"]

ARROW_TYPES: dict[str, pa.DataType] = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}
_NAMES = {kind: name for name, kind in ARROW_TYPES.items()}


def column_type(kind: pa.DataType) -> str:
    """The name of a column's type: one of the seven, else Arrow's own word for it.

    >>> column_type(pa.int16()), column_type(pa.list_(pa.int8()))
    ('int64', 'list<item: int8>')
    """
    return _NAMES.get(_target(kind), str(kind))


def canonical(table: pa.Table) -> pa.Table:
    """The same rows in canonical types, each column one chunk, without schema metadata.

    Raises:
        DataError: A number that an int64 cannot hold, or text that is not UTF-8; names the column.
    """
    columns: list[pa.Array] = []
    for field in table.schema:
        column = table.column(field.name)
        try:
            column = column.cast(_target(field.type)).combine_chunks()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"column {field.name!r} does not fit {column_type(field.type)}: {error}",
                remedy="convert the column in the collect step",
            ) from error
        # Asked first: the first scalar that pyarrow makes imports pandas, which costs half a second.
        if types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
            column = pc.if_else(pc.fill_null(pc.is_nan(column), False), pa.scalar(None, column.type), column)
        columns.append(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return pa.table(columns, names=table.column_names)


def _target(kind: pa.DataType) -> pa.DataType:
    if types.is_dictionary(kind):
        return _target(kind.value_type)
    if types.is_integer(kind):
        return ARROW_TYPES["int64"]
    if types.is_floating(kind) or types.is_null(kind):  # a column without any value is a number that is always missing
        return ARROW_TYPES["float64"]
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return ARROW_TYPES["string"]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return ARROW_TYPES["binary"]
    if types.is_timestamp(kind):
        return ARROW_TYPES["datetime"]
    if types.is_date(kind):
        return ARROW_TYPES["date"]
    return kind
