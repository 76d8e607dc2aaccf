"""Files that hold one table: which they are, and how to read them where they lie in the object store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.data.files.tree import FOLDER, LINK, Entry, entries_of, read_tree
from perennial.data.scan import Format, Scan, format_of
from perennial.errors import DataError
from perennial.store.files import LocalFiles
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion
    from perennial.store.objects import ObjectStore

__all__ = ["table_files", "table_format"]

IN_MEMORY_BYTES = 1 << 20  # up to this size a part is read from the store each time; a larger one lies in a file


def table_format(paths: Iterable[bytes]) -> Format | None:
    """The format of the one table that files of these names hold; None when they hold none.

    Files whose names begin with a dot or an underscore are no part of a table, as Spark and Hive have it.
    """
    found: set[Format | None] = {format_of(path.decode(errors="replace")) for path in paths if _is_part(path)}
    return found.pop() if len(found) == 1 else None


def table_files(version: DatasetVersion, objects: ObjectStore, scratch: Path) -> Scan:
    """The rows of a version of kind "files" that holds one table.

    Raises:
        DataError: Its files hold no table, or several formats.
    """
    entries = [
        entry for entry in entries_of(read_tree(objects.get(version.stored)), objects.get) if _is_part(entry.path)
    ]
    kind = table_format(entry.path for entry in entries)
    says = f"{version.name}@{version.version}"
    if kind is None or any(entry.kind in (LINK, FOLDER) for entry in entries):
        raise DataError(f"{says} holds files that are not one table", remedy="name a dataset of rows")
    return Scan(format=kind, parts=tuple(_part(entry, objects, scratch) for entry in entries), says=says)


def _is_part(path: bytes) -> bool:
    return not path.rpartition(b"/")[2].startswith((b".", b"_"))


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
