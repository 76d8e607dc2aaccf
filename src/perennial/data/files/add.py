"""Make a version of a file or folder: what changed is read, hashed and stored; the rest is known.

Bytes first, then the manifest, then one transaction that makes the version visible. An interrupted `add` leaves no
version, and the bytes that it stored are what the next one finds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from stat import S_IXUSR
from typing import TYPE_CHECKING, Any

from perennial.data.evolution import adopt
from perennial.data.files.kinds import EXECUTABLE, FILE
from perennial.data.files.places import Place, forget_place, now_ns, read_place, write_place
from perennial.data.files.status import seen_at
from perennial.data.files.tables import table_parts
from perennial.data.files.tree import Change, Entry, Stored, changes, read_tree, write_tree
from perennial.data.files.walk import Seen, shown, shown_path
from perennial.data.schema import Schema
from perennial.errors import DataError, Invalid, NotFound
from perennial.store.failpoints import failpoint, register
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.data.datasets import DatasetVersion
    from perennial.data.files.rows import Rows
    from perennial.store.objects import ObjectStore

__all__ = ["add", "commit_tree", "is_there", "latest", "what_changed"]

STORED = register("data.add.stored", "the files of a new version are stored, no version names them")
COMMITTED = register("data.add.committed", "the new version is committed, its folder is not yet remembered")


def add(
    path: str | Path,
    name: str,
    catalog: Catalog,
    *,
    note: str = "",
    tag: str | None = None,
    as_is: bool = False,
    reread: bool = False,
) -> DatasetVersion:
    """Add the next version of a dataset of files, or find the one that holds these very files.

    Args:
        path: A file or a folder.
        name: Of the dataset.
        catalog: Where to.
        note: A person's words about it.
        tag: A tag that shall point at it.
        as_is: Look at no table in it: no schema, no checks.
        reread: Read every file, also those that look as they did: what the store holds damaged is replaced.

    Returns:
        The version; a draft when the files hold a table that breaks with the accepted schema of the dataset.

    Raises:
        NotFound: There is nothing at this path.
        DataError: Something in it cannot be read, or changed while it was read.
        Refused: It holds bad rows, and the schema says that then nothing is stored.
    """
    where = Path(os.path.realpath(path))
    root = Path(os.path.realpath(catalog.folder.root))
    if where.is_relative_to(root):
        raise Invalid("this lies in the workspace itself", where=str(path), remedy="add files that lie elsewhere")
    place = read_place(catalog.places, where)
    looked_at = now_ns()
    is_file = not where.is_dir()
    seen = seen_at(where, is_file=is_file, leave_out=root)
    if is_file and not seen:
        raise NotFound("there is no such file or folder", where=shown(os.fsencode(path)))
    with catalog.objects.until_committed():
        is_named = place is not None and is_there(place, catalog)
        if not reread:
            _take_over(seen, place, catalog.objects, is_named=is_named)
        _store(seen, where, is_file=is_file, objects=catalog.objects)
        entries = [Entry(each.path, each.kind, each.size, each.content) for each in seen]
        stored = write_tree(entries, catalog.objects.put_many, is_file=is_file)
        failpoint(STORED)
        version = commit_tree(
            stored,
            name,
            catalog,
            source={"kind": "path", "path": shown(os.fsencode(where))},
            note=note,
            look=None if as_is else lambda: _rows(where, seen, name, catalog, is_file=is_file),
        )
    if place is not None and is_named and not is_there(place, catalog):
        # The version whose files were taken over was removed meanwhile, and some of them with it.
        forget_place(catalog.places, place)
        return add(path, name, catalog, note=note, tag=tag, as_is=as_is, reread=reread)
    if tag:
        catalog.datasets.tag(name=name, tag=tag, version=version.version)
    failpoint(COMMITTED)
    here = Place(
        path=os.fsencode(where),
        is_file=is_file,
        name=version.name,
        version=version.version,
        manifest=stored.manifest,
        seen=seen,
    )
    write_place(catalog.places, here, looked_at_ns=looked_at)
    return version


def commit_tree(
    stored: Stored,
    name: str,
    catalog: Catalog,
    *,
    source: dict[str, Any],
    note: str = "",
    look: Callable[[], Rows | None] | None = None,
) -> DatasetVersion:
    """Make a stored tree a version, unless the newest one is the same.

    Args:
        stored: The tree.
        name: Of the dataset.
        catalog: Where to.
        source: Where it came from.
        note: A person's words about it.
        look: Tells about the one table that the files hold, None when they hold none; asked only when it is needed.
    """
    before = latest(name, catalog)
    if before is not None and before.logical == stored.logical:
        return before
    found = what_changed(before, stored, catalog.objects)
    counts = {
        "added": sum(change.before is None for change in found),
        "modified": sum(change.before is not None and change.after is not None for change in found),
        "deleted": sum(change.after is None for change in found),
    }
    rows = look() if look is not None else None
    if rows is not None and rows.rows:
        counts["rows"] = rows.rows - (before.rows if before is not None else 0)
    version = catalog.datasets.commit(
        name=name,
        kind="files",
        logical=stored.logical,
        manifest=stored.manifest,
        rows=rows.rows if rows is not None else 0,
        files=stored.tree.files,
        size_bytes=stored.tree.size,
        schema=rows.schema if rows is not None else Schema(columns=[]),
        state=rows.state if rows is not None else "accepted",
        parent=before.version if before is not None else None,
        violations=rows.violations if rows is not None else [],
        changes=counts,
        source=source,
        note=note,
    )
    adopt(catalog.schemas, version)
    return version


def latest(name: str, catalog: Catalog) -> DatasetVersion | None:
    """The newest accepted version of a dataset; None when there is none."""
    try:
        return catalog.datasets.get(name=name)
    except NotFound:
        return None


def what_changed(before: DatasetVersion | None, after: Stored, objects: ObjectStore) -> list[Change]:
    """What a tree does differently from an earlier version of files."""
    if before is None or before.kind != "files" or before.manifest is None:
        return list(changes(None, after.tree, objects.get))
    return list(changes(read_tree(objects.get(before.stored)), after.tree, objects.get))


def is_there(place: Place, catalog: Catalog) -> bool:
    """Whether a version still names the files of a place, so that nobody frees them."""
    try:
        return catalog.datasets.get(name=place.name, version=place.version).manifest == place.manifest
    except NotFound:
        return False


def _take_over(seen: list[Seen], place: Place | None, objects: ObjectStore, *, is_named: bool) -> None:
    """Give files that look as they did the digest that they had, when it is named, or pinned and there."""
    known = {before.path: before for before in place.seen} if place is not None else {}
    for now in seen:
        before = known.get(now.path)
        if before is not None and now.kind in (FILE, EXECUTABLE) and now.is_as(before):
            now.content = before.content
    if not is_named:
        kept = [Digest(now.content.hex()) for now in seen if now.kind in (FILE, EXECUTABLE) and now.content]
        missing = {bytes.fromhex(digest) for digest in objects.pin(kept)}
        for now in seen:
            if now.kind in (FILE, EXECUTABLE) and now.content in missing:
                now.content = b""


def _store(seen: list[Seen], where: Path, *, is_file: bool, objects: ObjectStore) -> None:
    """Store every file whose digest is not known; it is known then."""
    new = [each for each in seen if each.kind in (FILE, EXECUTABLE) and not each.content]
    root = os.fsencode(where)
    paths = [root if is_file else b"%s/%s" % (root, each.path) for each in new]
    for each, stored in zip(new, objects.put_files(paths), strict=True):
        each.content = bytes.fromhex(stored.digest)
        each.kind = EXECUTABLE if stored.mode & S_IXUSR else FILE
        each.size, each.inode = stored.size, stored.inode
        each.mtime_ns, each.ctime_ns = stored.mtime_ns, stored.ctime_ns


def _rows(where: Path, seen: list[Seen], name: str, catalog: Catalog, *, is_file: bool) -> Rows | None:
    """What the one table in these files is like, read where they lie; None when they hold none.

    Raises:
        DataError: A file is not what was stored any more.
    """
    found = table_parts(seen)
    if found is None:
        return None
    from perennial.data.files.rows import look_at
    from perennial.data.scan import Scan

    paths = [where if is_file else where / os.fsdecode(part.path) for part in found[1]]
    rows = look_at(Scan(format=found[0], parts=tuple(paths), says=str(where)), name, catalog)
    for path, part in zip(paths, found[1], strict=True):
        told = path.stat()
        if (told.st_size, told.st_mtime_ns, told.st_ino) != (part.size, part.mtime_ns, part.inode):
            raise DataError(
                "this changed while it was read",
                where=shown_path(path),
                remedy="add it when its writer is done; a writer should write beside it, then rename",
            )
    return rows
