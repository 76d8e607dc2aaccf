"""What a process logs, on its own disk before the call returns: files that only grow, until the service has it all.

A spool is the files `RUN.TOKEN.NUMBER.spool` of one run and one process (`segment`). One frame is one `write`, so it
survives a kill of the process; `_Syncing` forces it to the disk soon after. A file is removed when all of it was
delivered; who delivers it is `sender`.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import threading
from collections import deque
from pathlib import Path
from weakref import WeakSet

from perennial.store.files import Files
from perennial.tracking.segment import HEADER_BYTES, SUFFIX, Segment, first_bytes, framed

__all__ = ["Spool", "complain"]

SEGMENT_BYTES = 16 << 20  # then the next file begins, so that what was delivered goes
SYNC_EVERY_S = 2.0  # after power loss at most 5 s may be missing


class Spool:
    """Where one process lays down what it logs to one run. Safe for concurrent use.

    Nothing raises after it was made: what the disk or the cap does not take is dropped, counted in `dropped` and told
    on standard error. `received` counts the points that came, so `received = written + dropped`.
    """

    def __init__(
        self, folder: Path, run_id: str, *, is_owner: bool, cap_bytes: int, files: Files, segment_bytes: int = 0
    ) -> None:
        self.run_id = run_id
        self.token = secrets.token_hex(6)
        self.folder = folder
        self.segments: deque[Segment] = deque()
        self.written = self.dropped = 0
        self.written_bytes = self.delivered_bytes = 0
        self._is_owner = is_owner
        self._cap = cap_bytes
        self._files = files
        self._segment_bytes = segment_bytes or SEGMENT_BYTES
        self._number = 0
        self._lock = threading.Lock()
        self._syncing = threading.Lock()  # while it is held no file is closed
        self._is_dirty = False
        self._told = 0
        self._limit = -1  # of the last file; without one the first append makes it
        self._last: Segment | None = None
        try:
            files.mkdirs(folder)
            self._roll()
        except OSError as error:  # each append tries again
            complain(f"what is logged to run {run_id} is lost while {folder} cannot be written: {error.strerror}")
        _syncing.watch(self)

    @property
    def received(self) -> int:
        return self.written + self.dropped

    def append(self, payload: bytes, points: int = 0, *, is_capped: bool = True) -> bool:
        """Lay down one frame; False when it was dropped."""
        frame = framed(payload, points)
        size = len(frame)
        with self._lock:
            segment = self._last
            if segment is None or segment.size + size > self._limit:
                segment = self._next(size)
            if segment is None:
                self._drop(points, "its spool cannot be written")
                return False
            if is_capped and self.written_bytes - self.delivered_bytes + size > self._cap:
                self._drop(points, f"{self._cap:,} bytes wait to be sent, which is all the space it has")
                return False
            try:
                segment.file.write(frame)
            except OSError as error:
                self._mend(segment)
                self._drop(points, f"the disk does not take it ({error.strerror or error})")
                return False
            except BaseException:  # an interrupt, also behind the write: nobody was told that the bytes are kept
                self._mend(segment)
                raise
            segment.size += size
            self.written_bytes += size
            self.written += points
            self._is_dirty = True
        return True

    def delivered(self, count_bytes: int) -> None:
        """So much less waits."""
        with self._lock:
            self.delivered_bytes += count_bytes

    def remove_first(self) -> bool:
        """Remove the oldest file, which was delivered; False when it is the one that is written to."""
        with self._lock:
            if len(self.segments) < 2:
                return False
            first = self.segments.popleft()
        self._files.remove(first.path)
        with self._syncing:
            first.close()
        return True

    def sync(self) -> None:
        """Force to disk what was written. Logging goes on meanwhile."""
        with self._syncing:
            with self._lock:
                last = self._last
                if not self._is_dirty or last is None:
                    return
                self._is_dirty = False
            try:
                last.file.fsync()
            except OSError as error:  # what it holds may be lost with the power, and this file is not believed any more
                complain(f"what was logged to run {self.run_id} may not survive a power loss: {error.strerror}")
                with self._lock:
                    self._limit = -1

    def close(self, *, remove: bool) -> None:
        """Let go of the files; those of a spool that was delivered are removed, others wait for whoever sends them."""
        if not remove:
            self.sync()
        with self._syncing, self._lock:
            for segment in self.segments:
                if remove:
                    self._files.remove(segment.path)
                segment.close()
            self.segments.clear()
            self._last, self._number = None, -1

    def forget(self) -> None:
        """In a forked child: its parent's files are none of its business; the lock stays with the parent."""
        for segment in self.segments:
            segment.close()
        self.segments.clear()
        self._last, self._number = None, -1
        self._lock, self._syncing = threading.Lock(), threading.Lock()

    def _next(self, size: int) -> Segment | None:
        """The file to write to, a new one when the last is full."""
        last = self._last
        if last is not None and last.size == HEADER_BYTES and self._limit >= 0:
            return last  # an empty one takes a frame of any size
        try:
            self._roll()
        except OSError:
            return last if self._limit >= 0 else None
        return self._last

    def _roll(self) -> None:
        if self._number < 0:
            return
        name = f"{self.run_id}.{self.token}.{self._number:06}{SUFFIX}"
        path, temporary = self.folder / name, self.folder / f"{name}.new"
        # Locked before it has its name, so that nobody takes it for one whose process is gone.
        file = self._files.append(temporary, exclusive=True, mode=0o600)
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(first_bytes(is_owner=self._is_owner, before=self.written, dropped=self.dropped))
        if self._last is not None:
            self._last.file.fsync()
        self._files.rename(temporary, path)
        self._files.sync_folder(self.folder)
        self._last = Segment(path, file, self._files.append(path, in_place=True), HEADER_BYTES)
        self._limit = self._segment_bytes
        self.segments.append(self._last)
        self._number += 1

    def _mend(self, segment: Segment) -> None:
        """Cut off half a frame, so that what comes later is found."""
        try:
            segment.file.truncate(segment.size)
        except OSError:
            self._limit = -1  # then in another file

    def _drop(self, points: int, why: str) -> None:
        self.dropped += points
        if self._last is not None:
            try:
                self._last.mark_dropped(self.dropped)
            except OSError:
                pass  # the count stays in memory, and is told
        if self.dropped >= self._told:  # again whenever it has doubled
            self._told = 2 * self.dropped + 1
            complain(f"run {self.run_id}: {why}; {self.dropped:,} points are lost so far")


class _Syncing:
    """One thread for all spools of the process, asleep while there are none."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        self._spools: WeakSet[Spool] = WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, spool: Spool) -> None:
        with self._lock:
            self._spools.add(spool)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="perennial-spool-sync", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(SYNC_EVERY_S)
            with self._lock:
                spools = list(self._spools)
                if not spools:
                    self._thread = None
                    return
            for spool in spools:
                spool.sync()
            del spools  # so that they can end


_syncing = _Syncing()
os.register_at_fork(after_in_child=_syncing.start_anew)


def complain(text: str) -> None:
    """Tell the person who runs this; never an error."""
    try:
        sys.stderr.write(f"perennial: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return  # nobody listens
