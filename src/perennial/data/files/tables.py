"""Files that hold one table: which they are, and how to read them where they lie in the object store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from perennial.data.files.kinds import EXECUTABLE, FILE
from perennial.data.files.tree import Entry, entries_of, read_tree
from perennial.data.formats import Format, format_of
from perennial.errors import DataError
from perennial.store.files import LocalFiles
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion
    from perennial.data.scan import Scan
    from perennial.store.objects import ObjectStore

__all__ = ["scan_entries", "table_files", "table_parts"]

IN_MEMORY_BYTES = 1 << 20  # up to this size a part is read from the store each time; a larger one lies in a file


class _Path(Protocol):
    @property
    def path(self) -> bytes: ...
    @property
    def kind(self) -> int: ...


_P = TypeVar("_P", bound=_Path)


def table_parts(paths: Iterable[_P]) -> tuple[Format, list[_P]] | None:
    """Those files that hold one table together, and their format; None when they hold none.

    As Spark and Hive have it, files whose names begin with a dot or an underscore are no part of a table.
    """
    parts: list[_P] = []
    found: Format | None = None
    for part in paths:
        name = part.path.rpartition(b"/")[2]
        if name.startswith((b".", b"_")):
            continue
        kind = format_of(os.fsdecode(name)) if part.kind in (FILE, EXECUTABLE) else None
        if kind is None or kind != (found or kind):
            return None
        found = kind
        parts.append(part)
    return (found, parts) if found is not None else None


def table_files(version: DatasetVersion, objects: ObjectStore, scratch: Path) -> Scan:
    """The rows of a version of kind "files" that holds one table.

    Raises:
        DataError: Its files hold no table, or several formats.
    """
    says = f"{version.name}@{version.version}"
    scan = scan_entries(entries_of(read_tree(objects.get(version.stored)), objects.get), objects, scratch, says)
    if scan is None:
        raise DataError(f"the files of {says} are not one table", remedy="name a dataset of rows")
    return scan


def scan_entries(entries: Iterable[Entry], objects: ObjectStore, scratch: Path, says: str) -> Scan | None:
    """The one table that stored files hold; None when they hold none. `says` is what a person calls it."""
    found = table_parts(entries)
    if found is None:
        return None
    from perennial.data.scan import Scan

    return Scan(format=found[0], parts=tuple(_part(entry, objects, scratch) for entry in found[1]), says=says)


def _part(entry: Entry, objects: ObjectStore, scratch: Path) -> Path | bytes:
    """The file that holds a part, made in `scratch` when it lies in pieces; the bytes of a small one."""
    digest = Digest(entry.content.hex())
    if (whole := objects.open_path(digest)) is not None:
        return whole
    if entry.size <= IN_MEMORY_BYTES:
        return objects.get(digest)
    path = scratch / "parts" / digest
    if not path.exists():
        LocalFiles().mkdirs(path.parent)
        objects.checkout(digest, path, mode=0o444)
    return path
