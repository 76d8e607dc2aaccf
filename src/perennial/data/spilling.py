"""Joins, sorts and uniqueness of tables larger than memory: DuckDB with a limit, which spills to a folder beyond it.

Everything that adds up batch by batch is done by polars; this is for what must see rows together.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from perennial.data.scan import Scan
from perennial.store.scratch import scratch_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["MEMORY_MB", "quoted", "spilling", "view"]

MEMORY_MB = 512  # for the engine's own buffers; what is spilled is bounded by the disk only


@contextmanager
def spilling(scratch: Path, *, memory_mb: int = MEMORY_MB) -> Generator[DuckDBPyConnection]:
    """A connection whose memory is limited; what it spills goes below `scratch` and is removed in the end.

    It reaches no network, installs no extension and writes nothing but what it spills and what a caller tells it to.
    """
    with scratch_folder(scratch) as folder:
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_mb}MB",
                "temp_directory": str(folder),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            yield connection
        finally:
            connection.close()


def view(connection: DuckDBPyConnection, name: str, table: Scan, scratch: Path) -> None:
    """Let the SQL of this connection call the table `name`. What does not lie in Parquet files is written to one."""
    if table.format == "frame":
        connection.register(name, table.parts[0])
        return
    if table.format == "parquet" and all(isinstance(part, Path) for part in table.parts):
        paths = [str(part) for part in table.parts]
    else:
        path = scratch / f"{name}.parquet"
        table.lazy().sink_parquet(path, compression="lz4")
        paths = [str(path)]
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    connection.execute(f"create view {quoted(name)} as select * from read_parquet([{listed}])")  # noqa: S608


def quoted(name: str) -> str:
    """A column's or table's name as SQL writes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
