"""A table somewhere, to be read in pieces or as one lazy plan: files, stored objects, or a frame in memory.

`Scan.lazy` is for plans that polars runs; `Scan.batches` hands out pieces of bounded size, whatever the size of the
table, for what adds up by itself. Column types are told in canonical words (`column_types`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from perennial.data.column_types import canonical, column_type
from perennial.data.frames import to_arrow
from perennial.data.manifest import TableManifest
from perennial.errors import DataError, NotFound

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion
    from perennial.store.objects import ObjectStore

__all__ = ["BATCH_ROWS", "FORMATS", "Format", "Scan", "format_of", "scan", "scan_version"]

Format = Literal["parquet", "csv", "jsonl", "arrow", "frame"]
BATCH_ROWS = 1 << 17
FORMATS: Mapping[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
}


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One table in parts of one format: paths, or the bytes of small files; a frame is one part."""

    format: Format
    parts: tuple[Any, ...]
    says: str  # what a person calls it, for errors

    def lazy(self) -> pl.LazyFrame:
        """A plan over all rows, in order, with the types as they were read."""
        if self.format == "frame":
            return cast(pl.DataFrame, pl.from_arrow(self.parts[0])).lazy()
        return pl.concat([_lazy(self.format, part) for part in self.parts], how="vertical")

    def batches(self, *, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """The rows in order, at most `rows` at a time; memory does not grow with the table."""
        for part in self.parts:
            if self.format == "parquet":
                file = pq.ParquetFile(pa.BufferReader(part) if isinstance(part, bytes) else part)
                for batch in file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns)):
                    yield cast(pl.DataFrame, pl.from_arrow(pa.Table.from_batches([batch])))
            else:
                plan = self.lazy() if self.format == "frame" else _lazy(self.format, part)
                plan = plan if columns is None else plan.select(columns)
                for frame in plan.collect_batches(chunk_size=rows, maintain_order=True):
                    yield from frame.iter_slices(rows)

    def types(self) -> dict[str, str]:
        """Canonical type of each column, in order."""
        schema = self.lazy().collect_schema()
        empty = pl.DataFrame(schema=schema).to_arrow()
        return {field.name: column_type(field.type) for field in empty.schema}

    def count(self) -> int:
        """How many rows there are."""
        if self.format == "parquet":
            files = (pq.ParquetFile(pa.BufferReader(part) if isinstance(part, bytes) else part) for part in self.parts)
            return sum(file.metadata.num_rows for file in files)
        return int(self.lazy().select(pl.len()).collect(engine="streaming").item())

    def table(self) -> pa.Table:
        """All rows in memory, in canonical types."""
        return canonical(self.lazy().collect().to_arrow())


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
    files = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
    formats: set[Format | None] = {format_of(found.name) for found in files}
    kind = formats.pop() if len(formats) == 1 else None
    if kind is None:
        raise DataError(
            "this is no table" if path.is_file() else "the files here are not tables of one format",
            where=str(path),
            remedy=f"name files that end in {', '.join(FORMATS)}",
        )
    return Scan(format=kind, parts=tuple(files), says=str(path))


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
    import msgspec

    files = msgspec.json.decode(objects.get(manifest), type=TableManifest).files
    parts = tuple(objects.open_path(file.digest) or objects.get(file.digest) for file in files)
    return Scan(format="parquet", parts=parts, says=says)


def format_of(name: str) -> Format | None:
    """The format of a file by the end of its name; None when it is no table.

    >>> format_of("trips.csv.gz"), format_of("cat.png")
    ('csv', None)
    """
    return next((kind for ending, kind in FORMATS.items() if name.lower().endswith(ending)), None)


def _lazy(kind: Format, part: Path | bytes) -> pl.LazyFrame:
    match kind:
        case "parquet":
            return pl.scan_parquet(part)
        case "csv":
            return pl.scan_csv(part, infer_schema_length=10_000, try_parse_dates=True)
        case "jsonl":
            return pl.scan_ndjson(part, infer_schema_length=10_000)
        case _:
            return pl.scan_ipc(part)
