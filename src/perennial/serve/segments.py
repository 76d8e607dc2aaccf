"""Append-only files of framed bytes: what is written is there after kill -9, and what is half-written is told apart.

A segment begins with `MAGIC`; then frames of `u32 length | u32 crc32 | payload`, little-endian. One process writes a
segment, once: after a restart a new one is begun, so a cut tail stays where it is and is skipped by every reader.
The name is a number that grows; it is part of the prediction ids (see `frames`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perennial.errors import Corrupt
from perennial.store.files import AppendFile, Files, store_error
from perennial.types import Micros

__all__ = ["MAGIC", "Framed", "Place", "SegmentWriter", "next_frames", "read_frame", "segments_in", "tail_bytes"]

MAGIC = b"perennial segment 1\n"
ROTATE_BYTES = 64 * 1024 * 1024  # a segment is read whole by the owner, so it must fit in memory with ease
_HEAD = struct.Struct("<II")


class Place(NamedTuple):
    """Where a frame lies."""

    path: Path
    start: int


class Framed(NamedTuple):
    """One frame: its payload (None when its checksum is wrong) and the bytes [start, end) that it takes."""

    start: int
    end: int
    payload: bytes | None


class SegmentWriter:
    """Appends frames to a segment of its own and issues prediction ids. `append` and `issue` belong to one thread.

    After `append` the bytes are the operating system's: they outlive this process. `sync` makes them outlive the
    machine, and may run in one other thread meanwhile.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        files.mkdirs(folder)
        self._folder = folder
        self._files = files
        self._count = 0
        self._latest_ms = 0
        self._full: list[AppendFile] = []
        self._begin()

    def _begin(self) -> None:
        taken = segments_in(self._folder)
        self._number = int(taken[-1].stem, 16) + 1 if taken else 1
        self._file = self._files.append(self._folder / f"{self._number:06x}.seg", exclusive=True, mode=0o600)
        self._file.write(MAGIC)
        self._files.sync_folder(self._folder)
        self._end = len(MAGIC)

    def issue(self, rows: int, now: Micros) -> str:
        """The id of the first of so many rows; the others count on from it. Ids of later calls are greater."""
        self._latest_ms = max(self._latest_ms, now // 1000)
        first = f"{self._latest_ms:012x}{self._number:06x}{self._count:08x}"
        self._count += rows
        return first

    def append(self, payload: bytes) -> Place:
        """Write one frame.

        Raises:
            StoreError: The disk did not take it; the segment is as it was.
        """
        frame = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            if self._end > ROTATE_BYTES:
                full = self._file
                self._begin()
                self._full.append(full)
            self._file.write(frame)
        except OSError as error:
            self._undo()
            raise store_error("a prediction could not be written down", error, self._file.path) from error
        place = Place(self._file.path, self._end)
        self._end += len(frame)
        return place

    def _undo(self) -> None:
        """Take back half a frame; if that fails as well, nothing may follow it, so the next frame begins a segment."""
        try:
            self._file.truncate(self._end)
        except OSError:
            self._end = ROTATE_BYTES + 1

    def sync(self) -> None:
        """Make everything appended before this call durable."""
        self._file.fsync()
        while self._full:
            with self._full.pop() as full:
                full.fsync()

    def close(self) -> None:
        self.sync()
        self._file.close()


def segments_in(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    return sorted(folder.glob("*.seg")) if folder.is_dir() else []


def next_frames(path: Path, start: int = 0, *, at_most_bytes: int = 2 * ROTATE_BYTES) -> Iterator[Framed]:
    """The whole frames from `start` on; ends without a word where the next one is not whole (yet), see `tail_bytes`.

    A frame with a wrong checksum that lies whole before another one is given as damaged, and does not hide the rest.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(at_most_bytes)
    at = 0
    if start == 0:
        if not data.startswith(MAGIC):
            return
        at = len(MAGIC)
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        if length == 0 or end > len(data):
            return
        payload = data[at + _HEAD.size : end]
        if zlib.crc32(payload) == crc:
            yield Framed(start + at, start + end, payload)
        elif end < len(data):
            yield Framed(start + at, start + end, None)
        else:
            return
        at = end


def tail_bytes(path: Path, end: int) -> int:
    """Bytes behind the last whole frame: being written now, or cut off by a crash."""
    return max(0, path.stat().st_size - max(end, len(MAGIC)))


def read_frame(place: Place) -> bytes:
    """The payload of one frame.

    Raises:
        Corrupt: It is not there, or its checksum is wrong.
    """
    payload, length, crc = b"", 0, 0
    if place.path.is_file():
        with place.path.open("rb") as file:
            file.seek(place.start)
            head = file.read(_HEAD.size)
            length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
            payload = file.read(length)
    if not payload or len(payload) < length or zlib.crc32(payload) != crc:
        raise Corrupt(f"no whole frame at byte {place.start}", where=str(place.path), remedy="perennial verify")
    return payload
