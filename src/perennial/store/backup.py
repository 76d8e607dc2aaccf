"""Copy a workspace into a folder while it is in use, and make a workspace of such a copy again.

What waits to be ingested is copied first, then the records in one consistent state, then the objects: bytes are stored
before the records name them, so everything that the copied records name is there. Logs, caches and whatever can be
made again stay behind. The copy of a PostgreSQL database is that server's business.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from perennial.errors import Conflict, Invalid, NotFound, StoreError
from perennial.store.failpoints import failpoint
from perennial.store.files import Files, LocalFiles, store_error
from perennial.store.objects import ObjectStore
from perennial.store.workspace_folder import WorkspaceFolder, open_folder

__all__ = ["backup", "copy_database", "restore"]

_BEFORE_RECORDS = (
    "workspace.json", "clock", "owner.lock", "serving/spec.json", "serving/privacy.key", "serving/segments",
)  # fmt: skip
_AFTER_RECORDS = ("objects/packs", "objects/whole")


def backup(folder: WorkspaceFolder, target: Path, *, files: Files | None = None) -> Path:
    """Copy the workspace into the new folder `target`. Check the copy with `verify` on it.

    Raises:
        Conflict: There is something at `target`.
        Invalid: The records lie on a server.
        StoreError: The disk would not do it; nothing is at `target`.
    """
    if not folder.records.exists():
        raise Invalid(
            "the records of this workspace lie on a server", remedy="back that up with pg_dump, and copy objects/"
        )
    return _copied(folder.root, target, files or LocalFiles())


def restore(source: Path, target: Path, *, files: Files | None = None) -> WorkspaceFolder:
    """Make a workspace at `target` out of a backup.

    Raises:
        NotFound: There is no backup at `source`.
        Conflict: There is something at `target`.
        StoreError: The disk would not do it; nothing is at `target`.
    """
    if not (source / "workspace.json").exists():
        remedy = "name the folder that `perennial backup` made"
        raise NotFound("there is no backup here", where=str(source), remedy=remedy)
    open_folder(source)
    if not (source / "records.db").exists():
        raise NotFound("this backup has no records", where=str(source))
    _copied(source, target, files or LocalFiles())
    return open_folder(target)


def copy_database(source: Path, target: Path, *, files: Files | None = None) -> None:
    """Copy a SQLite database in one consistent state, also while its owner writes; `target` is replaced at once."""
    files = files or LocalFiles()
    temporary = target.with_name(f".{target.name}.tmp")
    files.remove(temporary)
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as reader,
            closing(sqlite3.connect(temporary)) as writer,
        ):
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=DELETE")
        with files.append(temporary) as file:
            file.fsync()
        files.publish(temporary, target)
    except sqlite3.Error as error:
        files.discard(temporary)
        raise StoreError(f"the records could not be copied: {error}", where=str(target)) from error


def _copied(source: Path, target: Path, files: Files) -> Path:
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict("there is something here already", where=str(target), remedy="name a new folder")
    partial = target.with_name(f".{target.name}.partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)  # of an attempt that was killed
        files.mkdirs(partial)
        for name in _BEFORE_RECORDS:
            _copy(source / name, partial / name, files)
        with ObjectStore(source / "objects").at_rest(
            shared=True
        ):  # what the copied records name stays until it is copied
            copy_database(source / "records.db", partial / "records.db", files=files)
            failpoint("backup.records_copied")
            for name in _AFTER_RECORDS:
                _copy(source / name, partial / name, files)
        files.publish(partial, target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise store_error("the workspace could not be copied", error, target) from error
    return target


def _copy(source: Path, target: Path, files: Files) -> None:
    """Copy a file or all files of a folder. One that vanishes meanwhile was temporary, or is in the records by now."""
    if source.is_dir():
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            if not entry.name.endswith(".tmp"):
                _copy(Path(entry.path), target / entry.name, files)
        return
    try:
        mode = source.stat().st_mode & 0o777
        files.mkdirs(target.parent)
        files.copy(source, target, mode)
    except FileNotFoundError:
        return
