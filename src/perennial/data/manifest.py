"""The manifests of stored datasets: which objects hold a table's rows, and which a folder's files.

A table's is JSON: {"format": 1, "ordered": bool, "logical": digest, "rows": n, "files": [{"digest", "rows",
"logical"}, ...]}. `logical` of a file is the ordered digest of its rows. In format 2, of a table that came as a stream,
it is the digest of all rows up to its end, and `chain` lets the stream go on (`digest.StreamDigest`). A folder's
manifest is `files.tree`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import UNSET, Struct, UnsetType

from perennial.store.decoding import ready
from perennial.types import Digest

__all__ = ["TableFile", "TableManifest", "files_of", "named_by"]


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
    chain: Digest | UnsetType = UNSET


def files_of(manifest: bytes, get: Callable[[Digest], bytes] | None = None) -> list[Digest]:
    """The objects that a table's manifest names, for `verify`, backup and garbage collection."""
    return [file.digest for file in msgspec.json.decode(manifest, type=ready(TableManifest)).files]


def named_by(manifest: bytes, get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    """The objects that a dataset's manifest names, of either kind; `get` reads the pages of a folder's."""
    if manifest.startswith(b"{"):
        return files_of(manifest)
    from perennial.data.files.tree import digests_of  # most workspaces hold tables only

    return digests_of(manifest, get)
