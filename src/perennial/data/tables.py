"""A table in the object store: a manifest of Parquet files, where an append adds a file.

A later version recognises the rows that are stored already and adds a file with the rest (`manifest`). Any engine
reads the files as they lie. `write_table` takes a table in memory, `write_batches` one that never is there as a whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import UNSET
from pyarrow import types

from perennial.data.column_types import column_type
from perennial.data.digest import BLOCK_ROWS, StreamDigest, in_canonical_order, logical_digest
from perennial.data.manifest import TableFile, TableManifest
from perennial.errors import Conflict, Corrupt, DataError
from perennial.store.decoding import ready
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["read_manifest", "read_table", "rows_beyond", "write_batches", "write_table"]

FILE_BYTES = 16 << 20  # of Arrow data in one Parquet file of a stream; it is in memory until the file is written
FILE_ROWS = 1 << 20
STREAM_FORMAT = 2
GROUP_ROWS = 1 << 17  # in one row group, which a reader takes at once


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
    before = _relied_on(previous, objects)
    if before is not None and previous is not None:
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


def write_batches(
    batches: Iterable[pa.Table], objects: ObjectStore, *, previous: Digest | None = None, append: bool = False
) -> tuple[Digest, Digest, int]:
    """Store an ordered table that comes in pieces, in bounded memory; gives its manifest, logical digest and rows.

    What is identical from the beginning with `previous` is not stored again, and with `append` the pieces come behind
    it. However the pieces were cut, the digest is the same (docs/decisions/0019).

    Args:
        batches: At least one, all with the same columns (`column_types.canonical`).
        objects: Where the bytes go.
        previous: Manifest of an earlier version.
        append: Whether the pieces come behind the rows of `previous`.

    Raises:
        DataError: There is no batch, or one has other columns than those before.
        Conflict: The rows that these come behind were removed meanwhile.
    """
    before = _relied_on(previous, objects)
    if before is None and previous is not None and append:
        raise Conflict(
            "the version that these rows come behind was removed meanwhile",
            remedy="collect again: everything is then collected anew",
        )
    writer: _StreamWriter | None = None
    for batch in batches:
        if writer is None:
            writer = _StreamWriter(batch.schema, objects)
            if before is not None and append:
                writer.go_on(before)
            elif before is not None and before.format == STREAM_FORMAT:
                writer.known = [file for file in before.files if file.rows]
        writer.add(batch)
    if writer is None:
        raise DataError("there are no rows", remedy="look at the source: it may be empty or its filter too narrow")
    return writer.finish()


def read_table(manifest: Digest, objects: ObjectStore) -> pa.Table:
    """The rows of a stored table. An unordered one comes in canonical order: the same rows, always the same way.

    Raises:
        NotFound, Corrupt: A file is not there, or is not what was stored.
    """
    found = read_manifest(manifest, objects)
    table = pa.concat_tables([_read(file, objects) for file in found.files]).combine_chunks()
    return table if found.ordered or len(found.files) == 1 else in_canonical_order(table)


class _StreamWriter:
    """Cuts a stream into files. As long as the rows are those of `known` files, it cuts as they were cut."""

    def __init__(self, schema: pa.Schema, objects: ObjectStore) -> None:
        self.known: list[TableFile] = []
        self._schema = schema
        self._objects = objects
        self._digest = StreamDigest(schema)
        self._files: list[TableFile] = []
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0

    def go_on(self, before: TableManifest) -> None:
        """Begin behind the rows of an earlier version."""
        is_stream = before.format == STREAM_FORMAT and before.chain is not UNSET
        full = before.rows - before.rows % BLOCK_ROWS if is_stream else 0
        chain = cast("Digest | None", before.chain) if is_stream else None
        self._digest = StreamDigest(self._schema, chain=chain, rows=full)
        start = 0
        for file in before.files:
            if start + file.rows > full:
                for batch in _pieces(file, self._objects):
                    self._check(batch)
                    self._digest.update(batch.slice(max(full - start, 0)))
                    start += batch.num_rows
                file = file if is_stream else msgspec.structs.replace(file, logical=self._digest.digest())
            else:
                start += file.rows
            self._files.append(file)

    def add(self, table: pa.Table) -> None:
        self._check(table)
        while table.num_rows:
            piece = table.slice(0, self._room())
            table = table.slice(piece.num_rows)
            self._digest.update(piece)
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            self._waiting_bytes += piece.nbytes
            if self.known and self._waiting_rows == self.known[0].rows:
                self._compare()
            if not self.known and (self._waiting_bytes >= FILE_BYTES or self._waiting_rows >= FILE_ROWS):
                self._close()

    def finish(self) -> tuple[Digest, Digest, int]:
        if self._waiting or not self._files:
            self._close()
        logical, rows = self._digest.digest(), self._digest.rows
        manifest = TableManifest(
            format=STREAM_FORMAT, ordered=True, logical=logical, rows=rows, files=self._files, chain=self._digest.chain
        )
        return self._objects.put(canonical_json(cast(JSON, msgspec.to_builtins(manifest)))), logical, rows

    def _room(self) -> int:
        """Rows until the next place where a file may end: a known file's end, else a block's."""
        if self.known:
            return self.known[0].rows - self._waiting_rows
        return BLOCK_ROWS - self._digest.rows % BLOCK_ROWS

    def _compare(self) -> None:
        if self._digest.digest() == self.known[0].logical:
            self._files.append(self.known.pop(0))
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        else:
            self.known = []

    def _close(self) -> None:
        table = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        digest = self._objects.put(_parquet(table))
        self._files.append(TableFile(digest=digest, rows=table.num_rows, logical=self._digest.digest()))
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        pa.default_memory_pool().release_unused()  # else what was freed counts as ours until the stream ends

    def _check(self, table: pa.Table) -> None:
        if table.schema.equals(self._schema):
            return
        for before, now in zip(self._schema, table.schema, strict=False):
            if before != now:
                raise DataError(
                    f"column {now.name!r} ({column_type(now.type)}) comes where {before.name!r} "
                    f"({column_type(before.type)}) was",
                    where=f"from row {self._digest.rows} on",
                    remedy="let the source give the same columns, of the same types, from beginning to end",
                )
        raise DataError(
            f"{len(table.schema)} columns come where {len(self._schema)} were", where=f"from row {self._digest.rows} on"
        )


def read_manifest(digest: Digest, objects: ObjectStore) -> TableManifest:
    """Parse a stored manifest."""
    try:
        return msgspec.json.decode(objects.get(digest), type=ready(TableManifest))
    except msgspec.MsgspecError as error:
        raise Corrupt(f"object {digest} is not the manifest of a table: {error}") from error


def _relied_on(previous: Digest | None, objects: ObjectStore) -> TableManifest | None:
    """An earlier version, kept from garbage collection as if it had been put here; None when it is gone."""
    if previous is None or objects.pin([previous]):
        return None
    before = read_manifest(previous, objects)
    return None if objects.pin([file.digest for file in before.files]) else before


def _beyond(table: pa.Table, before: TableManifest, objects: ObjectStore) -> tuple[list[TableFile], pa.Table]:
    """The files of an earlier version that can stay, and the rows that they do not hold."""
    if before.format == STREAM_FORMAT or not before.rows:
        return [], table
    kept: list[TableFile] = []
    if before.ordered:
        start = 0
        for file in before.files:
            if logical_digest(table.slice(start, file.rows), order_matters=True) != file.logical:
                break
            kept.append(file)
            start += file.rows
        return kept, table.slice(start)
    rest = table
    for file in before.files:  # each whose rows are all still there
        if file.rows > rest.num_rows:
            continue
        old = _read(file, objects)
        if old.schema != table.schema or any(types.is_nested(kind) for kind in table.schema.types):
            return [], table
        beyond = rows_beyond(rest, old)
        if beyond.num_rows == rest.num_rows - old.num_rows:
            kept.append(file)
            rest = beyond
    return kept, rest


def rows_beyond(table: pa.Table, old: pa.Table) -> pa.Table:
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
    sink = io.BytesIO()  # gives its bytes without a copy
    table = table.replace_schema_metadata(None)
    # A dictionary of numbers makes writing three times as slow and the file larger, unless few are different.
    texts = [field.name for field in table.schema if column_type(field.type) in ("string", "binary")]
    pq.write_table(table, sink, compression="zstd", use_dictionary=texts, store_schema=True, row_group_size=GROUP_ROWS)
    return sink.getvalue()


def _read(file: TableFile, objects: ObjectStore) -> pa.Table:
    # Not `pq.read_table`: it imports pyarrow.dataset, and that pandas.
    return pq.ParquetFile(pa.BufferReader(objects.get(file.digest))).read().replace_schema_metadata(None)


def _pieces(file: TableFile, objects: ObjectStore) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(pa.BufferReader(objects.get(file.digest))).iter_batches(batch_size=GROUP_ROWS):
        yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
