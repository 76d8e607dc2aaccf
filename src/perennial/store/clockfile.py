"""The file behind a simulated clock: eight bytes that the owner moves and every process of the workspace maps."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from perennial.clock import MappedClock
from perennial.errors import StoreError
from perennial.store.files import Files, LocalFiles
from perennial.types import Micros

__all__ = ["create_clock", "open_clock"]

_REMEDY = "restore the workspace from a backup"


def create_clock(path: Path, now: Micros, *, files: Files | None = None) -> MappedClock:
    """A new simulated clock that stands at `now`."""
    (files or LocalFiles()).write_atomic(path, struct.pack("<q", now))
    return open_clock(path)


def open_clock(path: Path) -> MappedClock:
    """Map an existing clock; `set` is seen by every process that has it open.

    Raises:
        StoreError: The file is missing or is not a clock.
    """
    try:
        with open(path, "r+b") as file:
            buffer = memoryview(mmap.mmap(file.fileno(), 0))
    except (OSError, ValueError) as error:
        raise StoreError(f"the clock cannot be opened: {error}", where=str(path), remedy=_REMEDY) from error
    if len(buffer) != 8:
        raise StoreError(f"the clock holds {len(buffer)} bytes instead of 8", where=str(path), remedy=_REMEDY)
    return MappedClock(buffer)
