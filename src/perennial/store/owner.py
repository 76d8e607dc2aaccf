"""Exactly one process at a time owns an embedded workspace, and everybody else finds it.

The lock is an flock on `owner.lock`, which the kernel drops with the process, so that a killed owner never blocks the
next one. The epoch in that file grows with each owner; `Records.fence` refuses commits of an older one. `owner.json`
(readable by the user only: it holds the token) says where the owner answers.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from pathlib import Path

import msgspec

from perennial import __version__
from perennial.errors import Conflict, StoreError, Unavailable
from perennial.store.decoding import ready
from perennial.store.failpoints import failpoint
from perennial.store.files import AppendFile, Files, LocalFiles, store_error
from perennial.types import Micros

__all__ = ["OwnerInfo", "OwnerLock", "find_owner"]

STARTING_S = 2.0  # an owner that holds the lock but has not yet said where it is gets this long


class OwnerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a workspace. `address` is None while it does not listen, as for a command that owns for a moment."""

    pid: int
    host: str
    epoch: int
    address: str | None
    token: str
    started: int
    version: str


class OwnerLock:
    """The right to write the records of one workspace folder."""

    def __init__(self, folder: Path, *, files: Files | None = None) -> None:
        self._folder = folder
        self._files = files or LocalFiles()
        self._lock: AppendFile | None = None
        self.info: OwnerInfo | None = None

    def acquire(self, *, now: Micros, address: str | None = None) -> OwnerInfo:
        """Become the owner, at once or not at all.

        Raises:
            Conflict: Another process is; names its pid and address.
            StoreError: The lock file cannot be written.
        """
        path = self._folder / "owner.lock"
        try:
            lock = self._files.append(path, mode=0o600)
        except OSError as error:
            raise store_error("cannot become the owner of the workspace", error, path) from error
        try:
            fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise self._taken() from None
        try:
            failpoint("owner.locked")
            epoch = _epoch(lock.descriptor) + 1
            lock.write(f"{epoch}\n".encode())
            lock.fsync()
            self._lock = lock
            self.info = OwnerInfo(
                pid=os.getpid(),
                host=socket.gethostname(),
                epoch=epoch,
                address=address,
                token=secrets.token_urlsafe(32),
                started=now,
                version=__version__,
            )
            self._tell()
        except OSError as error:
            self.release()
            lock.close()
            raise store_error("cannot become the owner of the workspace", error, path) from error
        return self.info

    def publish(self, address: str) -> OwnerInfo:
        """Say where the owner answers, once it listens."""
        if self.info is None:
            raise StoreError("only the owner can publish its address")
        self.info = msgspec.structs.replace(self.info, address=address)
        self._tell()
        return self.info

    def release(self) -> None:
        """Stop being the owner. Closing the file is what drops the lock, also when the process is killed."""
        if self._lock is not None:
            self._files.remove(self._folder / "owner.json")
            self._lock.close()
            self._lock = None
            self.info = None

    def _tell(self) -> None:
        self._files.write_atomic(self._folder / "owner.json", msgspec.json.encode(self.info), mode=0o600)

    def _taken(self) -> Conflict:
        try:
            owner = find_owner(self._folder)
        except Unavailable:
            owner = None
        who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
        at = f" at {owner.address}" if owner and owner.address else ""
        return Conflict(
            f"{who} owns this workspace{at}",
            where=str(self._folder),
            remedy="use it through that process, or stop it with: perennial down",
        )

    def __enter__(self) -> OwnerLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def find_owner(folder: Path) -> OwnerInfo | None:
    """The live owner of this workspace, or None when nobody owns it.

    Raises:
        Unavailable: Somebody holds the lock but has not said in time who it is.
    """
    try:
        descriptor = os.open(folder / "owner.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        deadline = time.monotonic() + STARTING_S
        while True:
            try:
                # Shared and for an instant only: two that look at the same time do not take each other for an owner.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                return None
            except BlockingIOError:
                owner = _read(folder / "owner.json")
            # The file may still be the one of a killed predecessor; the epoch tells.
            if owner is not None and owner.epoch == _epoch(descriptor):
                return owner
            if time.monotonic() > deadline:
                raise Unavailable("the owner of the workspace is just starting", where=str(folder), remedy="try again")
            time.sleep(0.005)
    finally:
        os.close(descriptor)


def _read(path: Path) -> OwnerInfo | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ready(OwnerInfo))
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _epoch(descriptor: int) -> int:
    """The last whole line; a line that a crash cut short does not count."""
    size = os.fstat(descriptor).st_size
    lines = os.pread(descriptor, 64, max(0, size - 64)).split(b"\n")[:-1]
    return int(lines[-1]) if lines else 0
