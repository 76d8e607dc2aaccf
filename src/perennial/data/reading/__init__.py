"""Files as tables: one module per format, each with `schema_of(part)` and `read(part, schema, columns, rows)`.

A part is a path, or the bytes of a small file. What a person can mend is told with file, line and remedy. A file that
changes while it is read is refused, so that no version is ever half of one state and half of another.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from perennial.errors import DataError

__all__ = ["Part", "Stamp", "name_of", "opened", "readable", "stamp_of"]

Part = Path | bytes
Stamp = tuple[int, int, int]
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def name_of(part: Part) -> str:
    """What errors call this part; bytes have no name."""
    return str(part) if isinstance(part, Path) else ""


def stamp_of(part: Part) -> Stamp | None:
    """What changes when somebody writes to the file; bytes never change."""
    if isinstance(part, bytes):
        return None
    try:
        stat = part.stat()
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(part)) from error
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def opened(part: Part) -> pa.NativeFile:
    """The part's bytes, unpacked when they are gzip or zstd, whatever the file is called."""
    raw = pa.BufferReader(part) if isinstance(part, bytes) else pa.OSFile(str(part), "rb")
    start = raw.read(4)
    raw.seek(0)
    packed = next((kind for magic, kind in _COMPRESSIONS.items() if start.startswith(magic)), None)
    return pa.CompressedInputStream(raw, packed) if packed else raw


@contextmanager
def readable(part: Part, what: str, before: Stamp | None = None) -> Generator[None]:
    """Turn what libraries raise while they read `part` into an error for a person.

    Raises:
        DataError: It is no such file, is cut off, cannot be opened, or changed meanwhile or since the stamp `before`.
    """
    before = before or stamp_of(part)
    if before != stamp_of(part):
        raise _changed(part)
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        if before != stamp_of(part):
            raise _changed(part) from error
        raise _unreadable(part, what, error) from error
    if before != stamp_of(part):
        raise _changed(part)


def _unreadable(part: Part, what: str, error: Exception) -> DataError:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    size = len(part) if isinstance(part, bytes) else part.stat().st_size
    if not size:
        return DataError("the file is empty", where=name_of(part), remedy="write it again, or take it away")
    if isinstance(error, PermissionError):
        return DataError("the file may not be read", where=name_of(part), remedy="give yourself the right to read it")
    if "Truncated" in told or (what == "Parquet" and _starts(part, b"PAR1")) or _starts(part, b"ARROW1"):
        return DataError(
            f"the file is cut off or damaged: {told}", where=name_of(part), remedy="copy or write it again, whole"
        )
    return DataError(
        f"this is no {what} file: {told}",
        where=name_of(part),
        remedy="write it again, or give it the ending of the format that it has",
    )


def _starts(part: Part, magic: bytes) -> bool:
    if isinstance(part, bytes):
        return part.startswith(magic)
    with part.open("rb") as file:
        return file.read(len(magic)) == magic


def _changed(part: Part) -> DataError:
    return DataError(
        "the file changed while it was read",
        where=name_of(part),
        remedy="wait until its writer is done and try again; a writer should write beside it, then rename",
    )
