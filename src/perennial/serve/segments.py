"""Append-only files of framed bytes: what is written is there after kill -9, and what is half-written is told apart.

A segment begins with `MAGIC`; then frames of `u32 length | u32 crc32 | payload`, little-endian. Several processes write
in one folder at the same time, each its own segments and each segment once: after a restart a new one is begun, so a
cut tail stays where it is and is skipped by every reader. A segment's writer holds a lock (flock) on it, which the
kernel forgets with the process: that tells a segment that is being written from one that was cut off. The name is a
number that grows; it is part of the prediction ids (see `frames`).

Every id that was ever given out is accounted for. Ids come from blocks that are written down before they are used
(`Issued`), and the last frame of a segment says how many were given out, stored and dropped (`Closed`); so the largest
possible loss is known for a writer that was killed, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perennial.clock import Clock, SystemClock
from perennial.errors import Corrupt, StoreError
from perennial.serve.frames import Closed, Issued, Layout, Opened, encode
from perennial.store.files import AppendFile, Files, store_error
from perennial.types import Micros

__all__ = [
    "MAGIC",
    "RECENT_BYTES",
    "Framed",
    "Place",
    "SegmentWriter",
    "is_being_written",
    "newest",
    "next_frames",
    "next_payloads",
    "number_of",
    "read_frame",
    "segments_in",
    "tail_bytes",
]

MAGIC = b"perennial segment 1\n"
ROTATE_BYTES = 64 * 1024 * 1024  # a segment is read whole by the owner, so it must fit in memory with ease
BATCH_BYTES = 1024 * 1024  # frames that are taken up at once: more than this leaves the processor's caches
RECENT_BYTES = 256 * 1024 * 1024  # of the newest segments, which the service reads at start: they are never deleted
AHEAD_BYTES = ROTATE_BYTES // 8  # from which on the next segment is made
LATEST_BYTES = ROTATE_BYTES * 3 // 2  # where it is not there yet
BLOCK = 4096  # ids that are reserved at once; doubled while a block does not last for two seconds
MAX_BLOCK = 1 << 20
_BLOCK_LASTS = 2_000_000  # microseconds; twice the time between two syncs, so that a used block is on the disk
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
    """Appends frames to a segment of its own and issues prediction ids. Everything but `sync` belongs to one thread.

    After `append_many` the bytes are the operating system's: they outlive this process. `sync` makes them outlive the
    machine, and may run in one other thread meanwhile. Any number of writers may share a folder.

    Attributes:
        issued: Rows that were given an id.
        stored: Rows whose frames were written.
        dropped: Rows that could not be written, as told to `drop`; issued - stored - dropped are pending.
    """

    def __init__(self, folder: Path, files: Files, *, worker: int = 0, clock: Clock | None = None) -> None:
        """Begin a segment; `worker` says which process of the service this is.

        Raises:
            StoreError: The folder or the segment cannot be made.
        """
        self.issued = self.stored = self.dropped = 0
        self._folder = folder
        self._files = files
        self._worker = worker
        self._clock = clock or SystemClock()
        self._layouts: dict[tuple[Any, ...], Layout] = {}
        self._latest_ms = 0
        self._block = BLOCK
        self._reserved_at = 0
        self._first = 0
        self._full: list[AppendFile] = []
        self._next: _Fresh | None = None
        try:
            files.mkdirs(folder)
            self._begin(self._made())
        except OSError as error:
            raise store_error("no segment for predictions could be made", error, folder) from error

    @property
    def path(self) -> Path:
        """The segment that is written now."""
        return self._file.path

    def _made(self) -> _Fresh:
        """A segment of the next free number that holds its beginning and a reserved block of ids, all on the disk.

        May be called by the thread that syncs.
        """
        number, file = self._new_file()
        block = self._block
        try:
            fcntl.flock(file.descriptor, fcntl.LOCK_EX)  # a reader that looks whether it is locked is gone at once
            opened = Opened(worker=self._worker, pid=os.getpid(), at=self._clock.now(), first=self._first or number)
            data = MAGIC + b"".join(_framed(encode(frame)) for frame in (opened, Issued(count=block)))
            file.write(data)
            file.fsync()
            self._files.sync_folder(self._folder)
        except OSError:
            file.close()
            self._files.discard(file.path)
            raise
        return _Fresh(number, file, block, len(data))

    def _begin(self, fresh: _Fresh) -> None:
        """Write into this segment from now on; nothing is changed when the disk does not take what it begins with."""
        layouts = b"".join(_framed(encode(layout)) for layout in self._layouts.values())
        try:
            fresh.file.write(layouts)
        except OSError:
            fresh.file.close()
            self._files.discard(fresh.file.path)
            raise
        self._file, self._path, self._number = fresh.file, fresh.file.path, fresh.number
        self._end = fresh.size + len(layouts)
        self._first = self._first or fresh.number
        self._count, self._reserved = 0, fresh.block

    def _new_file(self) -> tuple[int, AppendFile]:
        taken = segments_in(self._folder)
        number = number_of(taken[-1]) + 1 if taken else 1
        while True:
            with contextlib.suppress(FileExistsError):  # another writer was quicker
                path = self._folder / f"{number:06x}.seg"
                return number, self._files.append(path, exclusive=True, mode=0o600)
            number += 1

    def issue(self, rows: int, now: Micros) -> str:
        """The id of the first of so many rows; the others count on from it. Ids of later calls are greater.

        While the disk is full ids are given out without a block, since predictions go on; `append_many` says so then.
        """
        moment = now // 1000
        if moment > self._latest_ms:
            self._latest_ms = moment
        count = self._count
        self._count = count + rows
        self.issued += rows
        if self._reserved - self._count < self._block >> 1:
            self._reserve(now)
        return f"{self._latest_ms:012x}{self._number:06x}{count:08x}"

    def _reserve(self, now: Micros) -> None:
        """Write down the next block while half of the last one is left, so that it is synced before it is used."""
        is_quick = now - self._reserved_at < _BLOCK_LASTS
        block = min(2 * self._block, MAX_BLOCK) if is_quick else max(self._block >> 1, BLOCK)
        count = self._count + block
        with contextlib.suppress(StoreError):  # told by the frames that follow; tried again with the next id
            self.append(encode(Issued(count=count)))
            self._block, self._reserved, self._reserved_at = block, max(count, self._reserved), now

    def layout(
        self,
        endpoint: str,
        names: Sequence[str],
        *,
        key: int | None = None,
        classes: Sequence[Any] | None = None,
        policy: dict[str, str] | None = None,
    ) -> int:
        """The number of this layout for the frames that follow; it holds for the life of the writer.

        Written once in each segment before the frames that may name it, also when a segment is full meanwhile.

        Raises:
            StoreError: The disk did not take it; ask again.
        """
        told = dict(policy or {})
        known = (endpoint, *names, key, None if classes is None else repr(list(classes)), *sorted(told.items()))
        layout = self._layouts.get(known)
        if layout is None:
            layout = Layout(
                number=len(self._layouts), endpoint=endpoint, names=list(names), key=key,
                classes=None if classes is None else list(classes), policy=told,
            )  # fmt: skip
            self.append(encode(layout))
            self._layouts[known] = layout
        return layout.number

    def append(self, payload: bytes, *, rows: int = 0) -> Place:
        """Write one frame; see `append_many`."""
        return self.append_many((payload,), rows=rows)[0]

    def append_many(self, payloads: Sequence[bytes], *, rows: int = 0) -> list[Place]:
        """Write frames in one call of the operating system: all of them or none.

        Args:
            payloads: Encoded frames, none of them empty.
            rows: How many rows with ids of this writer they store.

        Raises:
            StoreError: The disk did not take them; the segment is as it was. Tell `drop` of rows that are given up.
        """
        # The next segment is made by the thread that syncs, since here all requests would wait for the disk. Where that
        # is too slow, this one grows a little beyond its size first.
        if self._end > ROTATE_BYTES and (self._next is not None or self._end > LATEST_BYTES):
            self._rotate()
        pieces: list[bytes] = []
        places: list[Place] = []
        end, path = self._end, self._path
        for payload in payloads:
            size = len(payload)
            pieces.append(_HEAD.pack(size, zlib.crc32(payload)))
            pieces.append(payload)
            places.append(Place(path, end))
            end += size + 8
        try:
            self._file.write(b"".join(pieces))
        except OSError as error:
            self._undo()
            raise store_error("a prediction could not be written down", error, path) from error
        self._end = end
        self.stored += rows
        return places

    def drop(self, rows: int) -> None:
        """Count rows that were given an id and are not written down."""
        self.dropped += rows

    def _rotate(self) -> None:
        full, is_whole = self._file, self._end < _BROKEN
        fresh, self._next = self._next, None
        try:
            self._begin(fresh or self._made())
        except OSError as error:
            raise store_error("no segment for predictions could be made", error, full.path) from error
        if is_whole:
            with contextlib.suppress(OSError):  # the next `Closed` counts these rows, too; a half one is a cut tail
                full.write(_framed(encode(self._closed())))
        self._full.append(full)

    def _closed(self) -> Closed:
        return Closed(issued=self.issued, stored=self.stored, dropped=self.dropped)

    def _undo(self) -> None:
        """Take back half a frame; if that fails as well, nothing may follow it, so the next frame begins a segment."""
        try:
            self._file.truncate(self._end)
        except OSError:
            self._end = _BROKEN

    def sync(self) -> None:
        """Make everything appended before this call durable, and the next segment where it will be needed soon."""
        self._file.fsync()
        while self._full:
            with self._full.pop() as full:
                full.fsync()
        if self._next is None and AHEAD_BYTES < self._end < _BROKEN:
            with contextlib.suppress(OSError):  # tried again, in the end by who needs it, who says so
                self._next = self._made()

    def close(self, *, dropped: int = 0) -> None:
        """End the segment with what became of the rows; `dropped` are added to those that `drop` was told of.

        Raises:
            StoreError: The end could not be written; the file is closed, and counts as cut off.
        """
        self.dropped += dropped
        try:
            self.append(encode(self._closed()))
            self.sync()
        finally:
            self._file.close()
            if self._next is not None:
                self._next.file.close()
                self._files.discard(self._next.file.path)
                self._next = None


class _Fresh(NamedTuple):
    """A segment that nobody has written to: its number, and the ids that it reserves."""

    number: int
    file: AppendFile
    block: int
    size: int


_BROKEN = 1 << 62  # an end that stands for half a frame that could not be taken back


def _framed(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def segments_in(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    return sorted(folder.glob("*.seg")) if folder.is_dir() else []


def number_of(path: Path) -> int:
    """The number of a segment, from its name."""
    return int(path.stem, 16)


def newest(segments: Sequence[Path], at_most_bytes: int = RECENT_BYTES) -> list[Path]:
    """As many of the last segments as these bytes hold, at least one; oldest first. What is gone meanwhile is left out.

    These are what the service reads at start, so they outlive being taken up.
    """
    kept: list[Path] = []
    total = 0
    for path in reversed(segments):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
            if total > at_most_bytes and kept:
                break
            kept.append(path)
    return kept[::-1]


def is_being_written(path: Path) -> bool:
    """Whether the process that writes this segment lives. Ask before reading: what is read then is all there will be.

    A segment of an earlier release carries no lock, and counts as written by nobody.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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


def next_payloads(path: Path, start: int, *, at_most_bytes: int = BATCH_BYTES) -> tuple[list[bytes | None], int]:
    """What `next_frames` gives, of about so many bytes at once and quicker: payloads, and where the last one ends.

    Nothing is given where the next frame is not whole (yet); a frame that is larger than `at_most_bytes` is whole.
    """
    at_most_bytes = max(at_most_bytes, len(MAGIC))
    while True:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(at_most_bytes)
        payloads: list[bytes | None] = []
        end = _split(data, len(MAGIC) if start == 0 and data.startswith(MAGIC) else 0, payloads)
        if payloads or len(data) < at_most_bytes or (start == 0 and not data.startswith(MAGIC)):
            return payloads, start + end if payloads else start
        at_most_bytes *= 4


def _split(data: bytes, at: int, payloads: list[bytes | None]) -> int:
    """Add the payloads of the whole frames from `at` on; returns where the last one ends."""
    unpack, crc32, add, size = _HEAD.unpack_from, zlib.crc32, payloads.append, len(data)
    while at + 8 <= size:
        length, crc = unpack(data, at)
        begin = at + 8
        end = begin + length
        if length == 0 or end > size:
            break
        payload = data[begin:end]
        if crc32(payload) == crc:
            add(payload)
        elif end < size:
            add(None)
        else:
            break
        at = end
    return at


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
