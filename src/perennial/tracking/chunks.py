"""Points of one metric as compressed columns, and what pictures need to know of them without looking inside.

A chunk holds times, steps and values, sorted by time, step and value. Times and steps are kept as differences, all
three with their bytes grouped by significance, so that zlib at its fastest level takes a regular series to about the
size of its values.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from perennial.errors import Corrupt

__all__ = ["Chunk", "Columns", "columns_of", "decoded", "encoded", "merged"]

FORMAT = 1
LEVEL = 1  # of zlib: higher ones cost several times as much for a few percent

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Columns(NamedTuple):
    """Points as arrays of one length: microseconds, steps, values (NaN and the infinities are values)."""

    at: Ints
    step: Ints
    value: Floats

    def take(self, which: Any) -> Columns:
        """Those at these places: a slice, numbers or truths."""
        return Columns(self.at[which], self.step[which], self.value[which])


class Chunk(NamedTuple):
    """A row of the table of chunks, without its run and key, in the order of its columns."""

    digest: bytes
    size: int
    min_at: int
    max_at: int
    min_step: int
    max_step: int
    low: float | None
    low_step: int | None
    high: float | None
    high_step: int | None
    points: bytes


def columns_of(at: list[int], step: list[int], value: list[float]) -> Columns:
    """Arrays of these lists."""
    return Columns(np.array(at, np.int64), np.array(step, np.int64), np.array(value, np.float64))


def merged(pieces: list[Columns]) -> Columns:
    """All points of these pieces in order, each once."""
    at, step, value = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    order = np.lexsort((value, step, at))  # NaN is above all numbers
    at, step, value = at[order], step[order], value[order]
    if len(at) > 1:
        same = (at[1:] == at[:-1]) & (step[1:] == step[:-1])
        same &= (value[1:] == value[:-1]) | (np.isnan(value[1:]) & np.isnan(value[:-1]))
        if same.any():
            kept = np.concatenate(([True], ~same))
            at, step, value = at[kept], step[kept], value[kept]
    return Columns(at, step, value)


def encoded(points: Columns) -> Chunk:
    """A chunk of these points, which are sorted and not none."""
    count = len(points.at)
    raw = _grouped(np.diff(points.at, prepend=0)) + _grouped(np.diff(points.step, prepend=0)) + _grouped(points.value)
    digest = blake3(points.at.tobytes() + points.step.tobytes() + points.value.tobytes()).digest(length=16)
    numbers = ~np.isnan(points.value)
    low = high = low_step = high_step = None
    if numbers.any():
        value, step = points.value[numbers], points.step[numbers]
        lowest, highest = int(value.argmin()), int(value.argmax())
        low, low_step = float(value[lowest]), int(step[lowest])
        high, high_step = float(value[highest]), int(step[highest])
    return Chunk(
        digest,
        count,
        int(points.at[0]),
        int(points.at[-1]),
        int(points.step.min()),
        int(points.step.max()),
        low,
        low_step,
        high,
        high_step,
        bytes([FORMAT]) + zlib.compress(raw, LEVEL),
    )


def decoded(points: bytes, count: int) -> Columns:
    """The points of a chunk.

    Raises:
        Corrupt: These bytes are no chunk of so many points.
    """
    try:
        if points[0] != FORMAT:
            raise ValueError(f"format {points[0]}")
        stream = zlib.decompressobj()
        raw = stream.decompress(points[1:], 24 * count + 1)
        if not stream.eof:  # its checksum has not been seen
            raise ValueError("it is cut short")
        at, step, value = (_ungrouped(raw[8 * count * part : 8 * count * (part + 1)], count) for part in range(3))
        if len(raw) != 24 * count:
            raise ValueError(f"{len(raw)} bytes")
    except (ValueError, IndexError, zlib.error) as error:
        raise Corrupt(f"points of a metric cannot be read: {error}", remedy="perennial verify") from error
    return Columns(np.cumsum(at.view(np.int64)), np.cumsum(step.view(np.int64)), value.view(np.float64))


def _grouped(column: Ints | Floats) -> bytes:
    return np.ascontiguousarray(column.view(np.uint8).reshape(-1, 8).T).tobytes()


def _ungrouped(raw: bytes, count: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(8, count).T).reshape(-1)
