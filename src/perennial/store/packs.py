"""Append-only files that hold many small objects: one flush to disk for all that were put together.

A pack is eight bytes of magic, then frames: mark (3 bytes), kind (1), length (u32), BLAKE3 digest (32), CRC-32 of the
foregoing without the kind (u32), payload. All is little-endian. There is no index on disk: a scan of the headers finds
every frame, also those that another process appended a moment ago. The kind is one byte outside the checksum, so that
deleting changes one byte, which cannot be torn. What payloads mean is `objects`' business.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from perennial.store.failpoints import failpoint
from perennial.store.files import AppendFile, Files

__all__ = [
    "CHUNK",
    "DEAD",
    "LIST",
    "OBJECT",
    "Frame",
    "Pack",
    "PackWriter",
    "Payload",
    "erase",
    "has_cut_tail",
    "lock_unused",
    "mark_dead",
    "open_pack",
    "scan",
]

MAGIC = b"PERPACK\x01"
MARK = b"\xf5PF"
HEADER = struct.Struct("<3scI32sI")
OBJECT, CHUNK, LIST, DEAD = b"o", b"c", b"l", b"x"  # any two differ in two bits or more: one flipped bit shows
FULL_BYTES = 128 << 20  # a pack over this size gets no more frames
WRITE_BYTES = 1 << 20  # frames are handed to the operating system in writes of about this size,
UNCOPIED_BYTES = 128 << 10  # but a payload from this size on in one of its own

Payload = tuple[bytes, bytes | memoryview]  # digest, bytes


class Frame(NamedTuple):
    """Where one payload lies; `offset` is the frame's, not the payload's."""

    kind: bytes
    digest: bytes
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + HEADER.size + self.length

    def is_in(self, data: bytes | memoryview) -> bool:
        """Whether these bytes begin with the header of this frame."""
        return data[: HEADER.size] == _header(self.kind, self.digest, self.length)

    def payload_in(self, data: memoryview) -> memoryview | None:
        """The payload in the bytes of this frame, None when they are others."""
        return data[HEADER.size :] if self.is_in(data) else None


class _Descriptor:
    """Closes itself when no thread can be reading from it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


@dataclass
class Pack:
    """An open pack, to read. `scanned` is the end of the last frame that was seen.

    Garbage collection empties and removes packs that other processes have open: then `payload` finds nothing.
    """

    path: Path
    opened: _Descriptor
    scanned: int = 0
    synced: int = 0  # up to here this process knows the bytes to be on disk
    writer: PackWriter | None = None  # ours, if we ever appended to it
    damage: list[str] = field(default_factory=list[str])

    @property
    def descriptor(self) -> int:
        return self.opened.number

    def payload(self, frame: Frame) -> bytes | None:
        """The bytes of a frame that was seen here, None when it is no longer here."""
        data = os.pread(self.descriptor, HEADER.size + frame.length, frame.offset)
        return data[HEADER.size :] if frame.is_in(data) else None

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` on; fewer when the pack ends before `end`."""
        return os.pread(self.descriptor, end - start, start)

    def holds(self, frame: Frame) -> bool:
        """Whether a frame that was seen here is still here."""
        return frame.is_in(os.pread(self.descriptor, HEADER.size, frame.offset))

    @property
    def is_current(self) -> bool:
        """Whether this is the pack of its name, not one that was removed or written anew."""
        return _is_at(self.path, self.descriptor)

    def first_byte(self, frame: Frame) -> bytes:
        """The first byte of a payload, empty when there is none."""
        return os.pread(self.descriptor, min(1, frame.length), frame.offset + HEADER.size)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def is_given_up(self, frame: Frame) -> bool:
        """Whether we appended or found this behind our last good flush, and will never flush it."""
        return self.writer is not None and self.writer.error is not None and frame.end > self.writer.synced


def open_pack(path: Path) -> Pack:
    return Pack(path, _Descriptor(path))


def scan(pack: Pack) -> Iterator[Frame]:
    """The frames behind those seen before. Notes in `pack.damage` what it had to step over.

    A frame that reaches past the end of the file is being written, or was when its writer died: it is left alone.
    Reads instead of mapping, since another process may cut the file off meanwhile.
    """
    size = pack.size()
    if size < len(MAGIC) or size <= pack.scanned:
        return
    if pack.scanned == 0:
        magic = os.pread(pack.descriptor, len(MAGIC), 0)
        if not any(magic):
            return  # made just before the power failed; nothing else was ever in it
        if magic != MAGIC:
            pack.damage.append("the first bytes are not those of a pack")
        pack.scanned = len(MAGIC)
    while (frame := _next_frame(pack, size)) is not None:
        if frame.offset > pack.scanned:
            pack.damage.append(f"bytes {pack.scanned} to {frame.offset} are not readable")
        pack.scanned = frame.end
        yield frame


def _next_frame(pack: Pack, size: int) -> Frame | None:
    """The whole frame behind those seen, or the first one behind damage."""
    at = pack.scanned
    while at >= 0:
        frame = _frame_at(pack, at)
        if frame is not None:
            return frame if frame.end <= size else None
        at = _find_mark(pack, at + 1)
    return None


def _frame_at(pack: Pack, at: int) -> Frame | None:
    header = os.pread(pack.descriptor, HEADER.size, at)
    if len(header) < HEADER.size:
        return None
    mark, kind, length, digest, checksum = HEADER.unpack(header)
    return Frame(kind, digest, at, length) if mark == MARK and checksum == _checksum(length, digest) else None


def _find_mark(pack: Pack, at: int) -> int:
    """Where the next frame might begin, -1 when nowhere."""
    while block := os.pread(pack.descriptor, 1 << 20, at):
        found = block.find(MARK)
        if found >= 0:
            return at + found
        at += max(1, len(block) - len(MARK) + 1)
    return -1


def _checksum(length: int, digest: bytes) -> int:
    return zlib.crc32(digest, length & 0xFFFFFFFF)


def _header(kind: bytes, digest: bytes, length: int) -> bytes:
    return HEADER.pack(MARK, kind, length, digest, _checksum(length, digest))


class PackWriter:
    """The pack that this process appends to. Safe for concurrent use.

    An flock on the pack keeps other processes from appending to it. After a failed write or flush the frames since the
    last good flush (`synced`) are cut off, and every caller that waited for them is told.
    """

    def __init__(self, file: AppendFile, end: int) -> None:
        self.path = file.path
        self.error: OSError | None = None
        self._process = os.getpid()
        self._file = file
        self._end = end
        self.synced = end
        self._appending = threading.Lock()
        self._syncing = threading.Lock()

    @classmethod
    def create(cls, path: Path, files: Files) -> PackWriter:
        """A new, empty pack."""
        file = files.append(path, exclusive=True)
        try:
            fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(MAGIC)
            file.fsync()
            files.sync_folder(path.parent)
        except BaseException:
            file.close()
            raise
        return cls(file, len(MAGIC))

    @classmethod
    def take_over(cls, pack: Pack, files: Files) -> PackWriter | None:
        """Go on with a pack that nobody writes, or None when it is in use, full, damaged or gone."""
        if pack.damage or pack.writer is not None or not len(MAGIC) <= pack.scanned < FULL_BYTES:
            return None
        file = lock_unused(pack.path, files)
        if file is None:
            return None
        now = Pack(pack.path, pack.opened, pack.scanned)
        if not now.is_current:  # written anew since we looked
            file.close()
            return None
        try:
            for _ in scan(now):  # somebody may have appended before we had the lock
                pass
            if now.size() > now.scanned and has_cut_tail(now):
                file.truncate(now.scanned)
            file.fsync()  # what its last writer may have left undone
        except BaseException:
            file.close()
            raise
        if now.damage or now.size() != now.scanned:  # bytes that are no frame: leave them for `verify` to tell
            file.close()
            return None
        return cls(file, now.scanned)

    @property
    def is_full(self) -> bool:
        return self._end >= FULL_BYTES

    @property
    def is_usable(self) -> bool:
        """Whether nothing failed, and this is not the copy in a fork, which must not append beside its parent."""
        return self.error is None and self._process == os.getpid()

    def append(self, kind: bytes, payloads: Sequence[Payload]) -> list[Frame]:
        """Add frames; on disk only after `sync`."""
        frames, waiting, size = list[Frame](), list[bytes | memoryview](), 0
        with self._appending:
            if self.error is not None:
                raise self.error
            end = self._end
            try:
                for digest, payload in payloads:
                    frame = Frame(kind, digest, end, len(payload))
                    end = frame.end
                    frames.append(frame)
                    waiting.append(_header(kind, digest, len(payload)))
                    if len(payload) < UNCOPIED_BYTES:
                        waiting.append(payload)
                        size += len(payload)
                    if size >= WRITE_BYTES or len(payload) >= UNCOPIED_BYTES:
                        self._file.write(b"".join(waiting))
                        waiting, size = [], 0
                    if len(payload) >= UNCOPIED_BYTES:
                        self._file.write(payload)
                if waiting:
                    self._file.write(b"".join(waiting))
            except OSError as error:
                self._withdraw(error)
                raise
            self._end = end
        failpoint("objects.pack.appended")
        return frames

    def sync(self, frame: Frame | None = None) -> None:
        """Return when this frame, or all, is on disk; one flush serves all that wait."""
        with self._syncing:
            if frame is not None and self.synced >= frame.end:
                return
            with self._appending:
                if self.error is not None:  # ours was given up; a flush that failed is not tried again
                    raise self.error
                end = self._end
            try:
                self._file.fsync()
            except OSError as error:
                with self._appending:
                    self._withdraw(error)
                raise
            self.synced = end
        failpoint("objects.pack.synced")

    def finish(self) -> None:
        """Force all to disk and let go of the pack."""
        with self._syncing, self._appending:
            try:
                self._file.fsync()
            except OSError as error:
                self._withdraw(error)
                raise
            self.synced = self._end
        self.close()

    def close(self) -> None:
        with self._appending:
            self.error = self.error or OSError("the pack is closed")
            self._file.close()

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _withdraw(self, error: OSError) -> None:
        self.error = error
        try:
            self._file.truncate(self.synced)
        except OSError:
            pass  # then the frames stay: whole ones are harmless, a cut one is left alone by every scan
        self._file.close()


def lock_unused(path: Path, files: Files) -> AppendFile | None:
    """Open a pack to append to it, with its lock, or None when another has it or it is gone."""
    try:
        file = files.append(path, create=False)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    if not _is_at(path, file.descriptor):  # removed or written anew between the two steps
        file.close()
        return None
    return file


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def mark_dead(file: AppendFile, frames: Iterable[Frame]) -> None:
    """Delete frames where they lie, for every process at once; durable when the file is flushed."""
    for frame in frames:
        file.write_at(DEAD, frame.offset + len(MARK))


def erase(file: AppendFile, frames: Sequence[Frame]) -> None:
    """Delete frames and their bytes: first the mark, durably, then the bytes."""
    mark_dead(file, frames)
    file.fsync()
    failpoint("objects.delete.marked")
    for frame in frames:
        file.write_at(bytes(frame.length), frame.offset + HEADER.size)
    file.fsync()


def has_cut_tail(pack: Pack) -> bool:
    """Whether what follows the last frame is what a killed writer or a power loss leaves: nobody was promised it.

    That is the beginning of a frame or of a pack, or zeros where bytes never reached the disk; all else is damage.
    """
    rest = os.pread(pack.descriptor, pack.size() - pack.scanned, pack.scanned)
    if pack.scanned == 0:
        return MAGIC.startswith(rest) or not any(rest)
    if len(rest) < HEADER.size and rest[: len(MARK)] == MARK[: len(rest)]:
        return True
    return _frame_at(pack, pack.scanned) is not None or not any(rest)
