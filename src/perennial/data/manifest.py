"""The manifest of a stored table: which Parquet files hold its rows, in order.

As an object it is JSON: {"format": 1, "ordered": bool, "logical": digest, "rows": n, "files": [{"digest", "rows",
"logical"}, ...]}. `logical` of a file is the ordered digest of its rows.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from perennial.types import Digest

__all__ = ["TableFile", "TableManifest", "files_of"]


class TableFile(Struct, frozen=True, kw_only=True):
    """One Parquet file."""

    digest: Digest
    rows: int
    logical: Digest


class TableManifest(Struct, frozen=True, kw_only=True):
    """One stored table. `ordered`: row order is part of its identity."""

    format: int = 1
    ordered: bool
    logical: Digest
    rows: int
    files: list[TableFile]


def files_of(manifest: bytes) -> list[Digest]:
    """The objects that a manifest names, for `verify`, backup and garbage collection."""
    return [file.digest for file in msgspec.json.decode(manifest, type=TableManifest).files]
