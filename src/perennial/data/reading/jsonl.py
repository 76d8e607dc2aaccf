"""JSON lines: an object on each line; types are those that fit all lines of the file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import NoReturn

import polars as pl
import pyarrow as pa

from perennial.data.reading import Part, Stamp, name_of, opened, readable
from perennial.errors import DataError

__all__ = ["read", "schema_of"]


def schema_of(part: Part) -> pa.Schema:
    """Columns and types, from all lines."""
    with readable(part, "JSON lines"):
        try:
            types = pl.scan_ndjson(part, infer_schema_length=None).collect_schema()
        except pl.exceptions.PolarsError as error:
            _explain(part, error)
        return pl.DataFrame(schema=types).to_arrow().schema


def read(
    part: Part, schema: pa.Schema, columns: Sequence[str] | None, rows: int, stamp: Stamp | None
) -> Iterator[pa.Table]:
    """The rows in pieces."""
    types = pl.DataFrame(schema.empty_table()).schema
    with readable(part, "JSON lines", stamp):
        plan = pl.scan_ndjson(part, schema=types)
        plan = plan if columns is None else plan.select(columns)
        try:
            for frame in plan.collect_batches(chunk_size=rows, maintain_order=True):
                for piece in frame.iter_slices(rows):
                    yield piece.to_arrow()
        except pl.exceptions.PolarsError as error:
            _explain(part, error)


def _explain(part: Part, error: Exception) -> NoReturn:
    """Say which line is wrong."""
    number = 0
    for number, line in enumerate(io.BufferedReader(opened(part)), 1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                raise DataError(
                    f"line {number} is not an object", where=name_of(part), remedy='write lines such as {"column": 1}'
                )
        except (json.JSONDecodeError, UnicodeDecodeError) as wrong:
            raise DataError(
                f"line {number} is not JSON: {wrong}",
                where=name_of(part),
                remedy="mend or take away this line; a file that is still being written ends in half a line",
            ) from error
    if not number:
        raise DataError("the file is empty", where=name_of(part), remedy="write it again, or take it away") from error
    raise DataError(
        f"the lines do not fit one table: {str(error).splitlines()[0]}",
        where=name_of(part),
        remedy="give each name values of one kind on all lines",
    ) from error
