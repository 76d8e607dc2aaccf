"""Cut a stream of bytes where its content says so, so that an insertion moves the cuts with it.

A cut lies behind any 32 bytes that pass two tests: a quick one on three of them, in arithmetic modulo 256, which one
window in 256 passes and zeros never do, and a thorough one on all. (Were zeros to pass, or eight bytes enough, then
arrays of small integers would be full of cuts, and these would not find back after an insertion.) A chunk has at least
MIN_BYTES and at most MAX_BYTES. Equal content gives equal chunks wherever it lies. Changing a constant here costs
storage (old and new versions share nothing), never correctness. Imported only when a large object is put.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_BYTES", "MIN_BYTES", "split"]

MIN_BYTES = 256 << 10
MAX_BYTES = 4 << 20
CUT_BITS = 18  # a cut each 256 KiB on average behind the minimum; rarer in text, whose bytes repeat
WINDOW = 32
_QUICK_BITS = 8
_QUICK = (np.uint8(0x9D), np.uint8(0x3B))
_QUICK_SUM = np.uint8(0xA7)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: spreads all bytes to the top
_LIMIT = np.uint64(1 << (64 - CUT_BITS + _QUICK_BITS))
_STEP = 256 << 10  # positions at once: they stay in the processor's cache


def split(blocks: Iterable[bytes]) -> Iterator[memoryview]:
    """The chunks of a stream that comes in blocks, in order; together they are the stream."""
    rest = b""
    for block in blocks:
        data = rest + block
        start = 0
        for end in _ends(data, last=False):
            yield memoryview(data)[start:end]
            start = end
        rest = data[start:]
    start = 0
    for end in _ends(rest, last=True):
        yield memoryview(rest)[start:end]
        start = end


def _ends(data: bytes, *, last: bool) -> Iterator[int]:
    """Where the chunks of `data` end. What is open at its end is left to the next call unless this is the last."""
    start = 0
    cuts = _cuts(data)
    while True:
        first = int(np.searchsorted(cuts, start + MIN_BYTES))
        end = int(cuts[first]) if first < len(cuts) else len(data)
        if end - start > MAX_BYTES:
            end = start + MAX_BYTES
        elif first >= len(cuts) and end - start < MAX_BYTES:
            if last and end > start:
                yield end
            return
        yield end
        start = end


def _cuts(data: bytes) -> NDArray[np.int64]:
    """Every position in `data` behind which the content allows a cut."""
    count = len(data) - WINDOW + 1
    if count <= 0:
        return np.empty(0, np.int64)
    values = np.frombuffer(data, np.uint8)
    windows: NDArray[np.uint64] = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    buffer = np.empty(min(_STEP, count), np.uint8)  # written in place: three times as fast as new arrays
    found: list[NDArray[np.int64]] = []
    for at in range(0, count, _STEP):
        end = min(at + _STEP, count)
        quick = buffer[: end - at]
        np.multiply(values[at:end], _QUICK[0], out=quick)
        np.add(quick, values[at + 3 : end + 3], out=quick)
        np.multiply(quick, _QUICK[1], out=quick)
        np.add(quick, values[at + 6 : end + 6], out=quick)
        maybe = np.flatnonzero(quick == _QUICK_SUM) + at
        thorough = np.zeros(len(maybe), np.uint64)
        for offset in range(0, WINDOW, 8):
            thorough = (thorough ^ windows[maybe + offset]) * _FACTOR
        found.append(maybe[thorough < _LIMIT] + WINDOW)
    return np.concatenate(found)
