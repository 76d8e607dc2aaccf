"""Data frames of pandas, polars and pyarrow at the edge; Arrow tables inside.

`to_arrow` takes whatever the user's function returned, `native` hands it back as what it was.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import narwhals as nw
import polars as pl
import pyarrow as pa

from perennial.errors import DataError

__all__ = ["FrameKind", "kind_of", "native", "to_arrow"]

FrameKind = Literal["polars", "pandas", "pyarrow"]


def kind_of(frame: object) -> FrameKind:
    """Which library this frame is of.

    Raises:
        DataError: Not a data frame.
    """
    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        return "polars"
    if isinstance(frame, pa.Table):
        return "pyarrow"
    if type(frame).__module__.partition(".")[0] == "pandas" and type(frame).__name__ == "DataFrame":
        return "pandas"
    raise DataError(
        f"expected a data frame, got {type(frame).__name__}",
        remedy="return a DataFrame of polars or pandas, or a pyarrow Table",
    )


def to_arrow(frame: object) -> pa.Table:
    """The frame's columns as an Arrow table; the index of a pandas frame is not a column and is dropped.

    Raises:
        DataError: Not a data frame, a column name that is not text or occurs twice, or a column that holds mixed
            Python objects; names it.
    """
    kind = kind_of(frame)
    names = [str(name) for name in _check_names(frame)]
    try:
        if kind == "pandas":
            table = pa.Table.from_pandas(cast(Any, frame), preserve_index=False)
        else:
            table = nw.from_native(cast(Any, frame)).lazy().collect("pyarrow").to_native()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"a column holds values of different types: {error}", remedy="give each column one type"
        ) from error
    return table.replace_schema_metadata(None).rename_columns(names)


def native(table: pa.Table, kind: FrameKind) -> Any:
    """The table as a frame of this library."""
    if kind == "pyarrow":
        return table
    return pl.from_arrow(table) if kind == "polars" else table.to_pandas()


def _check_names(frame: object) -> list[object]:
    if isinstance(frame, pl.LazyFrame):
        return list(frame.collect_schema().names())
    table = cast(Any, frame)
    names: list[object] = list(table.column_names if isinstance(frame, pa.Table) else table.columns)
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise DataError(f"the column name {name!r} is not text", remedy="name every column")
        if names.count(name) > 1:
            raise DataError(f"two columns are named {name!r}", remedy="give each column a name of its own")
    return names
