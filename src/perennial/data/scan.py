"""A table somewhere, to be read in pieces or as one lazy plan: files, stored objects, or a frame in memory.

`Scan.lazy` is for plans that polars runs; `Scan.batches` hands out pieces of bounded size, whatever the size of the
table, for what adds up by itself. Where a plan is run polars reads Parquet; everything else is read by `reading`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source
from pyarrow import types

from perennial.data.column_types import canonical, column_type
from perennial.data.formats import FORMATS, Format, format_of
from perennial.data.frames import to_arrow
from perennial.data.manifest import TableManifest
from perennial.data.reading import Stamp, columnar, delimited, jsonl, name_of, stamp_of
from perennial.errors import DataError, NotFound
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion
    from perennial.data.sources.source import After
    from perennial.store.objects import ObjectStore
    from perennial.types import Digest

__all__ = [
    "BATCH_ROWS",
    "FORMATS",
    "Format",
    "Scan",
    "format_of",
    "is_newer",
    "plan_of",
    "scan",
    "scan_files",
    "scan_manifest",
    "scan_version",
]

BATCH_ROWS = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One table in parts of one format: paths, or the bytes of small files; a frame is one part.

    The parts have the same columns; where their types differ, all are read as the type that takes the values of both.
    """

    format: Format
    parts: tuple[Any, ...]
    says: str  # what a person calls it, for errors

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns and types of all parts together.

        Raises:
            DataError: A part cannot be read, or has other columns or types; names it.
        """
        if self.format == "frame":
            return self.parts[0].schema
        return _united(self._schemas, self.parts, self.says)

    def lazy(self) -> pl.LazyFrame:
        """A plan over all rows, in order. What it raises for bad input is the same as that of `batches`."""
        if self.format == "frame":
            return cast(pl.DataFrame, pl.from_arrow(self.parts[0])).lazy()
        schema = cast(pl.DataFrame, pl.from_arrow(self.schema.empty_table())).schema
        if self.format == "parquet":
            if all(isinstance(part, Path) and own.equals(self.schema) for part, own in self._known()):
                return pl.scan_parquet(list(self.parts), glob=False)
            kinds = [pl.col(name).cast(kind) for name, kind in schema.items()]
            plans = [
                plan if own.equals(self.schema) else plan.select(kinds)
                for plan, own in ((pl.scan_parquet(part, glob=False), own) for part, own in self._known())
            ]
            return pl.concat(plans, how="vertical")

        def source(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch_rows: int | None
        ) -> Iterator[pl.DataFrame]:
            for frame in self.batches(columns=columns, rows=batch_rows or BATCH_ROWS):
                piece = frame if rows is None else frame.head(rows)
                rows = None if rows is None else rows - piece.height
                yield piece if predicate is None else piece.filter(predicate)
                if rows == 0:
                    return

        return register_io_source(source, schema=schema)

    def batches(self, *, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """The rows in order, at most `rows` at a time; memory does not grow with the table.

        Raises:
            DataError: A part cannot be read, or changes meanwhile.
        """
        for table in self.pieces(columns=columns, rows=rows):
            yield cast(pl.DataFrame, pl.from_arrow(table))

    def pieces(self, *, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """`batches` as Arrow tables."""
        if self.format == "frame":
            table: pa.Table = self.parts[0] if columns is None else self.parts[0].select(list(columns))
            yield from (table.slice(start, rows) for start in range(0, table.num_rows, rows))
            return
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        for part, stamp, own in zip(self.parts, self._stamps, self._schemas, strict=True):
            for table in self._read(part, own, schema.names, rows, stamp):
                ready = table.replace_schema_metadata(None).select(schema.names)
                yield ready if ready.schema.equals(schema) else ready.cast(schema)

    def newer(self, after: After | None) -> Iterator[pa.Table]:
        """The rows that are above a cursor's value, in pieces; all rows without one."""
        if after is None:
            yield from self.pieces()
            return
        if after.column not in self.schema.names:
            raise DataError(
                f"there is no column {after.column!r} to go on from",
                where=self.says,
                remedy=f"name another cursor: {', '.join(self.schema.names)}",
            )
        yield self.schema.empty_table()  # tells the types where nothing is newer
        wanted = self.lazy().filter(is_newer(after, self.schema.field(after.column).type))
        for frame in wanted.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            yield frame.to_arrow().cast(self.schema)

    def texts(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Like `batches`, for a CSV file with every value as it is written and null for an empty field."""
        for part, stamp in zip(self.parts, self._stamps, strict=True):
            for table in delimited.read(part, None, rows, stamp, as_text=True):
                yield cast(pl.DataFrame, pl.from_arrow(table))

    def types(self) -> dict[str, str]:
        """Canonical type of each column, in order."""
        return {field.name: column_type(field.type) for field in self.schema}

    def count(self) -> int:
        """How many rows there are."""
        if self.format == "parquet":
            return sum(columnar.parquet_rows(part) for part in self.parts)
        return sum(table.num_rows for table in self.pieces(columns=self.schema.names[:1]))

    def table(self) -> pa.Table:
        """All rows in memory, in canonical types."""
        return canonical(pa.concat_tables([self.schema.empty_table(), *self.pieces()]))

    @cached_property
    def _stamps(self) -> list[Stamp | None]:
        return [stamp_of(part) for part in self.parts]

    @cached_property
    def _schemas(self) -> list[pa.Schema]:
        assert self._stamps is not None  # taken first: what changes after the first look is noticed
        match self.format:
            case "parquet":
                return [columnar.parquet_schema(part) for part in self.parts]
            case "csv":
                return [delimited.schema_of(part) for part in self.parts]
            case "jsonl":
                return [jsonl.schema_of(part) for part in self.parts]
            case _:
                return [columnar.arrow_schema(part) for part in self.parts]

    def _known(self) -> Iterator[tuple[Path | bytes, pa.Schema]]:
        return zip(self.parts, self._schemas, strict=True)

    def _read(
        self, part: Path | bytes, schema: pa.Schema, columns: list[str], rows: int, stamp: Stamp | None
    ) -> Iterator[pa.Table]:
        match self.format:
            case "parquet":
                return columnar.read_parquet(part, columns, rows, stamp)
            case "csv":
                return delimited.read(part, columns, rows, stamp)
            case "jsonl":
                return jsonl.read(part, schema, columns, rows, stamp)
            case _:
                return columnar.read_arrow(part, columns, rows, stamp)


def is_newer(after: After, kind: pa.DataType) -> pl.Expr:
    """Whether a row is above a cursor's value, in a column of this type; a time without zone is UTC."""
    column, value = pl.col(after.column), after.value
    if types.is_timestamp(kind) and isinstance(value, dt.datetime):
        value = (value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value).astimezone(dt.UTC)
        value = value if kind.tz else value.replace(tzinfo=None)
        column = column.dt.convert_time_zone("UTC") if kind.tz not in (None, "UTC") else column
    return column >= value if after.inclusive else column > value


def scan(what: object) -> Scan:
    """A table in a file, a folder of files of one format, or a frame of pandas, polars or pyarrow.

    Raises:
        NotFound: There is nothing at this path.
        DataError: Not a frame; or the files are not tables of one format.
    """
    if not isinstance(what, str | Path):
        return Scan(format="frame", parts=(to_arrow(what),), says="the table")
    path = Path(what)
    if not path.exists():
        raise NotFound("there is no such file or folder", where=str(path))
    if path.is_file():
        return scan_files([path], str(path))
    # As Spark and Hive have it, names that begin with a dot or an underscore are no part of a table.
    found = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    return scan_files(sorted(found), str(path))


def scan_files(paths: Sequence[Path], says: str) -> Scan:
    """The table that these files hold together, in this order.

    Raises:
        DataError: They are not tables of one format.
    """
    formats: set[Format | None] = {format_of(path.name) for path in paths}
    kind = formats.pop() if len(formats) == 1 else None
    if kind is None:
        raise DataError(
            "this is no table" if len(paths) == 1 else "the files here are not tables of one format",
            where=says,
            remedy=f"name files that end in {', '.join(FORMATS)}",
        )
    return Scan(format=kind, parts=tuple(paths), says=says)


def scan_version(version: DatasetVersion, objects: ObjectStore, scratch: Path) -> Scan:
    """The rows of a dataset version, read where they lie in the object store.

    Args:
        version: Of either kind.
        objects: Where its bytes are.
        scratch: Folder for files that lie in pieces in the store; each is written there once and kept.

    Raises:
        NotFound: The version was removed.
        DataError: Its files hold no table.
    """
    from perennial.data.files.tables import table_files

    says = f"{version.name}@{version.version}"
    manifest = version.stored
    if version.kind == "files":
        return table_files(version, objects, scratch)
    return scan_manifest(manifest, objects, says)


def scan_manifest(manifest: Digest, objects: ObjectStore, says: str) -> Scan:
    """The rows of a stored table, in the order in which its files lie."""
    import msgspec

    files = msgspec.json.decode(objects.get(manifest), type=ready(TableManifest)).files
    parts = tuple(objects.open_path(file.digest) or objects.get(file.digest) for file in files)
    return Scan(format="parquet", parts=parts, says=says)


def plan_of(manifest: Digest, objects: ObjectStore) -> pl.LazyFrame:
    """A plan over a stored table whose rows always come in the same order: as stored, else in canonical order."""
    from perennial.data.tables import read_manifest, read_table

    found = read_manifest(manifest, objects)
    if found.ordered or len(found.files) == 1:
        return scan_manifest(manifest, objects, "the table").lazy()
    return cast(pl.DataFrame, pl.from_arrow(read_table(manifest, objects))).lazy()


def _united(schemas: Sequence[pa.Schema], parts: Sequence[Path | bytes], says: str) -> pa.Schema:
    """One schema for all parts."""
    kinds = {field.name: field.type for field in schemas[0]} if schemas else {}
    first = name_of(parts[0]) if parts else says
    for schema, part in zip(schemas, parts, strict=True):
        where = name_of(part) or says
        for names, there, missing_there in ((kinds, schema.names, where), (schema.names, kinds, first)):
            for name in names:
                if name not in there:
                    raise DataError(
                        f"there is no column {name!r} in {missing_there}, and other parts of the table have it",
                        where=where,
                        remedy="give all files the same columns, or collect them as tables of their own",
                    )
        for field in schema:
            both = _common(kinds[field.name], field.type)
            if both is None:
                raise DataError(
                    f"column {field.name!r} holds {column_type(field.type)}, in the files before it "
                    f"{column_type(kinds[field.name])}",
                    where=where,
                    remedy="write the values alike in all files, or collect them as tables of their own",
                )
            kinds[field.name] = both
    return pa.schema(list(kinds.items()))


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that takes the values of both without a change of meaning."""
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    names = {column_type(one), column_type(other)}
    if names == {"int64", "float64"}:
        return pa.float64()
    if len(names) == 1 and names <= {"int64", "float64", "string", "binary", "date"}:
        target = canonical(pa.table([pa.array([], one)], names=["x"])).schema.field("x").type
        return pa.large_string() if types.is_string(target) else target
    if types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp("us", tz=one.tz)
    return None
