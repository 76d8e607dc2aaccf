"""A table in the object store: a manifest of Parquet files, where an append adds a file.

A later version recognises the rows that are stored already and adds a file with the rest (`manifest`). Any engine
reads the files as they lie.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from perennial.data.digest import in_canonical_order, logical_digest
from perennial.data.manifest import TableFile, TableManifest
from perennial.errors import Corrupt
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["read_manifest", "read_table", "write_table"]


def write_table(
    table: pa.Table, objects: ObjectStore, *, order_matters: bool = False, previous: Digest | None = None
) -> tuple[Digest, Digest]:
    """Store a table; gives the digest of its manifest, and its logical digest.

    Args:
        table: The rows.
        objects: Where the bytes go.
        order_matters: Whether the same rows in another order are another table.
        previous: Manifest of an earlier version; what it stores already is not stored again when this table holds all
            its rows (an ordered one: begins with them).
    """
    rest = table if order_matters else in_canonical_order(table)
    logical = logical_digest(rest, order_matters=True)
    kept: list[TableFile] = []
    if previous is not None:
        before = read_manifest(previous, objects)
        if (before.logical, before.ordered) == (logical, order_matters):
            return previous, logical
        kept, rest = _beyond(rest, before, objects)
    if rest.num_rows or not kept:
        stored = TableFile(
            digest=objects.put(_parquet(rest)), rows=rest.num_rows, logical=logical_digest(rest, order_matters=True)
        )
        kept = [*kept, stored]
    manifest = TableManifest(ordered=order_matters, logical=logical, rows=table.num_rows, files=kept)
    return objects.put(canonical_json(cast(JSON, msgspec.to_builtins(manifest)))), logical


def read_table(manifest: Digest, objects: ObjectStore) -> pa.Table:
    """The rows of a stored table. An unordered one comes in canonical order: the same rows, always the same way.

    Raises:
        NotFound, Corrupt: A file is not there, or is not what was stored.
    """
    found = read_manifest(manifest, objects)
    table = pa.concat_tables([_read(file, objects) for file in found.files]).combine_chunks()
    return table if found.ordered or len(found.files) == 1 else in_canonical_order(table)


def read_manifest(digest: Digest, objects: ObjectStore) -> TableManifest:
    """Parse a stored manifest."""
    try:
        return msgspec.json.decode(objects.get(digest), type=TableManifest)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"object {digest} is not the manifest of a table: {error}") from error


def _beyond(table: pa.Table, before: TableManifest, objects: ObjectStore) -> tuple[list[TableFile], pa.Table]:
    """The files of an earlier version that can stay, and the rows that they do not hold."""
    if before.rows > table.num_rows or not before.rows:
        return [], table
    if before.ordered:
        kept: list[TableFile] = []
        start = 0
        for file in before.files:
            if logical_digest(table.slice(start, file.rows), order_matters=True) != file.logical:
                break
            kept.append(file)
            start += file.rows
        return kept, table.slice(start)
    old = pa.concat_tables([_read(file, objects) for file in before.files])
    if old.schema != table.schema or any(types.is_nested(kind) for kind in table.schema.types):
        return [], table
    rest = _minus(table, old)
    return (before.files, rest) if rest.num_rows == table.num_rows - old.num_rows else ([], table)


def _minus(table: pa.Table, old: pa.Table) -> pa.Table:
    """The rows of `table` that are not in `old`; of equal rows, as many as `old` has fewer."""
    columns = table.column_names

    def numbered(rows: pa.Table, name: str) -> pl.DataFrame:
        frame = cast(pl.DataFrame, pl.from_arrow(rows))
        return frame.select(*columns, pl.int_range(pl.len()).over(columns).alias(_COPY), pl.row_index(name))

    left = numbered(table, _ROW)
    rest = left.join(numbered(old, _OLD_ROW), on=[*columns, _COPY], how="anti", nulls_equal=True, maintain_order="left")
    return table.take(rest.get_column(_ROW).to_arrow())


_ROW, _OLD_ROW, _COPY = "\1row", "\1old row", "\1copy"  # no column of a user is named so


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd", store_schema=True)
    return sink.getvalue()


def _read(file: TableFile, objects: ObjectStore) -> pa.Table:
    # Not `pq.read_table`: it imports pyarrow.dataset, and that pandas.
    return pq.ParquetFile(pa.BufferReader(objects.get(file.digest))).read().replace_schema_metadata(None)
