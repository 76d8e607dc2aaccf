"""The name of bytes: their BLAKE3. Large ones are hashed by several threads."""

from __future__ import annotations

import os

from blake3 import blake3

from perennial.types import Digest

__all__ = ["digest_of", "new_hasher"]

_threads = blake3.AUTO


def new_hasher() -> blake3:
    """For a large object that comes in blocks."""
    return blake3(max_threads=_threads)


def digest_of(data: bytes) -> Digest:
    """The name under which these bytes are stored."""
    return Digest(blake3(data).hexdigest())


def _alone() -> None:
    global _threads
    _threads = 1  # the threads that the parent hashes with do not live in its fork, which would wait for them for ever


os.register_at_fork(after_in_child=_alone)
