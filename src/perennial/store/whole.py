"""Objects that lie whole, each in a read-only file of its own that is named after its digest."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from perennial.store.failpoints import failpoint
from perennial.store.files import Files
from perennial.store.hashing import new_hasher
from perennial.store.pins import Pins
from perennial.types import Digest

__all__ = ["BLOCK_BYTES", "Whole", "read_blocks"]

BLOCK_BYTES = 8 << 20  # read and hashed at once
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
        self._files.mkdirs(self._folder)
        if not self._is_swept:
            self._is_swept = True
            self.sweep()
        temporary = self._folder / f"{secrets.token_hex(8)}.tmp"
        hasher = new_hasher()
        try:
            with self._files.append(temporary, exclusive=True, mode=0o444) as file:
                for block in blocks:
                    hasher.update(block)
                    file.write(block)
                digest = Digest(hasher.hexdigest())
                failpoint("objects.whole.written")
                self._pins.add(hasher.digest())
                if self.is_sound(digest):
                    self._files.remove(temporary)
                    return digest
                file.fsync()
            self._files.mkdirs(self.path(digest).parent)
            self._files.publish(temporary, self.path(digest))
            failpoint("objects.whole.renamed")
        except BaseException:
            self._files.discard(temporary)
            raise
        return digest

    def take(self, digest: Digest, path: Path) -> bool:
        """Move a file here, forced to disk; says whether it holds what its new name says, else it stays."""
        if not _holds(path, digest):
            return False
        with self._files.append(path) as file:
            file.fsync()
        self._pins.add(bytes.fromhex(digest))
        path.chmod(0o444)
        self._files.mkdirs(self.path(digest).parent)
        self._files.publish(path, self.path(digest))
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

    def sweep(self) -> None:
        """Remove temporary files of processes that died."""
        for path in self._folder.glob("*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > LEFTOVER_S:
                    self._files.remove(path)
            except FileNotFoundError:  # its writer is done with it
                continue


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
