"""Objects that lie whole, each in a read-only file of its own that is named after its digest."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from perennial.store.failpoints import failpoint
from perennial.store.files import AppendFile, Files
from perennial.store.hashing import new_hasher
from perennial.store.pins import Pins
from perennial.types import Digest

__all__ = ["BLOCK_BYTES", "Whole", "read_blocks"]

BLOCK_BYTES = 8 << 20  # read and hashed at once
BATCH, BATCH_BYTES = 256, 256 << 20  # objects that are forced to disk together
FLUSHES = 8  # at the same time: the file system makes one of them
LEFTOVER_S = 3600  # a temporary file that nobody has written to for so long belongs to a process that died


class Whole:
    """Files by digest below one folder. Safe for concurrent use, by several processes too."""

    def __init__(self, folder: Path, files: Files, pins: Pins) -> None:
        self._folder = folder
        self._files = files
        self._pins = pins
        self._is_swept = False

    def path(self, digest: Digest) -> Path:
        return self._folder / digest[:2] / digest

    def put(self, blocks: Iterable[bytes]) -> Digest:
        """Write, hash, force to disk, then give it its name. A sound copy that is there already stays."""
        with self.batch() as batch:
            return batch.add(blocks)

    @contextmanager
    def batch(self) -> Generator[WholeBatch]:
        """Takes objects; all are on disk when the block ends."""
        batch = WholeBatch(self, self._folder, self._files, self._pins)
        try:
            yield batch
            batch.finish()
        except BaseException:
            batch.discard()
            raise

    def take(self, digest: Digest, path: Path) -> bool:
        """Move a file here, forced to disk; says whether it holds what its new name says, else it stays."""
        if not _holds(path, digest):
            return False
        with self._files.append(path) as file:
            file.fsync()
        self._pins.add(bytes.fromhex(digest))
        self._files.mkdirs(self.path(digest).parent)
        # Not read-only in its old place: who goes on there after we were killed must be able to write.
        beside = self._folder / f"{secrets.token_hex(8)}.tmp"
        self._files.rename(path, beside)
        beside.chmod(0o444)
        self._files.publish(beside, self.path(digest))
        failpoint("objects.whole.renamed")
        return True

    def is_sound(self, digest: Digest) -> bool:
        """Whether the file is there and holds what its name says."""
        return _holds(self.path(digest), digest)

    def remove(self, digest: Digest) -> bool:
        path = self.path(digest)
        was_there = path.exists()
        self._files.remove(path)
        return was_there

    def found(self) -> Iterator[Path]:
        """Every file that stands in the place of an object, whatever its name and content."""
        for folder in sorted(self._folder.glob("??")):
            yield from sorted(folder.iterdir())

    def prepare(self) -> None:
        """Make the folder, and sweep it once."""
        if not self._is_swept:
            self._files.mkdirs(self._folder)
            self._is_swept = True
            self.sweep()

    def sweep(self) -> None:
        """Remove temporary files of processes that died."""
        for path in self._folder.glob("*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > LEFTOVER_S:
                    self._files.remove(path)
            except FileNotFoundError:  # its writer is done with it
                continue


class WholeBatch:
    """Whole objects on their way, many of them forced to disk together."""

    def __init__(self, whole: Whole, folder: Path, files: Files, pins: Pins) -> None:
        self._whole, self._folder, self._files, self._pins = whole, folder, files, pins
        self._written: list[tuple[Digest, AppendFile]] = []
        self._bytes = 0

    def add(self, blocks: Iterable[bytes]) -> Digest:
        """Write an object to a temporary file, unless there is a sound copy."""
        self._whole.prepare()
        hasher, size = new_hasher(), 0
        file = self._files.append(self._folder / f"{secrets.token_hex(8)}.tmp", exclusive=True, mode=0o444)
        try:
            for block in blocks:
                hasher.update(block)
                file.write(block)
                size += len(block)
            digest = Digest(hasher.hexdigest())
            failpoint("objects.whole.written")
            self._pins.add(hasher.digest())
            if self._whole.is_sound(digest):
                self._drop(file)
                return digest
        except BaseException:
            self._drop(file)
            raise
        self._written.append((digest, file))
        self._bytes += size
        if len(self._written) >= BATCH or self._bytes >= BATCH_BYTES:
            self.finish()
        return digest

    def finish(self) -> None:
        """Force all to disk, then give each its name."""
        if len(self._written) > 1:
            from perennial.store.ahead import each_ahead  # few puts need it

            for _ in each_ahead(lambda item: item[1].fsync(), self._written, FLUSHES):
                pass
        elif self._written:
            self._written[0][1].fsync()
        folders: set[Path] = set()
        while self._written:
            digest, file = self._written[-1]
            target = self._whole.path(digest)
            self._files.mkdirs(target.parent)
            self._files.rename(file.path, target)
            self._written.pop()
            file.close()
            folders.add(target.parent)
        failpoint("objects.whole.renamed")
        for folder in folders:
            self._files.sync_folder(folder)
        self._bytes = 0

    def discard(self) -> None:
        """Leave nothing of what has no name yet."""
        for _, file in self._written:
            self._drop(file)
        self._written.clear()

    def _drop(self, file: AppendFile) -> None:
        file.close()
        self._files.discard(file.path)


def _holds(path: Path, digest: Digest) -> bool:
    hasher = new_hasher()
    try:
        with open(path, "rb") as file:
            for block in read_blocks(file):
                hasher.update(block)
    except FileNotFoundError:
        return False
    return hasher.hexdigest() == digest


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of an open file."""
    while block := file.read(BLOCK_BYTES):
        yield block
