"""What processes rely on before a record names it, so that garbage collection leaves it alone.

Whoever puts an object, or finds that it is there already, notes its digest here *before* looking whether it is there.
Notes are files of 32-byte digests, locked while their process lives, not forced to disk: after a power loss no process
relies on anything. Garbage collection closes the gate, reads all notes and the records once more, and deletes before it
opens the gate again: a digest noted before is kept, one noted later is looked for when the deletion is done.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import RLock
from typing import BinaryIO

from perennial.store.files import AppendFile, Files

__all__ = ["Pins"]

DEAD_S = 3600  # what a process that died had put is kept so long: its commit may be on its way
LIVING_S = 7 * 86_400  # what a living one put so long ago is committed, or will never be
NEW_FILE_S = 86_400
_BYTES = 32


class Pins:
    """The digests that the processes at one store rely on. Safe for concurrent use."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files
        self._lock = RLock()
        self._own: list[_PinFile] = []
        self._gate: AppendFile | None = None
        self._process = os.getpid()
        self._scope: ContextVar[_PinFile | None] = ContextVar("perennial_pins", default=None)

    def add(self, digests: bytes) -> None:
        """Keep these, 32 bytes each, from now on; waits while garbage is being deleted."""
        with self._lock:
            if self._process != os.getpid():  # a fork has its parent's files, and shares their locks
                self._own, self._gate, self._process = [], None, os.getpid()
            if self._gate is None:
                self._files.mkdirs(self._folder)
                self._gate = self._files.append(self._folder / "gate")
            fcntl.flock(self._gate.descriptor, fcntl.LOCK_SH)
            try:
                self._file().add(digests)
            finally:
                fcntl.flock(self._gate.descriptor, fcntl.LOCK_UN)

    @contextmanager
    def until_committed(self) -> Generator[None]:
        """What is put inside is kept until the end of the block, and no longer: then records name it, or nothing does.

        Inside another such block it is kept until the end of that one. Other threads keep what they put for longer.
        """
        scope = self._scope.get()
        if scope is not None and scope.is_usable:
            yield
            return
        self._files.mkdirs(self._folder)
        file = _PinFile(self._folder, self._files)
        token = self._scope.set(file)
        try:
            yield
        finally:
            self._scope.reset(token)
            file.end()

    def deletions(self) -> int | None:
        """How often anything was deleted so far; None while it is being done. Never waits."""
        try:
            descriptor = os.open(self._folder / "gate", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return os.fstat(descriptor).st_size
        except BlockingIOError:
            return None
        finally:
            os.close(descriptor)

    @contextmanager
    def closed(self, *, deleting: bool) -> Generator[set[bytes]]:
        """Hold the gate shut; gives all that must be kept. Forgets what is too old to matter."""
        self._files.mkdirs(self._folder)
        with self._files.append(self._folder / "gate") as gate:
            fcntl.flock(gate.descriptor, fcntl.LOCK_EX)
            if deleting:
                gate.write(b".")  # before the first deletion: one that ends half-way counts
            pinned: set[bytes] = set()
            self._sweep(alone=True)
            for path in self._folder.glob("*.pins"):
                try:
                    notes = path.read_bytes()
                except FileNotFoundError:  # its block has just ended
                    continue
                pinned.update(notes[at : at + _BYTES] for at in range(0, len(notes) - _BYTES + 1, _BYTES))
            yield pinned

    def close(self) -> None:
        """Let go of all files; what was noted counts as that of a process that ended."""
        with self._lock:
            for file in self._own:
                file.close()
            if self._gate is not None:
                self._gate.close()
            self._own, self._gate = [], None

    def _file(self) -> _PinFile:
        scope = self._scope.get()
        if scope is not None and scope.is_usable:
            return scope
        now = time.monotonic()
        if not self._own or not self._own[-1].is_usable or now - self._own[-1].since > NEW_FILE_S:
            for old in [file for file in self._own if now - file.since > LIVING_S + NEW_FILE_S]:
                old.close()
                self._own.remove(old)
            self._sweep(alone=False)
            self._own.append(_PinFile(self._folder, self._files))
        return self._own[-1]

    def _sweep(self, *, alone: bool) -> None:
        """Remove notes that are too old to matter; those of a living process only while none can write."""
        for path in self._folder.glob("*.pins"):
            try:
                with open(path, "rb") as file:
                    age = time.time() - os.fstat(file.fileno()).st_mtime
                    is_over = (age > DEAD_S and _is_dead(file)) or (alone and age > LIVING_S)
            except FileNotFoundError:
                continue
            if is_over:
                self._files.remove(path)


class _PinFile:
    """The notes of this process, from one moment on. Its lock says that the process lives."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.since = time.monotonic()
        self._has_failed = False
        self._process = os.getpid()
        self._files = files
        self._file = files.append(folder / f"{secrets.token_hex(8)}.pins", exclusive=True)
        try:
            fcntl.flock(self._file.descriptor, fcntl.LOCK_EX)
        except BaseException:
            self._file.close()
            raise

    @property
    def is_usable(self) -> bool:
        """Whether nothing failed, nobody swept it, and this is not the copy in a fork, whose parent may end it."""
        return not self._has_failed and self._process == os.getpid() and os.fstat(self._file.descriptor).st_nlink > 0

    def add(self, digests: bytes) -> None:
        try:
            self._file.write(digests)
        except OSError:
            self._has_failed = True  # it may end in half a digest: what follows would be misread
            raise

    def end(self) -> None:
        """What is noted here need not be kept any more."""
        if self._process == os.getpid():
            self._files.discard(self._file.path)
        self.close()

    def close(self) -> None:
        self._has_failed = True
        self._file.close()


def _is_dead(file: BinaryIO) -> bool:
    """Whether the process that notes here is gone."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
