"""Bytes addressed by the BLAKE3 of their content. Any process of the user may put; bytes are hashed again when read.

Small objects lie in packs, large ones whole in a file of their own, large opaque ones as a list of content-defined
chunks, so that a second version costs what changed (docs/decisions/0002). The digest is always that of the content,
never of how it lies. `put` returns when the bytes survive power loss; that somebody may see them is decided by the
records that name them.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3
from msgspec import Struct

from perennial.errors import Corrupt, Invalid, NotFound, ReadOnly
from perennial.store import outside
from perennial.store.files import Files, LocalFiles, is_lasting, store_error
from perennial.store.hashing import digest_of, new_hasher
from perennial.store.held import held
from perennial.store.packed import Copy, Found, Packed, Run
from perennial.store.packs import CHUNK, LIST, OBJECT, Payload
from perennial.store.pins import Pins
from perennial.store.source import Stored, Unread, blocks_of, first_bytes, read_small, read_steadily, unread
from perennial.store.whole import BLOCK_BYTES, Whole, read_blocks
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.store.ahead import Behind

__all__ = ["Copy", "ObjectStore", "Stored", "Usage", "chunks_of", "digest_of"]

SMALL_BYTES = 256 << 10  # up to this size an object goes into a pack
BATCH, BATCH_BYTES = 1024, 8 << 20  # objects that are pinned and appended together
WRITERS = 3  # threads that write files out: one hashes while another waits for the file system
CUT_BYTES = 1 << 20  # read at once where chunks are cut: fits the processor's cache
AHEAD = 8  # chunks that are cut or read before they are needed
CHUNKED_BYTES = 16 << 20  # from this size on an opaque object becomes a list of chunks
TABLE_MAGIC = (b"PAR1", b"ARROW1")  # tables are versioned as manifests of files, never chunked as well

_ENTRY = struct.Struct("<32sI")  # of a chunk list: digest and length of one chunk
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Usage(Struct, frozen=True, kw_only=True):
    """What a store takes on the disk.

    Attributes:
        objects: How many there are.
        small_bytes: Of objects in packs, and of lists of chunks.
        chunk_bytes: Of the chunks of large objects, each counted once.
        whole_bytes: Of objects in files of their own.
        other_bytes: In packs: headers, and what was deleted and not yet given back.
    """

    objects: int
    small_bytes: int
    chunk_bytes: int
    whole_bytes: int
    other_bytes: int

    @property
    def bytes(self) -> int:
        return self.small_bytes + self.chunk_bytes + self.whole_bytes + self.other_bytes


class ObjectStore:
    """The objects below one folder. Safe for concurrent use, by several processes too."""

    def __init__(self, folder: Path, *, files: Files | None = None, chunked_bytes: int = CHUNKED_BYTES) -> None:
        self.folder = folder
        self.pins = Pins(folder / "pins", files or LocalFiles())
        self.packed = Packed(folder / "packs", files or LocalFiles(), self.pins.deletions)
        self.whole = Whole(folder / "whole", files or LocalFiles(), self.pins)
        self.broken: str | None = None
        self.files = files or LocalFiles()
        self._chunked_bytes = chunked_bytes
        self._is_loaded = False

    def put(self, data: bytes) -> Digest:
        """Store bytes and return their digest. A sound copy that is there already is kept, a damaged one replaced.

        Raises:
            StoreError: The disk would not do it; when it is full, try again when there is space.
            ReadOnly: A write or flush failed before, so that the disk is not believed any more.
        """
        return self.put_many((data,))[0]

    def put_many(self, many: Iterable[bytes]) -> list[Digest]:
        """`put` for many, with one flush to disk for all small ones."""
        digests: list[Digest] = []
        with self.writing(), self._batch(OBJECT) as batch:
            for data in many:
                if len(data) > SMALL_BYTES:
                    digests.append(self._put_large(data))
                else:
                    raw = blake3(data).digest()
                    digests.append(Digest(raw.hex()))
                    batch.add(raw, data)
        return digests

    def put_file(self, path: Path) -> Digest:
        """Store a file.

        Raises:
            NotFound: There is no such file.
            DataError: It cannot be read, or changes while it is read.
            StoreError, ReadOnly: As for `put`.
        """
        if not path.is_file():
            raise NotFound("there is no such file", where=str(path))
        (stored,) = self.put_files((path,))
        return stored.digest

    def put_files(self, paths: Iterable[str | bytes | os.PathLike[str]]) -> Generator[Stored]:
        """Store many files, and tell of each what it was when it was read, in order.

        All are on disk when this has told of the last one.

        Raises:
            DataError: Some cannot be read, or change while they are read; names them. All others are stored.
            StoreError, ReadOnly: As for `put`.
        """
        failed: list[tuple[bytes, Unread]] = []
        with self.writing(), self._batch(OBJECT) as small, self.whole.batch() as whole:

            def read(descriptor: int, size: int) -> bytes | Digest:
                if size > SMALL_BYTES:
                    is_whole = size < self._chunked_bytes or first_bytes(descriptor, 8).startswith(TABLE_MAGIC)
                    blocks = blocks_of(descriptor, size, BLOCK_BYTES if is_whole else CUT_BYTES)
                    return whole.add(blocks) if is_whole else self._put_chunked(blocks)
                return read_small(descriptor, size)

            for path in map(os.fsencode, paths):
                try:
                    content, told = read_steadily(path, read)
                except Unread as error:
                    failed.append((path, error))
                    continue
                if isinstance(content, bytes):
                    raw = blake3(content).digest()
                    small.add(raw, content)
                    content = Digest(raw.hex())
                yield Stored(path, content, told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_mode)
        if failed:
            raise unread(failed)

    def get(self, digest: Digest) -> bytes:
        """The bytes, hashed again.

        Raises:
            NotFound: There is no such object.
            Corrupt: What is stored is not what was put.
        """
        raw = _raw(digest)
        found = self.packed.read(raw)
        if found is None or found[0] == LIST:
            return b"".join(self._verified(digest))
        if blake3(found[1]).digest() != raw:
            raise self._corrupt(digest)
        return found[1]

    def blocks(self, digest: Digest) -> Iterator[bytes]:
        """The bytes in pieces of a few megabytes; the last one comes only when all are what was put.

        Raises:
            NotFound, Corrupt: As for `get`, before the last piece.
        """
        pieces = self._verified(digest)
        held = next(pieces, b"")
        for piece in pieces:
            yield held
            held = piece
        yield held

    def pin(self, digests: Iterable[Digest]) -> list[Digest]:
        """Rely on objects that somebody else put, as if they had been put here; gives those that are not there."""
        raws = {digest: _raw(digest) for digest in digests}
        with self.writing():
            self.pins.add(b"".join(raws.values()))
        if not self.packed.look():  # later: what is deleted from here on is not what was pinned
            return [digest for digest in raws if not self.has(digest)]
        return [
            digest
            for digest, raw in raws.items()
            if self.packed.known(raw) is None and not self.whole.path(digest).exists()
        ]

    def until_committed(self) -> AbstractContextManager[None]:
        """What is put or pinned inside is safe from garbage collection until the block ends: commit before that.

        Without it, it is safe while this process lives, and for an hour after.
        """
        return self.pins.until_committed()

    def has(self, digest: Digest) -> bool:
        return self.packed.holds(_raw(digest)) or self.whole.path(digest).exists()

    def size(self, digest: Digest) -> int:
        """Bytes of the object.

        Raises:
            NotFound: There is no such object.
        """
        found = self.packed.read(_raw(digest))
        if found is not None:
            kind, payload = found
            return sum(length for _, length in chunks_of(payload)) if kind == LIST else len(payload)
        try:
            return self.whole.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open_path(self, digest: Digest) -> Path | None:
        """The file of an object that lies whole, not hashed again; None when it lies otherwise or not at all."""
        _raw(digest)
        path = self.whole.path(digest)
        return path if path.exists() else None

    def parts(self, digest: Digest) -> list[tuple[Digest, int]]:
        """Digest and length of the chunks that a large object lies in, in order; none when it lies otherwise."""
        found = self.packed.read(_raw(digest))
        chunks = chunks_of(found[1]) if found is not None and found[0] == LIST else []
        return [(Digest(raw.hex()), length) for raw, length in chunks]

    def put_chunks(self, chunks: Iterable[bytes]) -> None:
        """Store chunks of objects that `put_parts` will name.

        Raises:
            StoreError, ReadOnly: As for `put`.
        """
        with self.writing(), self._batch(CHUNK) as batch:
            for chunk in chunks:
                batch.add(blake3(chunk).digest(), chunk)

    def put_parts(self, digest: Digest, parts: Iterable[Digest]) -> None:
        """Store an object as a list of chunks that are stored already.

        Raises:
            NotFound: A chunk is not there.
            Corrupt: Together they are not this object; nothing is stored.
            StoreError, ReadOnly: As for `put`.
        """
        hasher = new_hasher()
        entries: list[bytes] = []
        parts = list(parts)
        self.pin(parts)
        for part in parts:
            chunk = self.get(part)
            hasher.update(chunk)
            entries.append(_ENTRY.pack(_raw(part), len(chunk)))
        if hasher.hexdigest() != digest:
            raise Corrupt(f"these {len(entries)} chunks are not object {digest}")
        with self.writing(), self._batch(LIST) as batch:
            batch.add(hasher.digest(), b"".join(entries))

    def take(self, digest: Digest, path: Path) -> None:
        """Make a file on the same disk a whole object, by moving it.

        Raises:
            Corrupt: It holds other bytes; it stays where it is.
            StoreError, ReadOnly: As for `put`.
        """
        with self.writing():
            if not self.whole.take(digest, path):
                raise Corrupt(f"the file is not object {digest}", where=str(path))

    def checkout(self, digest: Digest, target: Path, *, mode: int = 0o644) -> None:
        """Write the object to a file, verified; shares blocks with the store where the file system can.

        Raises:
            NotFound, Corrupt: As for `get`.
        """
        if self.open_path(digest) is None:
            self.files.write_atomic(target, self._verified(digest), mode)
        elif self.whole.is_sound(digest):
            self.files.copy(self.whole.path(digest), target, mode)
        else:
            raise self._corrupt(digest)

    def checkout_many(self, items: Iterable[Copy], *, is_new: bool = False, link: bool = False) -> None:
        """Write many objects to files, each verified and each at once. Nothing is forced to disk: the store has it.

        Args:
            items: What to write where. Their folders are there.
            is_new: The folders are known to nobody yet, so that no file has to appear at once or in another's place.
            link: Let files that nobody may write or run share what lies whole in the store, as hard links.

        Raises:
            NotFound, Corrupt: As for `get`; the other files may be there already.
            OSError: The files cannot be written.
        """
        from perennial.store.ahead import each_ahead

        small, large = self.packed.by_place(items)
        runs: Iterable[Callable[[], None]] = (partial(self._write_run, run, is_new) for run in small)
        rest = (partial(self._write_large, item, is_new, link) for item in large)
        for _ in each_ahead(lambda write: write(), chain(runs, rest), WRITERS):
            pass

    def _write_run(self, run: Run, is_new: bool) -> None:
        write = outside.write_new if is_new else outside.write
        for item, data in self.packed.read_run(run):
            if data is None or blake3(data).digest() != _raw(item.digest):
                data = self.get(item.digest)  # moved meanwhile, or damaged, which this tells
            write(item.path, data, item.mode)

    def _write_large(self, item: Copy, is_new: bool, link: bool) -> None:
        from perennial.store.ahead import ahead

        whole = self.open_path(item.digest)
        if link and whole is not None and not item.mode & 0o333:
            if not self.whole.is_sound(item.digest):
                raise self._corrupt(item.digest)
            if outside.make_hard_link(os.fsencode(whole), item.path):
                return
        write = outside.write_blocks_new if is_new else outside.write_blocks
        with closing(ahead(self._verified(item.digest), AHEAD)) as blocks:
            write(item.path, blocks, item.mode)

    def delete(self, digest: Digest) -> bool:
        """Erase an object for good; says whether it was there. The caller knows that nothing names it.

        The chunks of a list stay: other lists may share them.
        """
        with self.writing(), self.at_rest(), self.pins.closed(deleting=True):
            erased = self.packed.erase(_raw(digest))
            return self.whole.remove(digest) or erased

    def digests(self) -> Iterator[Digest]:
        """Every object, in no order."""
        small = (Digest(raw.hex()) for raw in self.packed.digests())
        return chain(small, (Digest(path.name) for path in self.whole.found()))

    def usage(self) -> Usage:
        """What lies in the store, without reading it."""
        objects, chunks = self.packed.sizes(OBJECT, LIST), self.packed.sizes(CHUNK)
        packs = sum(pack.size() for pack in self.packed.packs())
        whole = [path.stat().st_size for path in self.whole.found()]
        return Usage(
            objects=len(objects) + len(whole),
            small_bytes=sum(objects),
            chunk_bytes=sum(chunks),
            whole_bytes=sum(whole),
            other_bytes=packs - sum(objects) - sum(chunks),
        )

    def close(self) -> None:
        """Let go of all files. The store opens them again when it is used again."""
        self.packed.close()
        self.pins.close()

    def at_rest(self, *, shared: bool = False, patience_s: float = 10.0) -> AbstractContextManager[None]:
        """Nobody else deletes or moves objects inside; with `shared`, others may be here who do not either.

        Raises:
            Unavailable: Somebody is at it, for longer than our patience.
        """
        return held(self.folder / "gc.lock", self.files, shared=shared, patience_s=patience_s)

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put_large(self, data: bytes) -> Digest:
        if len(data) < self._chunked_bytes or data.startswith(TABLE_MAGIC):
            return self.whole.put((data,))
        return self._put_chunked((data,))

    def _put_chunked(self, blocks: Iterable[bytes]) -> Digest:
        from perennial.store.ahead import ahead
        from perennial.store.chunking import split  # it needs numpy, which small objects do not

        hasher = blake3()  # by one thread: others cut and write
        chunk, entries = memoryview(b""), list[bytes]()
        with self._batch(CHUNK) as batch:
            for chunk in ahead(split(blocks), AHEAD):
                hasher.update(chunk)
                raw = blake3(chunk).digest()
                entries.append(_ENTRY.pack(raw, len(chunk)))
                batch.add(raw, chunk)
        # Now, not before: a list on disk never names a chunk that is not.
        # A list of one chunk would have the digest of that chunk.
        kind, payload = (LIST, b"".join(entries)) if len(entries) > 1 else (OBJECT, bytes(chunk))
        with self._batch(kind) as batch:
            batch.add(hasher.digest(), payload)
        return Digest(hasher.hexdigest())

    def _verified(self, digest: Digest) -> Iterator[bytes]:
        """The bytes in pieces; raises behind the last one when they are not what was put."""
        raw = _raw(digest)
        hasher = new_hasher()
        yield from _hashed(self._pieces(raw, digest), hasher)
        if hasher.digest() != raw:
            raise self._corrupt(digest)

    def _pieces(self, raw: bytes, digest: Digest) -> Iterator[bytes]:
        found = self.packed.read(raw)
        if found is None:
            try:
                with open(self.whole.path(digest), "rb") as file:
                    yield from read_blocks(file)
            except FileNotFoundError:
                raise _missing(digest) from None
        elif found[0] == LIST:
            for chunk, _ in chunks_of(found[1]):
                yield (self.packed.read(chunk) or (CHUNK, b""))[1]  # a missing one shows in the hash of the whole
        else:
            yield found[1]

    @contextmanager
    def _batch(self, kind: bytes) -> Generator[_Batch]:
        """Takes payloads; all are on disk when the block ends."""
        batch = _Batch(kind, self.packed, self.pins)
        try:
            yield batch
            batch.finish()
        finally:
            batch.close()

    def _corrupt(self, digest: Digest) -> Corrupt:
        return Corrupt(
            f"object {digest} is damaged: its bytes are not what was stored",
            where=str(self.open_path(digest) or self.packed.where(_raw(digest))),
            remedy="put the same bytes again, or restore a backup; see all damage with: perennial verify",
        )

    @contextmanager
    def writing(self, failure: str = "the object was not stored") -> Generator[None]:
        """The disk is written inside: what it says becomes an error of ours, and is remembered if it lasts."""
        if self.broken:
            says = f"writing is off since: {self.broken}"
            raise ReadOnly(says, where=str(self.folder), remedy="mend the disk, then start again")
        try:
            if not self._is_loaded:
                self.packed.look()
                self._is_loaded = True
            yield
        except OSError as error:
            told = store_error(failure, error, self.folder)
            if is_lasting(error):
                self.broken = told.what
            raise told from error


class _Batch:
    """Payloads on their way into packs, many at a time; all but the last are written behind the caller's back."""

    def __init__(self, kind: bytes, packed: Packed, pins: Pins) -> None:
        self._kind, self._packed, self._pins = kind, packed, pins
        self._waiting: list[Payload] = []
        self._bytes = 0
        self._last: dict[Path, Found] = {}
        self._behind: Behind | None = None

    def add(self, raw: bytes, payload: bytes | memoryview) -> None:
        self._waiting.append((raw, payload))
        self._bytes += len(payload)
        if len(self._waiting) >= BATCH or self._bytes >= BATCH_BYTES:
            from perennial.store.ahead import Behind  # few puts need it

            self._behind = self._behind or Behind()
            self._behind.do(partial(self._place, self._waiting))
            self._waiting, self._bytes = [], 0

    def finish(self) -> None:
        if self._behind is not None:
            self._behind.finish()
        if self._waiting:
            self._place(self._waiting)
        self._packed.sync(self._last.values())

    def close(self) -> None:
        if self._behind is not None:
            self._behind.close()

    def _place(self, payloads: list[Payload]) -> None:
        self._pins.add(b"".join([raw for raw, _ in payloads]))  # before looking whether they are there
        for found in self._packed.place(self._kind, payloads):
            last = self._last.get(found[0].path)
            if last is None or last[1].end < found[1].end:
                self._last[found[0].path] = found


def chunks_of(entries: bytes) -> list[tuple[bytes, int]]:
    """Digest and length of each chunk in a list; empty when the list is damaged."""
    return list(_ENTRY.iter_unpack(entries)) if len(entries) % _ENTRY.size == 0 else []


def _hashed(blocks: Iterable[bytes], hasher: blake3) -> Iterator[bytes]:
    for block in blocks:
        hasher.update(block)
        yield block


def _raw(digest: str) -> bytes:
    if not _DIGEST.fullmatch(digest):  # also keeps foreign text out of paths
        raise Invalid(f"{digest[:80]!r} is not a digest", remedy="a digest has 64 characters out of 0-9 and a-f")
    return bytes.fromhex(digest)


def _missing(digest: str) -> NotFound:
    return NotFound(f"there is no object {digest}", remedy="see what is missing with: perennial verify")
