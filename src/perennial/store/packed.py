"""The packs of one object store and the index over them, kept in memory and rebuilt by scanning.

Finds what other processes appended since the last look. Whether a payload is what its digest says is checked by
`objects` when it is read; here it is checked before a copy that is there already is taken for granted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from perennial.store.files import Files
from perennial.store.packs import CHUNK, DEAD, LIST, OBJECT, Frame, Pack, PackWriter, mark_dead, scan

__all__ = ["Found", "Packed"]

Found = tuple[Pack, Frame]


class Packed:
    """Payloads by digest. Safe for concurrent use, by several processes too: each appends to a pack of its own."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files
        self._packs: dict[str, Pack] = {}
        self._index: dict[bytes, Found] = {}
        self._writer: PackWriter | None = None
        self._lock = threading.RLock()

    def place(self, kind: bytes, raw: bytes, payload: bytes | memoryview) -> Found:
        """Make sure that a sound copy lies in a pack; it is on disk after `sync`."""
        known = self._index.get(raw)
        if known is not None and (known[1].kind != kind or known[0].is_given_up(known[1])):
            known = None
        if known is not None and _is_sound(known, raw, payload):
            return known
        with self._lock:
            writer = self._open_writer()
            pack = self._packs[writer.path.name]
            try:
                frame = writer.append(kind, raw, payload)
                if known is not None:
                    writer.sync(frame)
                    self._bury(known[0], [known[1]])  # else a later scan might take the damaged one
            except OSError:
                self.forget(pack)
                raise
            self._index[raw] = (pack, frame)
            pack.scanned = frame.end
        return pack, frame

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
                    self.forget(pack)
                    raise
            else:  # another process's, which may not have flushed it yet
                with self._files.append(pack.path) as file:
                    file.fsync()
            pack.synced = max(pack.synced, frame.end)

    def find(self, raw: bytes) -> Found | None:
        """Where a payload lies; looks at the disk when it is not known yet."""
        found = self._index.get(raw)
        if found is None:
            self.look()
            found = self._index.get(raw)
        return found

    def read(self, raw: bytes) -> tuple[bytes, bytes] | None:
        """Kind and payload, not hashed again; None when there is none."""
        for _ in range(2):
            found = self.find(raw)
            if found is None:
                return None
            payload = found[0].payload(found[1])
            if payload is not None:
                return found[1].kind, payload
            self.forget(found[0])  # deleted or cut off by another process since we looked
        return None

    def holds(self, raw: bytes) -> bool:
        """Whether a payload is there now, also by what other processes deleted."""
        found = self.find(raw)
        if found is not None and not found[0].holds(found[1]):
            self.forget(found[0])
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

    def look(self) -> None:
        """See what was put since the last look, by any process."""
        with self._lock:
            try:
                names = [entry.name for entry in os.scandir(self._folder)]
            except FileNotFoundError:
                return
            for name in sorted(names):
                if name.endswith(".pack"):
                    pack = self._packs.get(name) or self._open_pack(self._folder / name)
                    if pack.size() > pack.scanned:
                        self._scan(pack)

    def forget(self, pack: Pack) -> None:
        """Read a pack anew: what we know of it is no longer so."""
        with self._lock:
            for raw in [raw for raw, (where, _) in self._index.items() if where is pack]:
                del self._index[raw]
            pack.scanned = 0
            pack.damage.clear()
            self._scan(pack)

    def packs(self) -> list[Pack]:
        """Every pack as if it had never been scanned."""
        self.look()
        with self._lock:
            return [Pack(pack.path, pack.descriptor) for pack in self._packs.values()]

    def digests(self) -> list[bytes]:
        """Of all objects, not of their chunks."""
        self.look()
        with self._lock:
            return [raw for raw, (_, frame) in self._index.items() if frame.kind in (OBJECT, LIST)]

    def close(self) -> None:
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            for pack in self._packs.values():
                os.close(pack.descriptor)
            self._writer = None
            self._packs.clear()
            self._index.clear()

    def _open_writer(self) -> PackWriter:
        if self._writer is not None and self._writer.is_usable:
            if not self._writer.is_full:
                return self._writer
            self._writer.finish()
        self._writer = None
        self._files.mkdirs(self._folder)
        self.look()
        for pack in self._packs.values():
            writer = PackWriter.take_over(pack, self._files)
            if writer is not None:
                break
        else:
            writer = PackWriter.create(self._folder, self._files)
            pack = self._open_pack(writer.path)
        pack.writer = self._writer = writer
        self._scan(pack)
        return writer

    def _open_pack(self, path: Path) -> Pack:
        pack = Pack(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._packs[path.name] = pack
        return pack

    def _scan(self, pack: Pack) -> None:
        for frame in scan(pack):
            if frame.kind in (OBJECT, LIST) or (frame.kind == CHUNK and frame.digest not in self._index):
                self._index[frame.digest] = (pack, frame)

    def _bury(self, pack: Pack, frames: list[Frame]) -> None:
        with self._files.append(pack.path, in_place=True) as file:
            mark_dead(file, frames)


def _is_sound(found: Found, raw: bytes, payload: bytes | memoryview) -> bool:
    stored = found[0].payload(found[1])
    if stored is None:
        return False
    # A list's digest is that of what it lists, so its bytes are compared instead.
    return stored == payload if found[1].kind == LIST else blake3(stored).digest() == raw
