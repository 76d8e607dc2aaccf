"""Write a version out again: whole at a new place; at a place that holds something, only what differs.

A new folder is filled beside its place and appears at once. In an existing one each file changes at once; what a person
changed there is never overwritten or removed without `force`, and files that no version put there always stay. Links
are written as links and never written through.
"""

from __future__ import annotations

import fcntl
import os
import unicodedata
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from perennial.data.files.add import is_there
from perennial.data.files.kinds import EXECUTABLE, FILE, FOLDER, LINK
from perennial.data.files.places import Place, now_ns, read_place, write_place
from perennial.data.files.status import digest_at, seen_at
from perennial.data.files.tree import Entry, entries_of, read_tree
from perennial.data.files.walk import Seen, shown
from perennial.data.manifest import TableManifest
from perennial.errors import Conflict, DataError, Invalid
from perennial.store import outside
from perennial.store.decoding import ready
from perennial.store.failpoints import failpoint, register
from perennial.store.files import LocalFiles, store_error
from perennial.store.packed import Copy

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.data.datasets import DatasetVersion
    from perennial.store.objects import ObjectStore

__all__ = ["Checkout", "checkout", "file_name"]

FILLED = register("data.checkout.filled", "a new folder is complete beside its place")
REMOVED = register("data.checkout.removed", "in an existing folder the files of the version before are gone")
WRITTEN = register("data.checkout.written", "all files are written, the place is not yet remembered")
NAMED = 10  # conflicts that an error names


@dataclass(frozen=True)
class Checkout:
    """What a checkout did: how many paths it wrote, removed and found to be right already."""

    path: Path
    written: int
    removed: int
    kept: int


@dataclass
class _Plan:
    """What is to be done in an existing folder."""

    write: list[Entry] = field(default_factory=list[Entry])
    keep: list[Seen] = field(default_factory=list[Seen])
    remove: list[Seen] = field(default_factory=list[Seen])
    conflicts: list[bytes] = field(default_factory=list[bytes])


def checkout(
    version: DatasetVersion, target: str | Path, catalog: Catalog, *, link: bool = False, force: bool = False
) -> Checkout:
    """Make `target` hold this version, and remember that it does.

    Args:
        version: Of either kind; a table is written as the Parquet files that it is stored as.
        target: A file or folder; it need not exist. In an existing folder a version of one file gets its name.
        catalog: Where from.
        link: Read-only hard links to what lies whole in the store, and read-only copies of the rest.
        force: Overwrite and remove what was changed there by hand.

    Raises:
        Conflict: Files there were changed by hand; names them. Nothing was changed then.
        NotFound, Corrupt: Bytes are missing or damaged in the store.
        DataError: A name in this version cannot be written here.
        StoreError: The disk would not do it. A new folder is not there then; in an existing one try again.
    """
    entries, is_file = _wanted(version, catalog.objects)
    where = Path(os.path.realpath(target))
    if is_file and where.is_dir():
        where = where / os.fsdecode(entries[0].path)
    root = Path(os.path.realpath(catalog.folder.root))
    if where.is_relative_to(root):
        raise Invalid("this lies in the workspace itself", where=str(target), remedy="check out elsewhere")
    _refuse_names(entries, is_file=is_file)
    if root.is_relative_to(where):
        _refuse_below(entries, os.fsencode(root.relative_to(where)))
    if is_file:
        entries = [msgspec.structs.replace(entries[0], path=os.fsencode(where.name))]
    write = _Writer(catalog.objects, is_link=link)
    try:
        with _locked(catalog.places, where) as beside:
            outside.make_folders(os.fsencode(where.parent))
            if is_file or os.path.lexists(where):
                place = read_place(catalog.places, where)
                is_stored = place is not None and is_there(place, catalog)  # else here may be the last copy of a file
                looked_at, seen, done = _update(
                    where, entries, write, place, is_file=is_file, is_stored=is_stored, force=force, root=root
                )
            else:
                looked_at, seen, done = _fill(where, beside, entries, write)
            failpoint(WRITTEN)
            here = Place(
                path=os.fsencode(where),
                is_file=is_file,
                name=version.name,
                version=version.version,
                manifest=version.stored,
                seen=seen,
            )
            write_place(catalog.places, here, looked_at_ns=looked_at)
    except OSError as error:
        raise store_error("the checkout was not finished", error, where) from error
    return done


def file_name(version: DatasetVersion, objects: ObjectStore) -> str | None:
    """The name of the one file that a version is; None when it is a folder or a table."""
    entries, is_file = _wanted(version, objects)
    return os.fsdecode(entries[0].path) if is_file else None


class _Writer:
    """Writes entries below a folder."""

    def __init__(self, objects: ObjectStore, *, is_link: bool) -> None:
        self._objects = objects
        self._is_link = is_link

    def __call__(self, folder: bytes, entries: Iterable[Entry], *, is_new: bool) -> None:
        """Write these entries, in folders that are made when missing; each file appears whole.

        Args:
            folder: Where to.
            entries: What to write.
            is_new: Nobody knows the folder yet, so that nothing in it has to be kept or replaced.
        """
        made: set[bytes] = set()
        files: list[Copy] = []
        for entry in entries:
            path = folder + b"/" + entry.path
            parent = path if entry.kind == FOLDER else path.rpartition(b"/")[0]
            if parent not in made:
                if os.path.realpath(parent) != parent:
                    raise Conflict("a link is where a folder shall be", where=shown(parent), remedy="remove the link")
                outside.make_folders(parent)
                made.add(parent)
            if entry.kind == LINK:
                outside.make_link(entry.content, path)
            elif entry.digest is not None:
                mode = (0o444 if self._is_link else 0o666) | (0o111 if entry.kind == EXECUTABLE else 0)
                files.append(Copy(entry.digest, path, mode))
        self._objects.checkout_many(files, is_new=is_new, link=self._is_link)

    def require(self, entries: Iterable[Entry]) -> None:
        """Raise NotFound when the bytes of an entry are not there."""
        for entry in entries:
            if entry.digest is not None and not self._objects.has(entry.digest):
                self._objects.size(entry.digest)


def _fill(where: Path, beside: Path, entries: list[Entry], write: _Writer) -> tuple[int, list[Seen], Checkout]:
    """A folder that is not there yet."""
    outside.remove_tree(os.fsencode(beside))  # left by one that was interrupted; we hold the lock
    try:
        outside.make_folders(os.fsencode(beside))
        _refuse_same_names(entries, beside)
        write(os.fsencode(beside), entries, is_new=True)
        # Seen before anybody else could change it.
        seen = [_seen(beside, entry) for entry in entries]
        looked_at = now_ns()
        failpoint(FILLED)
        outside.move(os.fsencode(beside), os.fsencode(where))
    except BaseException:
        outside.remove_tree(os.fsencode(beside))
        raise
    return looked_at, seen, Checkout(where, len(entries), 0, 0)


def _update(
    where: Path,
    entries: list[Entry],
    write: _Writer,
    place: Place | None,
    *,
    is_file: bool,
    is_stored: bool,
    force: bool,
    root: Path,
) -> tuple[int, list[Seen], Checkout]:
    """A file, or a folder that is there."""
    if not is_file and not where.is_dir():
        raise Conflict("there is a file where the folder shall be", where=str(where), remedy="choose another path")
    folder = where.parent if is_file else where
    looked_at = now_ns()
    found = seen_at(where, is_file=is_file, leave_out=root)
    plan = _plan(folder, entries, found, place, is_stored=is_stored)
    if plan.conflicts and not force:
        named = ", ".join(shown(path) for path in plan.conflicts[:NAMED])
        more = f" and {len(plan.conflicts) - NAMED} more" if len(plan.conflicts) > NAMED else ""
        raise Conflict(
            f"{'changed by hand' if is_stored or place is None else 'of a version that was removed'}: {named}{more}",
            where=str(where),
            remedy="add them as a version first, check out elsewhere, or overwrite them with --force",
        )
    if not is_file:
        _refuse_same_names(entries, where)
    write.require(plan.write)
    _remove(folder, plan.remove)
    failpoint(REMOVED)
    write(os.fsencode(folder), plan.write, is_new=False)
    kept = {seen.path: seen for seen in plan.keep}
    seen = [kept[entry.path] if entry.path in kept else _seen(folder, entry) for entry in entries]
    return looked_at, seen, Checkout(where, len(plan.write), len(plan.remove), len(plan.keep))


def _plan(folder: Path, entries: list[Entry], found: list[Seen], place: Place | None, *, is_stored: bool) -> _Plan:
    """What has to change for `found` to become `entries`, and what a person would lose by it."""
    plan = _Plan()
    base = {seen.path: seen for seen in place.seen} if place is not None else {}
    have = {seen.path: seen for seen in found}
    wanted = {entry.path: entry for entry in entries}
    for entry in entries:
        now = have.get(entry.path)
        if now is None:
            if entry.kind != FOLDER and os.path.lexists(folder / os.fsdecode(entry.path)):
                plan.conflicts += _hidden(folder, entry, found)
            if entry.kind != FOLDER or not (folder / os.fsdecode(entry.path)).is_dir():
                plan.write.append(entry)
        elif now.size == entry.size and _content(folder, now, base) == (entry.kind, entry.content):
            now.content = entry.content
            plan.keep.append(now)
        else:
            if not _is_ours(folder, now, base, is_stored=is_stored):
                plan.conflicts.append(now.path)
            if FOLDER in (now.kind, entry.kind):
                plan.remove.append(now)
            plan.write.append(entry)
    inside = {parent for entry in entries for parent in _parents(entry.path)}
    for now in found:
        if now.path in wanted:
            continue
        is_in_the_way = (now.path in inside and now.kind != FOLDER) or any(
            parent in wanted and wanted[parent].kind != FOLDER for parent in _parents(now.path)
        )
        if not is_in_the_way and now.path not in base:
            continue
        if not _is_ours(folder, now, base, is_stored=is_stored):
            plan.conflicts.append(now.path)
        plan.remove.append(now)
    plan.conflicts = sorted(set(plan.conflicts))
    return plan


def _hidden(folder: Path, entry: Entry, found: list[Seen]) -> list[bytes]:
    """The path of an entry, when something lies there that is no part of `found` because it is ignored."""
    below = entry.path + b"/"
    return [] if any(seen.path.startswith(below) for seen in found) else [entry.path]


def _content(folder: Path, now: Seen, base: dict[bytes, Seen]) -> tuple[int, bytes]:
    """Kind and content of what lies there, read when nothing is known about it."""
    if now.kind in (FILE, EXECUTABLE) and not now.content:
        before = base.get(now.path)
        is_known = before is not None and now.is_as(before)
        now.content = before.content if before and is_known else digest_at(folder / os.fsdecode(now.path))
    return now.kind, now.content


def _is_ours(folder: Path, now: Seen, base: dict[bytes, Seen], *, is_stored: bool) -> bool:
    """Whether a path is as a version left it, so that nothing is lost with it."""
    before = base.get(now.path)
    if now.kind == FOLDER:
        return True  # an empty one
    return (
        is_stored
        and before is not None
        and now.size == before.size
        and _content(folder, now, base) == (before.kind, before.content)
    )


def _remove(folder: Path, gone: list[Seen]) -> None:
    """Remove paths, and the folders that hold nothing then."""
    top = os.fsencode(folder)
    folders: set[bytes] = set()
    for seen in gone:
        if seen.kind == FOLDER:
            folders.add(seen.path)
        else:
            outside.remove(top + b"/" + seen.path)
        folders.update(_parents(seen.path))
    for path in sorted(folders, key=len, reverse=True):
        outside.remove_if_empty(top + b"/" + path)


def _seen(folder: Path, entry: Entry) -> Seen:
    if entry.kind == FOLDER:
        return Seen(entry.path, FOLDER, 0, 0, 0, 0)
    told = os.lstat(os.fsencode(folder) + b"/" + entry.path)
    return Seen(entry.path, entry.kind, entry.size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, entry.content)


def _wanted(version: DatasetVersion, objects: ObjectStore) -> tuple[list[Entry], bool]:
    """The entries of a version, and whether it is one file."""
    manifest = objects.get(version.stored)
    if version.kind == "files":
        tree = read_tree(manifest)
        return list(entries_of(tree, objects.get)), tree.is_file
    files = msgspec.json.decode(manifest, type=ready(TableManifest)).files
    return [
        Entry(b"part-%05d.parquet" % index, FILE, objects.size(file.digest), bytes.fromhex(file.digest))
        for index, file in enumerate(files)
    ], False


def _parents(path: bytes) -> list[bytes]:
    """The folders above a path.

    >>> _parents(b"a/b/c")
    [b'a', b'a/b']
    """
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


def _refuse_names(entries: list[Entry], *, is_file: bool) -> None:
    """A version may come from elsewhere: its names must stay below the folder, and be files or folders, not both."""
    paths = {entry.path for entry in entries}
    for entry in entries:
        parts = entry.path.split(b"/")
        is_bad = any(part in (b"", b".", b"..") for part in parts) or b"\0" in entry.path
        is_bad |= entry.kind == LINK and (not entry.content or b"\0" in entry.content)
        if is_bad or (is_file and len(parts) > 1) or not paths.isdisjoint(_parents(entry.path)):
            raise DataError(
                f"a version cannot hold a path or link like {shown(entry.path)!r}",
                remedy="do not trust where it came from: nothing was written",
            )


def _refuse_below(entries: list[Entry], folder: bytes) -> None:
    """The workspace's own folder within the target."""
    for entry in entries:
        if entry.path == folder or entry.path.startswith(folder + b"/"):
            raise DataError(
                f"this would write into the workspace itself: {shown(entry.path)!r}", remedy="check out elsewhere"
            )


def _refuse_same_names(entries: list[Entry], folder: Path) -> None:
    """Two names that this file system takes for one."""
    names: dict[str, bytes] = {}
    for entry in entries:
        folded = unicodedata.normalize("NFC", os.fsdecode(entry.path)).casefold()
        other = names.setdefault(folded, entry.path)
        if other != entry.path and _folds_case(folder):
            raise DataError(
                f"here {shown(other)!r} and {shown(entry.path)!r} are the same name",
                where=str(folder),
                remedy="check out on a file system that tells upper from lower case",
            )


def _folds_case(folder: Path) -> bool:
    other = folder.with_name(folder.name.swapcase())
    return other.name != folder.name and other.exists() and other.samefile(folder)


@contextmanager
def _locked(places: Path, where: Path) -> Generator[Path]:
    """One checkout at a time for each target; gives the path beside it where a new folder is filled."""
    name = blake2b(os.fsencode(where), digest_size=16).hexdigest()
    files = LocalFiles()
    files.mkdirs(places)
    with files.append(places / f"{name}.lock") as lock:
        fcntl.flock(lock.descriptor, fcntl.LOCK_EX)
        yield where.with_name(f".{name}{os.fsdecode(outside.UNFINISHED)}")
