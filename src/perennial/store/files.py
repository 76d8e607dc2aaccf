"""The one place through which the package writes files.

`LocalFiles` holds the recipes (a file appears whole or not at all; a log is forced to disk when asked) and does every
step through `Calls`, a handful of system calls that a test replaces by a recorder or a fault injector. Reading needs
no permission from here. What the bytes mean is the caller's business.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from perennial.errors import ReadOnly, StoreError
from perennial.store.failpoints import failpoint

__all__ = ["AppendFile", "Calls", "Files", "LocalFiles", "SystemCalls", "is_lasting", "store_error"]

_FICLONE = 0x40049409  # Linux: share the blocks of another file (Btrfs, XFS, bcachefs)


class Calls(Protocol):
    """System calls that change the disk. Each does exactly one thing or raises OSError. Safe for concurrent use."""

    def open(self, path: Path, flags: int, mode: int) -> int: ...
    def write(self, descriptor: int, data: bytes | memoryview) -> int: ...
    def write_at(self, descriptor: int, data: bytes, offset: int) -> int: ...
    def fsync(self, descriptor: int) -> None: ...
    def truncate(self, descriptor: int, size: int) -> None: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def link(self, source: Path, target: Path) -> None: ...
    def remove(self, path: Path) -> None: ...
    def mkdir(self, path: Path) -> None: ...


class SystemCalls:
    """The operating system's own."""

    def open(self, path: Path, flags: int, mode: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return os.write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        target.hardlink_to(source)

    def remove(self, path: Path) -> None:
        path.unlink()

    def mkdir(self, path: Path) -> None:
        path.mkdir(0o755)


class AppendFile:
    """An open file that only grows. Not safe for concurrent use; the caller holds a lock."""

    def __init__(self, path: Path, descriptor: int, calls: Calls) -> None:
        self.path = path
        self.descriptor = descriptor
        self._calls = calls

    def write(self, data: bytes | memoryview) -> None:
        """Hand all bytes to the operating system: they survive the process, not yet the machine."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._calls.write(self.descriptor, rest) :]

    def write_at(self, data: bytes, offset: int) -> None:
        """Change bytes in place; for marks of one byte, which cannot be torn, and for erasing."""
        done = 0
        while done < len(data):
            done += self._calls.write_at(self.descriptor, data[done:], offset + done)

    def fsync(self) -> None:
        """Force to disk. When this raises, the bytes since the last success count as lost: never try again."""
        self._calls.fsync(self.descriptor)

    def truncate(self, size: int) -> None:
        self._calls.truncate(self.descriptor, size)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> AppendFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Files(Protocol):
    """Durable changes of files. Safe for concurrent use; OSError passes through to the caller."""

    def write_atomic(self, path: Path, data: bytes | Iterable[bytes], mode: int = 0o644) -> None: ...
    def append(
        self, path: Path, *, exclusive: bool = False, in_place: bool = False, create: bool = True, mode: int = 0o644
    ) -> AppendFile: ...
    def publish(self, temporary: Path, target: Path) -> None: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def mkdirs(self, path: Path) -> None: ...
    def remove(self, path: Path) -> None: ...
    def discard(self, temporary: Path) -> None: ...
    def link(self, source: Path, target: Path) -> None: ...
    def copy(self, source: Path, target: Path, mode: int = 0o644) -> None: ...
    def sync_folder(self, path: Path) -> None: ...


class LocalFiles:
    """`Files` on a local disk."""

    def __init__(self, calls: Calls | None = None) -> None:
        self._calls = calls or SystemCalls()

    def write_atomic(self, path: Path, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        """Make `path` hold exactly `data`, also after power loss; a reader sees the old bytes or the new ones.

        Data may come in blocks; when they raise, the old bytes stay.
        """
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            with self.append(temporary, exclusive=True, mode=mode) as file:
                for block in (data,) if isinstance(data, bytes) else data:
                    file.write(block)
                failpoint("files.atomic.written")
                file.fsync()
            failpoint("files.atomic.synced")
            self.publish(temporary, path)
        except BaseException:
            self.discard(temporary)
            raise

    def append(
        self, path: Path, *, exclusive: bool = False, in_place: bool = False, create: bool = True, mode: int = 0o644
    ) -> AppendFile:
        """Open for appending, made when missing unless `create` is off.

        `exclusive`: it must be new. `in_place`: for `write_at` instead, never made.
        """
        flags = os.O_RDWR | (0 if in_place else os.O_APPEND) | (os.O_CREAT if create and not in_place else 0)
        flags |= os.O_EXCL if exclusive else 0
        return AppendFile(path, self._calls.open(path, flags, mode), self._calls)

    def publish(self, temporary: Path, target: Path) -> None:
        """Give a finished, synced file its name, durably."""
        self._calls.rename(temporary, target)
        failpoint("files.atomic.renamed")
        self.sync_folder(target.parent)

    def rename(self, source: Path, target: Path) -> None:
        """Give a finished, synced file its name; durable when its folder is synced."""
        self._calls.rename(source, target)

    def mkdirs(self, path: Path) -> None:
        """Make a folder and those above it, durably; existing ones are fine."""
        if path.is_dir():
            return
        self.mkdirs(path.parent)
        try:
            self._calls.mkdir(path)
        except FileExistsError:
            return
        self.sync_folder(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file; a missing one is fine."""
        try:
            self._calls.remove(path)
        except FileNotFoundError:
            return

    def link(self, source: Path, target: Path) -> None:
        """A hard link; an existing target is fine."""
        try:
            self._calls.link(source, target)
        except FileExistsError:
            return

    def copy(self, source: Path, target: Path, mode: int = 0o644) -> None:
        """Copy a file so that the target appears whole; shares blocks where the file system can."""
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
        try:
            with open(source, "rb") as reader, self.append(temporary, exclusive=True, mode=mode) as file:
                if not _clone(reader.fileno(), file.descriptor):
                    while block := reader.read(4 << 20):
                        file.write(block)
                file.fsync()
            self.publish(temporary, target)
        except BaseException:
            self.discard(temporary)
            raise

    def sync_folder(self, path: Path) -> None:
        """Force a folder's names to disk."""
        descriptor = self._calls.open(path, os.O_RDONLY | os.O_DIRECTORY, 0)
        try:
            self._calls.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self, temporary: Path) -> None:
        """Remove what a failed write left, if that still works."""
        try:
            self._calls.remove(temporary)
        except OSError:
            return  # the error that brought us here is the one to tell; whoever opens the folder sweeps *.tmp


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # another file system, or none that shares blocks: copy
    return True


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_PASSING = (*_FULL, *_FORBIDDEN, errno.EMFILE, errno.ENFILE, errno.ENOENT)


def is_lasting(error: OSError) -> bool:
    """Whether the disk itself failed: then nothing it says later is believed, until a person starts us again."""
    return error.errno not in _PASSING


def store_error(what: str, error: OSError, where: Path) -> StoreError:
    """The error to raise for a failed file call, with what to do about it."""
    if error.errno in _FULL:
        return StoreError(f"{what}: the disk is full", where=str(where), remedy="free some space, then try again")
    if error.errno in _FORBIDDEN:
        return ReadOnly(f"{what}: {error.strerror}", where=str(where), remedy="give yourself the right to write there")
    says = f"{what}: {error.strerror or error}"
    if is_lasting(error):
        return ReadOnly(says, where=str(where), remedy="mend the disk, then start again")
    return StoreError(says, where=str(where), remedy="try again")


_files: Files = LocalFiles()
_calls: Calls = SystemCalls()
