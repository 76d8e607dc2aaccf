"""One file of a spool: a header and frames, read again whatever happened to its process or to the disk.

A frame is a mark, the number of points, the length, a checksum and the payload; what it means is told by `frames`. A
file is locked (flock) while its process lives, so that nobody else sends it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from perennial.store.files import AppendFile, Files, SystemCalls

__all__ = [
    "HEADER_BYTES",
    "SUFFIX",
    "Frame",
    "Header",
    "Segment",
    "first_bytes",
    "framed",
    "frames_in",
    "open_segment",
    "read_only",
    "segments_of",
    "spools_in",
]

SUFFIX = ".spool"
READ_BYTES = 1 << 20
MAX_PAYLOAD = 1 << 28  # what claims to be longer is damage

_MAGIC, _FORMAT = b"PNLSPOOL", 1
_HEADER = struct.Struct("<8sIIQQQQQ")
HEADER_BYTES = _HEADER.size
_SENT_AT, _DROPPED_AT = 24, 48
_SENT, _DROPPED = struct.Struct("<QQQ"), struct.Struct("<Q")
_MARK = 0xA75B
_HEAD = struct.Struct("<HHII")
HEAD_BYTES = _HEAD.size


class Header(NamedTuple):
    """Of one file. Points: `before` were written to earlier files; `stored`, `refused`, `dropped` are of the spool.

    `acked` is how far the file was delivered; `is_owner`: its process began the run, and ends it.
    """

    is_owner: bool
    before: int
    acked: int
    stored: int
    refused: int
    dropped: int


class Frame(NamedTuple):
    """`payload` is None where bytes are damaged. `end` is where the next one begins."""

    payload: bytes | None
    points: int
    end: int


class Segment:
    """One file of a spool, open and locked by this process. `size` is what was written to it."""

    def __init__(self, path: Path, file: AppendFile, marks: AppendFile, size: int) -> None:
        self.path = path
        self.file = file
        self.size = size
        self._marks = marks

    def header(self) -> Header:
        raw = os.pread(self.file.descriptor, HEADER_BYTES, 0).ljust(HEADER_BYTES, b"\0")
        magic, form, flags, before, acked, stored, refused, dropped = _HEADER.unpack(raw)
        if magic != _MAGIC or form != _FORMAT:
            raise ValueError(f"{self.path} is not a spool that this program can read")
        return Header(bool(flags), before, min(max(acked, HEADER_BYTES), self.size), stored, refused, dropped)

    def mark_sent(self, acked: int, stored: int, refused: int) -> None:
        """Not forced to disk: what is sent twice counts once."""
        self._marks.write_at(_SENT.pack(acked, stored, refused), _SENT_AT)

    def mark_dropped(self, dropped: int) -> None:
        self._marks.write_at(_DROPPED.pack(dropped), _DROPPED_AT)

    def close(self) -> None:
        self.file.close()
        self._marks.close()


def first_bytes(*, is_owner: bool, before: int, dropped: int) -> bytes:
    """The header of a new file."""
    return _HEADER.pack(_MAGIC, _FORMAT, is_owner, before, HEADER_BYTES, 0, 0, dropped)


def framed(payload: bytes, points: int) -> bytes:
    """The frame that holds this."""
    return _HEAD.pack(_MARK, points, len(payload), crc32(payload, points)) + payload


def frames_in(segment: Segment, start: int, end: int) -> Iterator[Frame]:
    """The frames between two positions. Damaged bytes come as one frame without payload, also at the very end."""
    window, base, at = b"", start, start
    while at < end:
        frame = _frame(window, at - base, at)
        if frame is None and base + len(window) < end:
            window, base = os.pread(segment.file.descriptor, _wanted(window, at - base), at), at
            frame = _frame(window, 0, at)
        if frame is None and base + len(window) < end:  # longer than the window, or damaged
            window = os.pread(segment.file.descriptor, end - at, at)
            frame = _frame(window, 0, at)
        if frame is None or frame.end > end:
            frame = _gap(segment, at, end)
        yield frame
        at = frame.end


def open_segment(path: Path, files: Files) -> Segment | None:
    """A file whose process is gone, locked by us from now on; None while it lives, or when somebody has removed it."""
    try:
        file = files.append(path, create=False)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        told = os.fstat(file.descriptor)
        if told.st_nlink and told.st_size >= HEADER_BYTES:
            return Segment(path, file, files.append(path, in_place=True), told.st_size)
    except BlockingIOError:
        pass
    file.close()
    return None


def read_only(path: Path) -> Segment:
    """A file as it is now, to look at, whoever writes to it.

    Raises:
        OSError: It is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    file = AppendFile(path, descriptor, SystemCalls())
    return Segment(path, file, AppendFile(path, -1, SystemCalls()), os.fstat(descriptor).st_size)


def spools_in(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """The files of each spool in order, by run and token."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        run, _, rest = path.name.partition(".")
        found.setdefault((run, rest.partition(".")[0]), []).append(path)
    return found


def segments_of(paths: list[Path], files: Files) -> list[Segment] | None:
    """All files of a spool, locked; None when one of them is somebody's."""
    opened: list[Segment] = []
    for path in paths:
        segment = open_segment(path, files)
        if segment is None:
            for other in opened:
                other.close()
            return None
        opened.append(segment)
    return opened


def _wanted(window: bytes, offset: int) -> int:
    """How much to read: the frame that begins here, if it says how long it is."""
    if len(window) - offset >= HEAD_BYTES:
        _, _, size, _ = _HEAD.unpack_from(window, offset)
        return max(READ_BYTES, min(size, MAX_PAYLOAD) + HEAD_BYTES)
    return READ_BYTES


def _frame(window: bytes, offset: int, at: int) -> Frame | None:
    if len(window) - offset < HEAD_BYTES:
        return None
    mark, points, size, checksum = _HEAD.unpack_from(window, offset)
    begin = offset + HEAD_BYTES
    if mark != _MARK or size > MAX_PAYLOAD or begin + size > len(window):
        return None
    payload = window[begin : begin + size]
    return Frame(payload, points, at + HEAD_BYTES + size) if crc32(payload, points) == checksum else None


def _gap(segment: Segment, at: int, end: int) -> Frame:
    """From the damage at `at` to the next sound frame, or to the end."""
    window, mark = os.pread(segment.file.descriptor, end - at, at), _MARK.to_bytes(2, "little")
    found = window.find(mark, 1)
    while found >= 0:
        if _frame(window, found, at + found) is not None:
            return Frame(None, 0, at + found)
        found = window.find(mark, found + 1)
    return Frame(None, 0, end)
