"""What is known about versioned files and folders outside the store: their version, and how their files looked.

One file for each place, read whole and written whole, so `status` opens no database. It is a memory and no record: what
is lost is found out again by hashing.

A file counts as unchanged while the file system says the same about it. That would miss a change within the same tick
of its clock as the look before; so what was changed shortly before a look is not remembered, and hashed the next time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct

from perennial.clock import SystemClock
from perennial.data.files.walk import Seen
from perennial.errors import Corrupt
from perennial.store.decoding import ready

__all__ = ["Place", "all_places", "forget_place", "now_ns", "read_place", "write_place"]

FORMAT = "perennial place 1"
ENDING = ".place"
TICK_NS = 100_000_000  # no file system's clock is coarser, but for FAT and old network file systems


class Place(Struct, array_like=True, kw_only=True):
    """A file or folder that holds a version. `path`: absolute, without links. `seen`: its files, sorted by path."""

    format: str = FORMAT
    path: bytes
    is_file: bool
    name: str
    version: int
    manifest: str
    seen: list[Seen]

    @property
    def folder(self) -> Path:
        return Path(os.fsdecode(self.path))


_decode = msgspec.msgpack.Decoder(ready(Place)).decode


def now_ns() -> int:
    """The moment before a look, for `write_place`: of the machine's clock, since files carry that one."""
    return SystemClock().now() * 1000


def read_place(places: Path, path: Path) -> Place | None:
    """What is known about the file or folder at an absolute path; None when it is nothing."""
    try:
        return _read(_file(places, os.fsencode(path)))
    except Corrupt:
        return None  # then everything is hashed, and remembered anew


def write_place(places: Path, place: Place, *, looked_at_ns: int) -> None:
    """Remember a place, as it looked at that moment."""
    from perennial.store.files import LocalFiles

    for seen in place.seen:
        if seen.ctime_ns > looked_at_ns - TICK_NS:
            seen.ctime_ns = -1  # like no file: it may have changed after the look and still tell the same time
    files = LocalFiles()
    files.mkdirs(places)
    files.write_atomic(_file(places, place.path), msgspec.msgpack.encode(place))


def forget_place(places: Path, place: Place) -> None:
    """Watch this path no more; the path itself stays as it is."""
    from perennial.store.files import LocalFiles

    LocalFiles().remove(_file(places, place.path))


def all_places(places: Path) -> tuple[list[Place], list[Corrupt]]:
    """Every place, by path, and what could not be read."""
    found: list[Place] = []
    problems: list[Corrupt] = []
    for path in _files(places):
        try:
            place = _read(path)
        except Corrupt as error:
            problems.append(error)
        else:
            found += [place] if place is not None else []
    return sorted(found, key=lambda place: place.path), problems


def _file(places: Path, path: bytes) -> Path:
    return places / (blake2b(path, digest_size=16).hexdigest() + ENDING)


def _files(places: Path) -> Iterable[Path]:
    try:
        return [path for path in places.iterdir() if path.name.endswith(ENDING)]
    except FileNotFoundError:
        return []


def _read(path: Path) -> Place | None:
    try:
        place = _decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, OSError) as error:
        raise _damaged(path, str(error)) from error
    if place.format != FORMAT:
        raise _damaged(path, f"its format is {place.format[:40]!r}")
    return place


def _damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(
        f"what was known about a versioned folder cannot be read: {why}",
        where=str(path),
        remedy="remove this file, then add the folder again or check it out again; no data are lost",
    )
