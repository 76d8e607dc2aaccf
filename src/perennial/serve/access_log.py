"""The access log: one line of JSON for a share of the requests, and for each that is refused or fails.

Each front writes a file of its own (`serving/access/front-0.jsonl`); full ones are kept as `front-0.1.jsonl` (the
newest) and so on, and the oldest is deleted. Lines are written behind the answers, every half second: a process that is
killed loses them. What was answered is in the segments, whatever becomes of this log. No line holds an input.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import msgspec

from perennial.clock import Clock, iso
from perennial.serve.watching import Seen, version_of
from perennial.store.files import AppendFile, Files

__all__ = ["FOLDER", "AccessLog"]

FOLDER = "access"  # beside the segments
MAX_BYTES = 16 * 1024 * 1024  # of one file
KEPT = 4  # full files beside the one that is written
MAX_LINES = 20_000  # that wait to be written; what comes beyond is counted and left out
ERRORS = 400  # statuses from here on are always written

log = logging.getLogger("perennial.serve")
_encode = msgspec.json.Encoder().encode


class AccessLog:
    """One front's. `saw` belongs to the event loop's thread, `flush` and `close` to one other."""

    def __init__(
        self, folder: Path, files: Files, clock: Clock, *, name: str, share: float, max_bytes: int = MAX_BYTES
    ) -> None:
        self._folder = folder
        self._files = files
        self._clock = clock
        self._name = name
        self._share = share
        self._max_bytes = max_bytes
        self._lines: list[bytes] = []
        self._left_out = 0
        self._file: AppendFile | None = None
        self._size = 0
        self._has_failed = False

    def saw(self, seen: Seen) -> None:
        """Note this request, if it is one of those that are written."""
        if seen.status < ERRORS and random.random() >= self._share:
            return
        if len(self._lines) >= MAX_LINES:
            self._left_out += 1
            return
        told: dict[str, Any] = {
            "at": iso(self._clock.now()), "request_id": seen.request_id or None, "endpoint": seen.endpoint or None,
            "protocol": seen.protocol, "version": version_of(seen), "status": seen.status, "rows": seen.rows,
            "ms": _ms(seen.started, seen.ended), "decode_ms": _ms(seen.started, seen.decoded),
            "model_ms": _ms(seen.decoded, seen.answered), "capture_ms": _ms(seen.answered, seen.written),
        }  # fmt: skip
        self._lines.append(_encode(told))

    def flush(self) -> None:
        """Write what waits. A disk that does not take it costs lines, never answers."""
        lines, self._lines = self._lines, []
        left_out, self._left_out = self._left_out, 0
        if left_out:
            lines.append(_encode({"at": iso(self._clock.now()), "left_out": left_out}))
        if not lines:
            return
        data = b"\n".join(lines) + b"\n"
        try:
            if self._file is None:
                self._open()
            elif self._size and self._size + len(data) > self._max_bytes:
                self._rotate()
            assert self._file is not None
            self._file.write(data)
        except OSError as error:
            if not self._has_failed:
                log.error("the access log could not be written: %s", error)
            self._has_failed = True
        else:
            self._has_failed = False
            self._size += len(data)

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()

    def _path(self, number: int) -> Path:
        return self._folder / (f"{self._name}.{number}.jsonl" if number else f"{self._name}.jsonl")

    def _open(self) -> None:
        self._files.mkdirs(self._folder)
        self._file = self._files.append(self._path(0), mode=0o600)
        self._size = self._path(0).stat().st_size

    def _rotate(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None
        for number in range(KEPT - 1, -1, -1):  # onto the oldest, which goes
            if self._path(number).exists():
                self._files.rename(self._path(number), self._path(number + 1))
        self._open()


def _ms(start: float, end: float) -> float | None:
    return round((end - start) * 1000, 3) if start and end else None
