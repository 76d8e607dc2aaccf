"""The one clock. Real, or simulated and shared by all processes through eight mapped bytes.

A time is never taken from a request: whatever is stamped, is stamped by this clock. In a simulated workspace the
owner writes the moment into a small mapped file (`store.clockfile`) and every other process sees it at once, so that
years of history can be replayed in seconds by the code that also runs in production.
"""

from __future__ import annotations

import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from perennial.types import Micros

__all__ = ["Clock", "FixedClock", "MappedClock", "SystemClock", "iso", "parse_duration", "parse_time"]

_MOMENT = struct.Struct("<q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Clock(Protocol):
    """Tells the moment. Safe for concurrent use. `is_simulated` is fixed for the life of a workspace."""

    @property
    def is_simulated(self) -> bool: ...
    def now(self) -> Micros: ...


class SystemClock:
    """The machine's clock in UTC."""

    is_simulated: bool = False

    def now(self) -> Micros:
        return Micros(time.time_ns() // 1000)


class FixedClock:
    """A simulated clock within one process; `set` and `advance` move it, never backwards."""

    is_simulated: bool = True

    def __init__(self, now: Micros) -> None:
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> Micros:
        return self._now

    def set(self, now: Micros) -> None:
        with self._lock:
            self._now = max(self._now, now)

    def advance(self, seconds: float) -> None:
        self.set(Micros(self._now + round(seconds * 1e6)))


class MappedClock:
    """A simulated clock in shared memory. The buffer holds one little-endian int64, microseconds.

    An aligned eight-byte store is one write on the machines that Python runs on, so a reader never sees half a moment.
    """

    is_simulated: bool = True

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer

    def now(self) -> Micros:
        return Micros(_MOMENT.unpack_from(self._buffer)[0])

    def set(self, now: Micros) -> None:
        """Move to `now`; a moment in the past is ignored, so that a repeated request does no harm."""
        if now > self.now():
            _MOMENT.pack_into(self._buffer, 0, now)


def iso(moment: Micros) -> str:
    """ISO 8601 in UTC, to the second unless there is a fraction.

    >>> iso(Micros(0))
    '1970-01-01T00:00:00Z'
    """
    return (_EPOCH + timedelta(microseconds=moment)).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> Micros:
    """ISO 8601 to a moment; without a zone it is UTC.

    Raises:
        ValueError: Not a date or time.

    >>> parse_time("1970-01-02")
    86400000000
    """
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Micros((moment - _EPOCH) // timedelta(microseconds=1))


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "30d", "12h", "90s", "250ms".

    Raises:
        ValueError: Not a number followed by one of ms s m min h d w.

    >>> parse_duration("30d")
    2592000.0
    """
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text.strip()[len(digits) :]
    if unit not in _UNITS_S:
        raise ValueError(f"{text!r} is not a duration: write a number and one of {', '.join(_UNITS_S)}, as in '30d'")
    return float(digits) * _UNITS_S[unit]


_system: Clock = SystemClock()
