"""Free what no record names any more, and give its space back to the disk.

Kept is what is named (`named`), and what a process put a while ago and may be about to commit (`pins`). The rest is
marked dead in one moment, while nobody can pin; then packs that are a quarter dead are written anew without it. Reading
goes on all the time. It may be killed anywhere and repeated (docs/decisions/0012).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path

from blake3 import blake3
from msgspec import Struct

from perennial.store.failpoints import failpoint
from perennial.store.named import Named
from perennial.store.objects import ObjectStore, chunks_of
from perennial.store.packs import (
    CHUNK,
    DEAD,
    LIST,
    OBJECT,
    Frame,
    Pack,
    PackWriter,
    has_cut_tail,
    lock_unused,
    mark_dead,
    open_pack,
    scan,
)
from perennial.store.records import Records
from perennial.types import Digest

__all__ = ["Garbage", "collect_garbage"]

DEAD_SHARE = 0.25  # a pack of which more than this is dead is written anew
COPY_BYTES = 4 << 20


class Garbage(Struct, frozen=True, kw_only=True):
    """What was freed, or would be, and what was kept.

    Attributes:
        objects: Objects that nothing named.
        chunks: Pieces of large objects that nothing named.
        freed_bytes: What both held.
        returned_bytes: Given back to the disk now.
        waiting_bytes: Freed, but still on the disk: in packs that a process writes to, or that are mostly alive.
        kept: Objects that stay.
        young: Those of them that nothing names, kept since a process put them and may be about to commit.
        young_bytes: What those hold.
    """

    objects: int
    chunks: int
    freed_bytes: int
    returned_bytes: int
    waiting_bytes: int
    kept: int
    young: int
    young_bytes: int


def collect_garbage(records: Records, objects: ObjectStore, *, dry_run: bool = False) -> Garbage:
    """Free every object that nothing names. May be killed at any point and repeated.

    Args:
        records: They say what is named.
        objects: The store to collect in.
        dry_run: Only tell what would be freed.

    Raises:
        Corrupt: A manifest cannot be read, so that nobody knows what it names; nothing was freed.
        Unavailable: A backup, a verification or another collection is at work.
        StoreError, ReadOnly: The disk would not do it; all that is named is there.
    """
    with objects.writing("the garbage was not collected"), objects.at_rest():
        named = Named(records, objects)
        named.look()  # the long work, beside everybody else's
        stored = _Stored(objects, named.digests)
        stored.look(named.digests)
        failpoint("gc.looked")
        with objects.pins.closed(deleting=not dry_run) as pinned:
            named.look()  # what was committed meanwhile; what is not yet committed is pinned
            stored.look(named.digests)
            kept = stored.with_chunks(named.digests | pinned)
            dead = stored.without(kept)
            if not dry_run:
                _delete(objects, stored, dead)
        young = stored.sizes(pinned - named.digests)
        returned, waiting = (0, 0) if dry_run else _return_space(objects, stored)
    freed = [frame for frames in dead.frames.values() for frame in frames]
    freed_objects = sum(frame.kind != CHUNK for frame in freed) + len(dead.whole)
    return Garbage(
        objects=freed_objects,
        chunks=sum(frame.kind == CHUNK for frame in freed),
        freed_bytes=sum(frame.length for frame in freed) + sum(dead.whole.values()),
        returned_bytes=returned + (0 if dry_run else sum(dead.whole.values())),
        waiting_bytes=waiting,
        kept=stored.count - freed_objects,
        young=len(young),
        young_bytes=sum(young.values()),
    )


class _Unnamed:
    """What is stored and was not named when it was looked at, by pack and file."""

    def __init__(self) -> None:
        self.frames: defaultdict[Path, list[Frame]] = defaultdict(list)
        self.whole: dict[Digest, int] = {}


class _Stored:
    """What lies in the store: whole objects at first, packs as of the last `look`."""

    def __init__(self, objects: ObjectStore, named: set[bytes]) -> None:
        self.count = 0
        self.packs: dict[Path, Pack] = {}
        self.dead_bytes: defaultdict[Path, int] = defaultdict(int)
        self._objects = objects
        self._unnamed = _Unnamed()
        # All of an object: beside a sound list a damaged one may lie, or one that was cut elsewhere.
        self._lists: defaultdict[bytes, list[list[tuple[bytes, int]]]] = defaultdict(list)
        for path in objects.whole.found():
            if len(path.name) == 64:
                self.count += 1
                if bytes.fromhex(path.name) not in named:
                    self._unnamed.whole[Digest(path.name)] = path.stat().st_size

    def look(self, named: set[bytes]) -> None:
        """Take in what was put into packs since the last look."""
        for pack in self._objects.packed.packs():
            pack = self.packs.setdefault(pack.path, pack)
            for frame in scan(pack):
                if frame.kind == DEAD:
                    self.dead_bytes[pack.path] += frame.end - frame.offset
                    continue
                if frame.kind == LIST:
                    self._lists[frame.digest].append(chunks_of(pack.payload(frame) or b""))
                self.count += frame.kind in (OBJECT, LIST)
                if frame.digest not in named:
                    self._unnamed.frames[pack.path].append(frame)

    def with_chunks(self, kept: set[bytes]) -> set[bytes]:
        """These digests, and those of the chunks that their lists name."""
        lists = chain.from_iterable(lists for digest, lists in self._lists.items() if digest in kept)
        return kept.union(chunk for listed in lists for chunk, _ in listed)

    def without(self, kept: set[bytes]) -> _Unnamed:
        """What may go."""
        dead = _Unnamed()
        for path, frames in self._unnamed.frames.items():
            gone = [frame for frame in frames if frame.digest not in kept and frame.kind in (OBJECT, CHUNK, LIST)]
            if gone:
                dead.frames[path] = gone
                self.dead_bytes[path] += sum(frame.end - frame.offset for frame in gone)
        dead.whole = {digest: size for digest, size in self._unnamed.whole.items() if bytes.fromhex(digest) not in kept}
        return dead

    def sizes(self, wanted: set[bytes]) -> dict[bytes, int]:
        """Which of these objects are stored though they were not named, and how large each is."""
        found = {bytes.fromhex(digest): size for digest, size in self._unnamed.whole.items()}
        for frames in self._unnamed.frames.values():
            found |= {frame.digest: frame.length for frame in frames if frame.kind == OBJECT}
        for digest, lists in self._lists.items():
            found[digest] = max(sum(length for _, length in listed) for listed in lists)
        return {digest: size for digest, size in found.items() if digest in wanted}


def _delete(objects: ObjectStore, stored: _Stored, dead: _Unnamed) -> None:
    """Mark what is dead, for every process at once. Lists first, durably: none ever names a chunk that is not there."""
    for lists in (True, False):
        for path, frames in dead.frames.items():
            # What a writer withdrew since we looked may be another frame by now.
            pack = stored.packs[path]
            marked = [frame for frame in frames if (frame.kind == LIST) == lists and pack.holds(frame)]
            if marked:
                with objects.files.append(path, in_place=True) as file:
                    mark_dead(file, marked)
                    if lists:  # the other marks may be lost: then what is dead is found dead the next time
                        file.fsync()
        failpoint("gc.lists_marked" if lists else "gc.marked")
    for digest in dead.whole:
        objects.whole.remove(digest)
    failpoint("gc.whole_removed")


def _return_space(objects: ObjectStore, stored: _Stored) -> tuple[int, int]:
    """Write packs anew that hold much dead space, and remove what is left over; gives bytes returned and waiting."""
    objects.packed.release()
    objects.whole.sweep()
    for path in (objects.folder / "packs").glob("*.tmp"):  # only a collection makes these, and it is this one's turn
        objects.files.remove(path)
    returned = waiting = 0
    for path, dead in stored.dead_bytes.items():
        less = _rewrite(objects, path) if dead > DEAD_SHARE * stored.packs[path].size() else 0
        returned += less
        waiting += 0 if less else dead
    objects.packed.forget()
    return returned, waiting


def _rewrite(objects: ObjectStore, path: Path) -> int:
    """Put what is alive in a pack in its place; gives the bytes saved, 0 when it is in use or damaged."""
    files, temporary = objects.files, path.with_name(f"{path.name}.tmp")
    locked = lock_unused(path, files)
    if locked is None:
        return 0
    with locked:
        pack = open_pack(path)
        alive = [frame for frame in scan(pack) if frame.kind != DEAD]
        size = pack.size()
        if pack.damage or (size > pack.scanned and not has_cut_tail(pack)):
            return 0  # for `verify` to tell
        if alive:
            with PackWriter.create(temporary, files) as writer:
                if not _copy(pack, alive, writer):
                    files.discard(temporary)
                    return 0
                failpoint("gc.copied")
                files.publish(temporary, path)
        else:
            files.remove(path)
        failpoint("gc.replaced")
        if os.fstat(locked.descriptor).st_nlink == 0:  # not if a person's backup links to it
            locked.truncate(0)  # who has the old one open does not keep its space
    return size - sum(frame.end - frame.offset for frame in alive)


def _copy(pack: Pack, alive: list[Frame], writer: PackWriter) -> bool:
    """Copy these frames durably; says whether they were sound."""
    for kind, frames in groupby(alive, lambda frame: frame.kind):
        for part in _parts(frames):
            payloads = [(frame.digest, data) for frame in part if (data := pack.payload(frame)) is not None]
            if kind not in (OBJECT, CHUNK, LIST) or len(payloads) < len(part):
                return False
            # The digest of a list is that of what it lists.
            if kind != LIST and any(blake3(data).digest() != raw for raw, data in payloads):
                return False
            writer.append(kind, payloads)
    writer.sync()
    return True


def _parts(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Frames in groups of a few megabytes."""
    part, size = list[Frame](), 0
    for frame in frames:
        part.append(frame)
        size += frame.length
        if size >= COPY_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
