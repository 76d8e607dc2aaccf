"""Changes to a person's own files and folders. Nothing is forced to disk: the store holds the bytes.

Paths are bytes, because names outside may be any.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from hashlib import blake2b

__all__ = [
    "UNFINISHED",
    "make_folders",
    "make_hard_link",
    "make_link",
    "move",
    "remove",
    "remove_if_empty",
    "remove_tree",
    "write",
    "write_blocks",
    "write_blocks_new",
    "write_new",
]

UNFINISHED = b".perennial.tmp"  # ends the name under which something is made, before it takes its place


def make_folders(path: bytes) -> None:
    """A folder and those above it; existing ones are fine."""
    os.makedirs(path, exist_ok=True)


def write_new(path: bytes, data: bytes | memoryview, mode: int) -> None:
    """A file where nothing is; for a folder that nobody knows yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def write(path: bytes, data: bytes | memoryview, mode: int) -> None:
    """A file, in the place of the file or link that is there, at once."""
    beside = _beside(path)
    write_new(beside, data, mode)
    os.rename(beside, path)


def write_blocks_new(path: bytes, blocks: Iterable[bytes], mode: int) -> None:
    """`write_new` for what comes in blocks; when they raise, no file stays."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        for block in blocks:
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        remove(path)
        raise
    finally:
        os.close(descriptor)


def write_blocks(path: bytes, blocks: Iterable[bytes], mode: int) -> None:
    """`write` for what comes in blocks; when they raise, the old file stays."""
    beside = _beside(path)
    write_blocks_new(beside, blocks, mode)
    os.rename(beside, path)


def make_link(target: bytes, path: bytes) -> None:
    """A symbolic link, in the place of a file or link that is there."""
    beside = _beside(path)
    os.symlink(target, beside)
    os.rename(beside, path)


def make_hard_link(source: bytes, path: bytes) -> bool:
    """Another name of a file, in the place of a file or link that is there; says whether the file system can."""
    beside = _beside(path)
    try:
        os.link(source, beside)
    except OSError:
        return False
    os.rename(beside, path)  # does nothing when both are the same file already
    remove(beside)
    return True


def move(source: bytes, target: bytes) -> None:
    """Give a file or folder another name on the same file system, at once."""
    os.rename(source, target)


def remove(path: bytes) -> None:
    """Remove a file or link; a missing one is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def remove_if_empty(path: bytes) -> bool:
    """Remove a folder when nothing is in it; says whether it is gone."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_tree(path: bytes) -> None:
    """Remove a folder with everything below it, following no link; a missing one is fine."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return


def _beside(path: bytes) -> bytes:
    """A name for what will take the place of `path`; what an interrupted call left there is removed."""
    folder, _, name = path.rpartition(b"/")
    beside = b"%s/.%s%s" % (folder, blake2b(name, digest_size=8).hexdigest().encode(), UNFINISHED)
    remove(beside)
    return beside
