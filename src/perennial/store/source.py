"""Read a person's file as it is at one moment: one that grows, shrinks or changes meanwhile is noticed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from perennial.errors import DataError
from perennial.types import Digest

__all__ = ["Stored", "Unread", "blocks_of", "first_bytes", "read_small", "read_steadily", "unread"]

TRIES = 2  # a file that changes each time has a writer that is not done
NAMED = 10  # paths in one error

T = TypeVar("T")


class Stored(NamedTuple):
    """A file as it was read. `path` as bytes, since names outside may be any; the rest is what `stat` says."""

    path: bytes
    digest: Digest
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int


class Unread(Exception):
    """This file cannot be taken as it is; says why."""


def read_steadily(path: bytes, read: Callable[[int, int], T]) -> tuple[T, os.stat_result]:
    """What `read` makes of an open file, and what the file system says about it: the same before and after.

    Args:
        path: Of a file.
        read: Given the descriptor and the size.

    Raises:
        Unread: It cannot be read, is no file, or changes while it is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not stop us
    except OSError as error:
        raise Unread(error.strerror or str(error)) from error
    failure = Unread("it changes while it is read")
    try:
        for _ in range(TRIES):
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise Unread("not a file")
            try:
                result = read(descriptor, before.st_size)
            except Unread as error:
                failure = error
            else:
                after = os.fstat(descriptor)
                if _moment(before) == _moment(after):
                    return result, after
            os.lseek(descriptor, 0, os.SEEK_SET)
    finally:
        os.close(descriptor)
    raise failure


def _moment(told: os.stat_result) -> tuple[int, int, int]:
    return told.st_size, told.st_mtime_ns, told.st_ctime_ns


def read_small(descriptor: int, size: int) -> bytes:
    """All bytes of a file of this size.

    Raises:
        Unread: Reading fails, or it has another size by now.
    """
    try:
        data = os.read(descriptor, size + 1)
    except OSError as error:
        raise Unread(error.strerror or str(error)) from error
    if len(data) != size:
        raise Unread("it changes while it is read")
    return data


def first_bytes(descriptor: int, count: int) -> bytes:
    """What a file begins with.

    Raises:
        Unread: Reading fails.
    """
    try:
        return os.pread(descriptor, count, 0)
    except OSError as error:
        raise Unread(error.strerror or str(error)) from error


def blocks_of(descriptor: int, size: int, block_bytes: int) -> Iterator[bytes]:
    """The bytes of a file up to its size.

    Raises:
        Unread: Reading fails, or it ends before.
    """
    while size > 0:
        try:
            block = os.read(descriptor, min(size, block_bytes))
        except OSError as error:
            raise Unread(error.strerror or str(error)) from error
        if not block:
            raise Unread("it was cut short while it was read")
        size -= len(block)
        yield block


def unread(files: list[tuple[bytes, Unread]]) -> DataError:
    """The error for files that were not taken, when all others are stored."""
    named = "; ".join(f"{os.fsdecode(path)!r}: {error}" for path, error in files[:NAMED])
    more = f"; and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return DataError(
        f"{len(files)} of the files could not be stored",
        where=named + more,
        remedy="mend or leave out these, or wait until their writer is done; the others are stored already",
    )
