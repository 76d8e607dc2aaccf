"""`up.json`: which `perennial up` runs on a workspace, and that there is only one.

The lock is an flock on `up.lock`, gone with the process; the file tells the process ids and addresses to `status`,
`down` and to whoever wants a second one.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

import msgspec

from perennial.errors import Conflict
from perennial.store.decoding import ready
from perennial.store.files import AppendFile, LocalFiles

__all__ = ["Up", "UpLock", "read_up", "tree_is_up"]


PROBES_S = 0.3  # others may hold the lock for an instant, to see whether it is free


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """One running process tree. `children` are the process ids by name."""

    pid: int
    address: str
    serving: str
    children: dict[str, int] = {}


class UpLock:
    """The right to run the process tree of one workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = LocalFiles()
        self._lock: AppendFile | None = None

    def acquire(self) -> Up | None:
        """Take the lock; returns what a predecessor left behind when it was killed.

        Raises:
            Conflict: Another `perennial up` runs here; names its process id and address.
        """
        lock = self._files.append(self._folder / "up.lock", mode=0o600)
        if not _lock_within(lock.descriptor, PROBES_S):
            lock.close()
            other = _read(self._folder)
            who = f"process {other.pid} at {other.address}" if other else "another process, just starting"
            raise Conflict(
                f"perennial is up on this workspace already: {who}",
                where=str(self._folder),
                remedy="use it, or stop it with: perennial down",
            )
        self._lock = lock
        return _read(self._folder)

    def tell(self, up: Up) -> None:
        """Write down what runs now."""
        self._files.write_atomic(self._folder / "up.json", msgspec.json.encode(up), mode=0o600)

    def release(self) -> None:
        """Forget what ran and let another one start."""
        if self._lock is not None:
            self._files.remove(self._folder / "up.json")
            self._lock.close()
            self._lock = None

    def __enter__(self) -> UpLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def tree_is_up(folder: Path) -> bool:
    """Whether a `perennial up` runs on this workspace."""
    try:
        descriptor = os.open(folder / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared and for an instant only: two that look at the same time do not take each other for the tree.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_up(folder: Path) -> Up | None:
    """The process tree that runs on this workspace, if any."""
    return _read(folder) if tree_is_up(folder) else None


def _lock_within(descriptor: int, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                return False
            time.sleep(0.01)
        else:
            return True


def _read(folder: Path) -> Up | None:
    try:
        return msgspec.json.decode((folder / "up.json").read_bytes(), type=ready(Up))
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
