"""The packs of one object store and the index over them, kept in memory and rebuilt by scanning.

Finds what other processes appended since the last look. Whether a payload is what its digest says is checked by
`objects` when it is read; here it is checked before a copy that is there already is taken for granted.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from perennial.store.files import Files
from perennial.store.packs import (
    CHUNK,
    DEAD,
    LIST,
    OBJECT,
    Frame,
    Pack,
    PackWriter,
    Payload,
    erase,
    open_pack,
    scan,
)
from perennial.types import Digest

__all__ = ["Copy", "Found", "Packed", "Run"]

RUN_BYTES, GAP_BYTES = 1 << 20, 64 << 10  # read at once; and what may lie between two that are read together

Found = tuple[Pack, Frame]


class Copy(NamedTuple):
    """An object to be written to a file with this mode (less what the process's mask forbids)."""

    digest: Digest
    path: bytes
    mode: int = 0o666


class Run(NamedTuple):
    """Frames beside each other in a pack, and what each is for."""

    pack: Pack
    items: list[tuple[Frame, Copy]]


class Packed:
    """Payloads by digest. Safe for concurrent use, by several processes too: each appends to a pack of its own."""

    def __init__(self, folder: Path, files: Files, deletions: Callable[[], int | None]) -> None:
        self._folder = folder
        self._files = files
        self._packs: dict[str, Pack] = {}
        self._index: dict[bytes, Found] = {}
        self._writer: PackWriter | None = None
        self._deletions = deletions
        self._seen: int | None = None  # how many deletions the index knows of
        self._lock = threading.RLock()

    def place(self, kind: bytes, payloads: Sequence[Payload]) -> list[Found]:
        """Make sure that a sound copy of each lies in a pack; they are on disk after `sync`.

        Whoever calls this has pinned the digests before.
        """
        found: dict[bytes, Found] = {}
        missing: dict[bytes, Payload] = {}
        current: dict[Path, bool] = {}  # of each pack once: what is deleted from here on is not what was pinned
        for item in payloads:
            raw = item[0]
            known = self._index.get(raw)
            if known is not None and known[0].path not in current:
                current[known[0].path] = known[0].is_current
            if known is not None and current[known[0].path] and _is_good(known, kind, item):
                found[raw] = known
            else:
                missing[raw] = item
        if missing:
            with self._lock:
                found |= self._append(kind, missing)
        return [found[raw] for raw, _ in payloads]

    def _append(self, kind: bytes, missing: dict[bytes, Payload]) -> dict[bytes, Found]:
        """Append what is not there, and take what is there damaged out of the way."""
        damaged = list[Found]()
        if self._writer is None or self._writer.is_full or not self._writer.is_usable:
            writer = self._open_writer()
        else:
            writer = self._writer
        pack = self._packs[writer.path.name]
        found: dict[bytes, Found] = {}
        for raw, item in missing.items():
            known = self._index.get(raw)  # once more, under the lock
            if known is None or known[1].kind != kind or known[0].is_given_up(known[1]) or not known[0].is_current:
                continue
            if _is_sound(known, *item):
                found[raw] = known
            elif known[0].holds(known[1]):
                damaged.append(known)
        new = [item for raw, item in missing.items() if raw not in found]
        try:
            for frame in writer.append(kind, new) if new else ():
                self._index[frame.digest] = found[frame.digest] = (pack, frame)
                pack.scanned = frame.end
            if damaged:
                writer.sync(self._index[new[-1][0]][1])
                for where, frame in damaged:
                    self._bury(where, [frame])  # else a later scan might take the damaged one
        except OSError:
            self.forget()
            raise
        return found

    def sync(self, placed: Iterable[Found]) -> None:
        """Return when all these are on disk, with one flush for each pack."""
        last: dict[Path, Found] = {}
        for pack, frame in placed:
            if pack.path not in last or last[pack.path][1].end < frame.end:
                last[pack.path] = (pack, frame)
        for pack, frame in last.values():
            if pack.synced >= frame.end:
                continue
            if pack.writer is not None:
                try:
                    pack.writer.sync(frame)
                except OSError:
                    self.forget()
                    raise
            else:  # another process's, which may not have flushed it yet
                try:
                    with self._files.append(pack.path, create=False) as file:
                        file.fsync()
                except FileNotFoundError:  # garbage collection moved what was in it, and flushed that
                    continue
            pack.synced = max(pack.synced, frame.end)

    def by_place(self, items: Iterable[Copy]) -> tuple[list[Run], list[Copy]]:
        """Those of small objects in runs that lie beside each other, and the rest."""
        rest = list[Copy]()
        placed: dict[str, list[tuple[Frame, Copy]]] = {}
        packs: dict[str, Pack] = {}
        for item in items:
            found = self._index.get(bytes.fromhex(item.digest)) or self.find(bytes.fromhex(item.digest))
            if found is None or found[1].kind == LIST:
                rest.append(item)
            else:
                packs[found[0].path.name] = found[0]
                placed.setdefault(found[0].path.name, []).append((found[1], item))
        runs = list[Run]()
        for name, here in placed.items():
            here.sort(key=lambda each: each[0].offset)
            run = Run(packs[name], [])
            for frame, item in here:
                if run.items and (
                    frame.offset > run.items[-1][0].end + GAP_BYTES or frame.end > run.items[0][0].offset + RUN_BYTES
                ):
                    runs.append(run)
                    run = Run(packs[name], [])
                run.items.append((frame, item))
            runs.append(run)
        return runs, rest

    def read_run(self, run: Run) -> Iterator[tuple[Copy, memoryview | None]]:
        """The payload for each, None when it is not there any more."""
        first, last = run.items[0][0], run.items[-1][0]
        data = memoryview(run.pack.read(first.offset, last.end))
        for frame, item in run.items:
            start = frame.offset - first.offset
            yield item, frame.payload_in(data[start : start + frame.end - frame.offset])

    def known(self, raw: bytes) -> Found | None:
        """Where a payload lies as of the last look."""
        return self._index.get(raw)

    def find(self, raw: bytes) -> Found | None:
        """Where a payload lies; looks at the disk when it is not known yet."""
        found = self._index.get(raw)
        if found is None:
            self.look()
            found = self._index.get(raw)
        return found

    def read(self, raw: bytes) -> tuple[bytes, bytes] | None:
        """Kind and payload, not hashed again; None when there is none."""
        for _ in range(4):
            found = self.find(raw)
            if found is None:
                return None
            payload = found[0].payload(found[1])
            if payload is not None:
                return found[1].kind, payload
            self.forget()  # deleted, moved or cut off by another process since we looked
        return None

    def holds(self, raw: bytes) -> bool:
        """Whether a payload is there now, also by what other processes deleted."""
        found = self.find(raw)
        if found is not None and not (found[0].is_current and found[0].holds(found[1])):
            self.forget()
            found = self.find(raw)
        return found is not None

    def where(self, raw: bytes) -> Path | None:
        found = self._index.get(raw)
        return found[0].path if found else None

    def erase(self, raw: bytes) -> bool:
        """Take a payload out of every pack and overwrite it with zeros; says whether it was there."""
        erased = False
        with self._lock:
            for pack in self.packs():
                dead = [frame for frame in scan(pack) if frame.digest == raw and frame.kind != DEAD]
                if dead:
                    self._bury(pack, dead)
                    erased = True
            self._index.pop(raw, None)
        return erased

    def look(self) -> bool:
        """See what was put and deleted since the last look, by any process; says whether all of the latter is known.

        It is not while something is being deleted; then a frame may be gone that the index still has.
        """
        with self._lock:
            deletions = self._deletions()
            if deletions is not None and deletions != self._seen:
                self.forget()
                return self._seen is not None
            self._seen = deletions
            names = self._names()
            if any(pack.size() < pack.scanned or not pack.is_current for pack in self._packs.values()):
                self.forget()  # written anew by garbage collection, or cut off by its writer
                return self._seen is not None
            for name in names:
                pack = self._packs.get(name) or self._open_pack(name)
                if pack is not None and pack.size() > pack.scanned:
                    self._scan(pack, self._index)
            return deletions is not None

    def forget(self) -> None:
        """Read all packs anew: what we know of them is no longer so."""
        with self._lock:
            self._seen = self._deletions()  # first: one that begins now shows the next time
            names = self._names()
            self._packs = {name: pack for name, pack in self._packs.items() if pack.is_current}
            index: dict[bytes, Found] = {}
            for name in names:
                pack = self._packs.get(name) or self._open_pack(name)
                if pack is not None:
                    pack.scanned = 0
                    pack.damage.clear()
                    self._scan(pack, index)
            self._index = index  # at once: others read it without the lock

    def packs(self) -> list[Pack]:
        """Every pack as if it had never been scanned."""
        found: list[Pack] = []
        for name in self._names():
            try:
                found.append(open_pack(self._folder / name))
            except FileNotFoundError:  # removed since we looked
                continue
        return found

    def digests(self) -> list[bytes]:
        """Of all objects, not of their chunks."""
        self.look()
        with self._lock:
            return [raw for raw, (_, frame) in self._index.items() if frame.kind in (OBJECT, LIST)]

    def sizes(self, *kinds: bytes) -> list[int]:
        """Of all payloads of these kinds."""
        self.look()
        with self._lock:
            return [frame.length for _, frame in self._index.values() if frame.kind in kinds]

    def close(self) -> None:
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            self._writer = None
            self._seen = None
            self._packs.clear()
            self._index.clear()

    def _open_writer(self) -> PackWriter:
        self.release()
        self._files.mkdirs(self._folder)
        self.look()
        for pack in self._packs.values():
            writer = PackWriter.take_over(pack, self._files)
            if writer is not None:
                break
        else:
            writer = PackWriter.create(self._folder / f"{secrets.token_hex(8)}.pack", self._files)
            pack = self._packs[writer.path.name] = open_pack(writer.path)
        pack.writer = self._writer = writer
        self._scan(pack, self._index)
        return writer

    def release(self) -> None:
        """Force to disk what we appended and let go of the pack."""
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None and writer.is_usable:
                writer.finish()

    def _names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._folder) if entry.name.endswith(".pack"))
        except FileNotFoundError:
            return []

    def _open_pack(self, name: str) -> Pack | None:
        try:
            pack = self._packs[name] = open_pack(self._folder / name)
        except FileNotFoundError:  # removed since we looked
            return None
        return pack

    def _scan(self, pack: Pack, index: dict[bytes, Found]) -> None:
        for frame in scan(pack):
            known = index.get(frame.digest)
            # An object stays visible as one when a chunk has the same bytes.
            if frame.kind in (OBJECT, LIST) or (frame.kind == CHUNK and (known is None or known[1].kind == CHUNK)):
                index[frame.digest] = (pack, frame)

    def _bury(self, pack: Pack, frames: list[Frame]) -> None:
        try:
            file = self._files.append(pack.path, in_place=True)
        except FileNotFoundError:  # garbage collection emptied it meanwhile
            return
        with file:
            erase(file, frames)


def _is_good(known: Found, kind: bytes, item: Payload) -> bool:
    pack, frame = known
    return frame.kind == kind and not pack.is_given_up(frame) and _is_sound(known, *item)


def _is_sound(found: Found, raw: bytes, payload: bytes | memoryview) -> bool:
    stored = found[0].payload(found[1])
    if stored is None:
        return False
    # A list's digest is that of what it lists, so its bytes are compared instead.
    return stored == payload if found[1].kind == LIST else blake3(stored).digest() == raw
