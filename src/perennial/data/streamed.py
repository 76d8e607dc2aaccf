"""Write a table piece by piece to one file, in the format that the end of its name says; whole, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from perennial.errors import ConfigError, Invalid
from perennial.store.files import AppendFile, LocalFiles

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ENDINGS", "StreamedTable", "ending_of"]

ENDINGS: Mapping[str, str] = MappingProxyType(
    {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".arrow": "arrow"}
    | {".ipc": "arrow", ".feather": "arrow"}
)


def ending_of(name: str) -> str | None:
    """The ending that names the format; None where the name says none that can be written.

    >>> ending_of("answers.PARQUET"), ending_of("answers")
    ('.parquet', None)
    """
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


class StreamedTable:
    """A file under way. Leaving the block without an error gives it its name; with one it is as if it never was.

    Raises:
        Invalid: The end of the name says no format.
        ConfigError: It cannot be written there.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        ending = ending_of(path.name)
        if ending is None:
            raise Invalid(f"{path.name!r} says no format", remedy=f"end it in {', '.join(ENDINGS)}")
        self._path = path.absolute()
        self._files = LocalFiles()
        self._temporary = self._path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            self._file = self._files.append(self._temporary, exclusive=True)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._sink = pa.PythonFile(_Sink(self._file), mode="w")
        self._schema = schema
        kind = ENDINGS[ending]
        self._writer: Any = None
        match kind:
            case "parquet":
                self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd")
            case "csv":
                self._writer = pc.CSVWriter(self._sink, schema)
            case "arrow":
                self._writer = ipc.new_file(self._sink, schema)
            case _:
                pass  # JSON lines need no head and no end

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows.

        Raises:
            ConfigError: The disk would not take them.
        """
        try:
            if self._writer is not None:
                self._writer.write_table(table)
                return
            frame = cast(pl.DataFrame, pl.from_arrow(table))
            self._sink.write(frame.write_ndjson().encode())
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
            self._sink.close()
            if kind is None:
                self._file.fsync()
                self._file.close()
                self._files.publish(self._temporary, self._path)
        except OSError as wrong:
            kind = kind or type(wrong)
            raise _unwritable(self._path, wrong) from wrong
        finally:
            self._file.close()
            if kind is not None:
                self._files.discard(self._temporary)


class _Sink:
    """An `AppendFile` as Arrow wants a file of Python's."""

    closed = False

    def __init__(self, file: AppendFile) -> None:
        self._file = file
        self._size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._file.write(memoryview(data))
        self._size += size
        return size

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """What is written is with the operating system already."""

    def close(self) -> None:
        """Its owner closes it."""


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the file cannot be written: {error.strerror or error}", where=str(path), remedy="name another path"
    )
