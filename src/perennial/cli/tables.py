"""Tables that a user hands to a command: CSV, Parquet or JSON lines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.errors import Invalid

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_table"]

SUFFIXES = (".csv", ".parquet", ".ndjson", ".jsonl")


def read_table(file: Path, *, texts: Collection[str] = ()) -> pl.DataFrame:
    """The table in this file; in a CSV the columns `texts` are text, also where they look like numbers.

    Raises:
        Invalid: No such file, or not a table.
    """
    import polars

    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise Invalid(
            f"cannot read {suffix or 'a file without suffix'}", where=str(file), remedy=f"use {', '.join(SUFFIXES)}"
        )
    if not file.is_file():
        raise Invalid("there is no such file", where=str(file), remedy="mend the path")
    try:
        if suffix == ".csv":
            return polars.read_csv(file, schema_overrides=dict.fromkeys(texts, polars.String), try_parse_dates=True)
        return polars.read_parquet(file) if suffix == ".parquet" else polars.read_ndjson(file)
    except (OSError, polars.exceptions.PolarsError) as error:
        why = str(error).splitlines()[0]
        raise Invalid(f"cannot read the table: {why}", where=str(file), remedy=f"write it as {suffix[1:]}") from error
