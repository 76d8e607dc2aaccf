"""Folders for files that are made to be read once and can be made again: what an engine spills, an unpacked table.

A process that dies leaves its folder behind; the next one that makes a folder there removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from perennial.store.files import Files, LocalFiles

__all__ = ["scratch_folder"]

_LOCK = ".in-use"


@contextmanager
def scratch_folder(root: Path, files: Files | None = None) -> Generator[Path]:
    """A new, empty folder below `root`, removed with everything in it when the block ends."""
    files = files or LocalFiles()
    files.mkdirs(root)
    _sweep(root)
    folder = root / f"{secrets.token_hex(8)}.tmp"
    files.mkdirs(folder)
    with files.append(folder / _LOCK) as lock:
        fcntl.flock(lock.descriptor, fcntl.LOCK_EX)  # held while the folder is ours; a dead process holds nothing
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


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
