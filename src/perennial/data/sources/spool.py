"""Rows that come from elsewhere, laid down in a scratch folder, because their types are known only at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc

from perennial.data.scan import Scan
from perennial.errors import DataError
from perennial.store.files import LocalFiles

__all__ = ["spool"]


def spool(tables: Iterable[pa.Table], folder: Path, says: str) -> Scan:
    """Write each table to a file and give them as one.

    Raises:
        DataError: There is none. When the scan is read: types that do not fit together.
    """
    paths: list[Path] = []
    files = LocalFiles()
    for table in tables:
        path = folder / f"{len(paths):06}.arrow"
        sink = pa.BufferOutputStream()
        with ipc.new_file(sink, table.schema, options=ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(table)
        files.write_atomic(path, sink.getvalue().to_pybytes())
        paths.append(path)
    if not paths:
        raise DataError(f"{says} gave nothing", remedy="look at the source: it may be empty")
    return Scan(format="arrow", parts=tuple(paths), says=says)
