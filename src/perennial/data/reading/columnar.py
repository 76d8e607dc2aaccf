"""Parquet and Arrow files, whose types and row counts are written in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from perennial.data.reading import Part, Stamp, opened, readable

__all__ = ["arrow_schema", "parquet_rows", "parquet_schema", "read_arrow", "read_parquet"]

PIECE_BYTES = 16 << 20  # of one piece, before it is encoded as a file encodes it
MIN_ROWS = 1024
READ_BYTES = 1 << 20  # of each column at once; without it a whole group's column is read

_BUFFER_BYTES = 1 << 20  # of each column's bytes that are in memory at a time


def parquet_schema(part: Part) -> pa.Schema:
    """Columns and types."""
    with readable(part, "Parquet"):
        return pq.ParquetFile(_source(part)).schema_arrow.remove_metadata()


def parquet_rows(part: Part) -> int:
    """How many rows there are, from the file's end."""
    with readable(part, "Parquet"):
        return pq.ParquetFile(_source(part)).metadata.num_rows


def read_parquet(part: Part, columns: Sequence[str] | None, rows: int, stamp: Stamp | None) -> Iterator[pa.Table]:
    """The rows in pieces of at most `rows` and about `PIECE_BYTES`, however large the file's own groups of rows are."""
    with readable(part, "Parquet", stamp):
        file = pq.ParquetFile(_source(part), buffer_size=READ_BYTES, pre_buffer=False)
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        fitting = PIECE_BYTES * max(file.metadata.num_rows, 1) // max(size, 1)
        rows = min(rows, max(fitting, MIN_ROWS))
        for batch in file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns)):
            yield pa.Table.from_batches([batch])


def arrow_schema(part: Part) -> pa.Schema:
    """Columns and types."""
    with readable(part, "Arrow"):
        return _arrow(part).schema.remove_metadata()


def read_arrow(part: Part, columns: Sequence[str] | None, rows: int, stamp: Stamp | None) -> Iterator[pa.Table]:
    """The rows in pieces."""
    with readable(part, "Arrow", stamp):
        reader = _arrow(part)
        batches = (
            (reader.get_batch(i) for i in range(reader.num_record_batches))
            if isinstance(reader, ipc.RecordBatchFileReader)
            else reader
        )
        for batch in batches:
            table = pa.Table.from_batches([batch])
            table = table if columns is None else table.select(list(columns))
            for start in range(0, table.num_rows, rows):
                yield table.slice(start, rows)


def _source(part: Part) -> object:
    return pa.BufferReader(part) if isinstance(part, bytes) else part


def _arrow(part: Part) -> ipc.RecordBatchFileReader | ipc.RecordBatchStreamReader:
    """Either of Arrow's two formats; a whole file is mapped into memory, not read."""
    if isinstance(part, bytes):
        is_file, source = part.startswith(b"ARROW1"), pa.BufferReader(part)
    else:
        with part.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
        source = pa.memory_map(str(part)) if is_file else opened(part)
    return ipc.open_file(source) if is_file else ipc.open_stream(source)
