"""Folders for files that are made to be read once and can be made again: what an engine spills, an unpacked table.

A process that dies leaves its folder behind; the next one that makes a folder there removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from perennial.errors import ConfigError
from perennial.store.files import AppendFile, Files, LocalFiles

__all__ = ["scratch_folder", "scratch_of_user"]

_LOCK = ".in-use"


@contextmanager
def scratch_folder(root: Path, files: Files | None = None) -> Generator[Path]:
    """A new, empty folder below `root`, removed with everything in it when the block ends."""
    files = files or LocalFiles()
    files.mkdirs(root)
    _sweep(root)
    with _locked_folder(root, files) as lock:
        try:
            yield lock.path.parent
        finally:
            shutil.rmtree(lock.path.parent, ignore_errors=True)


def scratch_of_user() -> Path:
    """A folder of this user alone below the system's temporary one, for work that no workspace is needed for.

    Raises:
        ConfigError: Somebody else has put something in its place.
    """
    root = Path(tempfile.gettempdir()) / f"perennial-{os.getuid()}"
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        found = root.lstat()  # not what a link points at: anybody may have made one here
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(
                "this is not a folder of yours", where=str(root), remedy="remove it, or set TMPDIR to a folder of yours"
            ) from None
    return root


def _locked_folder(root: Path, files: Files) -> AppendFile:
    """A new folder, by its lock: held while the folder is ours; a dead process holds nothing."""
    while True:
        folder = root / f"{secrets.token_hex(8)}.tmp"
        files.mkdirs(folder)
        lock = files.append(folder / _LOCK)
        fcntl.flock(lock.descriptor, fcntl.LOCK_EX)
        if os.fstat(lock.descriptor).st_nlink:
            return lock
        lock.close()  # swept before it was locked


def _sweep(root: Path) -> None:
    for folder in root.glob("*.tmp"):
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDONLY)
        except OSError:
            continue  # just being made, or just removed
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # somebody works there
        finally:
            os.close(descriptor)
