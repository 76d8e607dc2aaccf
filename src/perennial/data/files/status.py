"""What changed in a versioned file or folder since it was added or checked out. Opens no database."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perennial.data.files.kinds import EXECUTABLE, FILE
from perennial.data.files.places import Place, now_ns, write_place
from perennial.data.files.walk import Seen, look, unreadable, walk
from perennial.errors import NotFound

__all__ = ["Difference", "Status", "digest_at", "seen_at", "status"]

READ_BYTES = 4 << 20


@dataclass(frozen=True)
class Difference:
    path: bytes
    says: Literal["modified", "added", "deleted"]


@dataclass(frozen=True)
class Status:
    """A place and how it differs from the version that it held. `hashed`: how many files had to be read."""

    place: Place
    differences: list[Difference] = field(default_factory=list[Difference])
    hashed: int = 0


def status(place: Place, places: Path, *, leave_out: Path | None = None) -> Status:
    """Compare a place with its version; what turned out to be unchanged is remembered, and not hashed again.

    Args:
        place: The file or folder.
        places: Where places are remembered.
        leave_out: A folder that is no part of any version: the workspace's.
    """
    looked_at = now_ns()
    known = {seen.path: seen for seen in place.seen}
    found = Status(place)
    hashed = 0
    differences = found.differences
    for now in seen_at(place.folder, is_file=place.is_file, leave_out=leave_out):
        before = known.pop(now.path, None)
        if before is None:
            differences.append(Difference(now.path, "added"))
        elif not now.is_as(before):
            says, read = _compare(place, now, before)
            hashed += read
            differences += [Difference(now.path, says)] if says else []
    differences += [Difference(path, "deleted") for path in known]
    differences.sort(key=lambda difference: difference.path)
    if hashed:
        write_place(places, place, looked_at_ns=looked_at)
    return Status(place, differences, hashed)


def seen_at(path: Path, *, is_file: bool, leave_out: Path | None = None) -> list[Seen]:
    """What lies at a place now; nothing when it is gone."""
    if not is_file:
        return walk(path, leave_out=leave_out)
    try:
        return [look(path)]
    except NotFound:
        return []


def _compare(place: Place, now: Seen, before: Seen) -> tuple[Literal["modified"] | None, bool]:
    """How one file differs, and whether it had to be read; when it does not, `before` takes over how it looks now."""
    if now.kind != before.kind or now.size != before.size:
        return "modified", False
    is_file = now.kind in (FILE, EXECUTABLE)
    if is_file:
        content = digest_at(place.folder if place.is_file else place.folder / os.fsdecode(now.path))
    else:
        content = now.content
    if content != before.content:
        return "modified", is_file
    before.mtime_ns, before.ctime_ns, before.inode = now.mtime_ns, now.ctime_ns, now.inode
    return None, is_file


def digest_at(path: Path) -> bytes:
    """The raw digest of a file's bytes."""
    from perennial.store.hashing import new_hasher  # most of the time nothing has to be read

    hasher = new_hasher()
    try:
        with open(path, "rb") as file:
            while block := file.read(READ_BYTES):
                hasher.update(block)
    except OSError as error:
        raise unreadable(os.fsencode(path), error) from error
    return hasher.digest()
