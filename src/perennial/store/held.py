"""A lock file that one process holds alone, or several share; it dies with its process."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from perennial.errors import Unavailable
from perennial.store.files import Files

__all__ = ["held"]


@contextmanager
def held(path: Path, files: Files, *, shared: bool, patience_s: float) -> Generator[None]:
    """Hold the lock while the block lasts. Sharing it works where nothing can be written, too.

    Raises:
        Unavailable: Another one had it for longer than our patience.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = _made(path, files, shared=shared)
    try:
        if descriptor >= 0:
            _wait(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, path, time.monotonic() + patience_s)
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _made(path: Path, files: Files, *, shared: bool) -> int:
    try:
        files.mkdirs(path.parent)
        return files.append(path).descriptor
    except OSError:
        if shared:  # where this cannot be made nobody can hold it
            return -1
        raise


def _wait(descriptor: int, kind: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                says = "a backup, a verification or a garbage collection is at work"
                raise Unavailable(says, where=str(path.parent), remedy="try again when it is done") from None
        time.sleep(0.02)
