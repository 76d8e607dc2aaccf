"""`Calls` for tests: fail the N-th system call, or keep account of what a power loss would leave.

Both do the real thing on a real disk; they only stop or remember.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Literal

from perennial.store.files import Calls, SystemCalls

__all__ = ["FailingCalls", "PowerLoss", "RecordingCalls", "Survives"]

Survives = Literal["synced", "torn", "zeroed", "all"]
"""What of the bytes and names that were not forced to disk is there afterwards: nothing; every name, and half of the
bytes; every name, and zeros for the bytes; everything. All are legal on the file systems we know."""


class FailingCalls(SystemCalls):
    """The operating system, whose N-th call (counted from 1) fails with `error`; all later ones with `lasting`."""

    def __init__(self, fail_at: int, error: int, *, lasting: bool = False) -> None:
        self.count = 0
        self.has_failed = False
        self._fail_at = fail_at
        self._error = error
        self._lasting = lasting
        self._lock = threading.Lock()

    def mend(self) -> None:
        """From now on nothing fails."""
        self._fail_at = 0

    def _step(self, what: str) -> None:
        with self._lock:
            self.count += 1
            failing = self.count == self._fail_at or (self._lasting and 0 < self._fail_at < self.count)
        if failing:
            self.has_failed = True
            raise OSError(self._error, f"{os.strerror(self._error)} (injected into {what})")

    def open(self, path: Path, flags: int, mode: int) -> int:
        self._step("open")
        return super().open(path, flags, mode)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._step("write")
        return super().write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        self._step("write_at")
        return super().write_at(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        self._step("fsync")
        super().fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._step("truncate")
        super().truncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._step("link")
        super().link(source, target)

    def remove(self, path: Path) -> None:
        self._step("remove")
        super().remove(path)

    def mkdir(self, path: Path) -> None:
        self._step("mkdir")
        super().mkdir(path)


class PowerLoss(BaseException):
    """The machine is off. Not an Exception, so that no handler tidies up."""


class _Inode:
    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = bytes(data)


class RecordingCalls(SystemCalls):
    """The operating system, with an account of what is on disk; the power fails before call `stop_at`."""

    def __init__(self, *, stop_at: int = 0) -> None:
        self.count = 0
        self._stop_at = stop_at
        self._names: dict[Path, _Inode] = {}
        self._durable_names: dict[Path, _Inode] = {}
        self._open: dict[int, _Inode | Path] = {}

    def write_state(self, folder: Path, into: Path, survives: Survives) -> None:
        """Make at `into` what would be found at `folder` after a power loss now."""
        names = self._durable_names if survives == "synced" else self._names
        for path, inode in names.items():
            if not path.is_relative_to(folder):
                continue
            target = into / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_after(inode, survives))

    def _step(self) -> None:
        self.count += 1
        if self._stop_at and self.count >= self._stop_at:
            raise PowerLoss

    def open(self, path: Path, flags: int, mode: int) -> int:
        self._step()
        existed = path.exists()
        descriptor = super().open(path, flags, mode)
        if path.is_dir():
            self._open[descriptor] = path
        else:
            if path not in self._names:
                self._names[path] = _Inode(path.read_bytes() if existed else b"")
                if existed:
                    self._durable_names[path] = self._names[path]
            self._open[descriptor] = self._names[path]
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._step()
        self._inode(descriptor).data += data
        return super().write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        self._step()
        self._inode(descriptor).data[offset : offset + len(data)] = data
        return super().write_at(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        self._step()
        opened = self._open[descriptor]
        if isinstance(opened, _Inode):
            opened.durable = bytes(opened.data)
        else:
            kept = {path: inode for path, inode in self._durable_names.items() if path.parent != opened}
            here = {path: inode for path, inode in self._names.items() if path.parent == opened}
            self._durable_names = kept | here
        super().fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._step()
        del self._inode(descriptor).data[size:]
        super().truncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)
        self._names[target] = self._names.pop(source)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)
        self._names[target] = self._names[source]

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)
        self._names.pop(path, None)

    def mkdir(self, path: Path) -> None:
        self._step()
        super().mkdir(path)

    def _inode(self, descriptor: int) -> _Inode:
        opened = self._open[descriptor]
        assert isinstance(opened, _Inode)
        return opened


def _after(inode: _Inode, survives: Survives) -> bytes:
    data, durable = bytes(inode.data), inode.durable
    if survives == "all":
        return data
    if survives == "synced" or not data.startswith(durable):
        return durable
    rest = len(data) - len(durable)
    return durable + (data[len(durable) : len(durable) + rest // 2] if survives == "torn" else bytes(rest))


_failing: Calls = FailingCalls(0, 0)
_recording: Calls = RecordingCalls()
