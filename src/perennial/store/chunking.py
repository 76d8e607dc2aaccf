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
PIECE_BYTES = 1 << 20  # of a block at once, so that what is left of the one before is copied cheaply
_STEP = 128 << 10  # positions at once: they stay in the processor's cache


def split(blocks: Iterable[bytes]) -> Iterator[memoryview]:
    """The chunks of a stream that comes in blocks, in order; together they are the stream."""
    search = _Search()
    rest, searched = memoryview(b""), 0
    pieces = (
        block[at : at + PIECE_BYTES] for block in map(memoryview, blocks) for at in range(0, len(block), PIECE_BYTES)
    )
    for piece in pieces:
        data = memoryview(b"".join((rest, piece))) if rest else piece
        start = 0
        while (end := search(data, start, searched)) is not None:
            yield data[start:end]
            start, searched = end, 0
        # What is open is searched no further than here; the next block goes on from there.
        rest, searched = data[start:], max(0, len(data) - start - WINDOW + 1)
    if rest:
        yield rest


class _Search:
    """Finds where a chunk ends. Its arrays are written in place: three times as fast as new ones."""

    def __init__(self) -> None:
        self._quick = np.empty(_STEP, np.uint8)
        self._passed = np.empty(_STEP, np.bool_)

    def __call__(self, data: memoryview, start: int, searched: int) -> int | None:
        """The end of the chunk from `start` on, whose first `searched` positions allow none; None if it is open."""
        at = start + max(MIN_BYTES - WINDOW, searched)
        last = min(start + MAX_BYTES, len(data)) - WINDOW
        while at <= last:
            count = min(_STEP, last + 1 - at)
            found = self._first(data[at : at + count + WINDOW - 1], count)
            if found is not None:
                return at + found + WINDOW
            at += count
        return start + MAX_BYTES if len(data) - start >= MAX_BYTES else None

    def _first(self, data: memoryview, count: int) -> int | None:
        """The first of `count` positions behind whose window the content allows a cut."""
        values = np.frombuffer(data, np.uint8)
        quick, passed = self._quick[:count], self._passed[:count]
        np.multiply(values[:count], _QUICK[0], out=quick)
        np.add(quick, values[3 : count + 3], out=quick)
        np.multiply(quick, _QUICK[1], out=quick)
        np.add(quick, values[6 : count + 6], out=quick)
        np.equal(quick, _QUICK_SUM, out=passed)
        maybe = np.flatnonzero(passed)
        windows = np.ndarray((count, WINDOW), np.uint8, data, strides=(1, 1))[maybe].view("<u8")
        thorough = windows[:, 0] * _FACTOR
        for column in range(1, WINDOW // 8):
            thorough ^= windows[:, column]
            thorough *= _FACTOR
        passing = maybe[thorough < _LIMIT]
        return int(passing[0]) if len(passing) else None
