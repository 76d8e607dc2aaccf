"""Columns as bytes for R, and R's answers from bytes. The other side is `server.R`.

A frame is the numbers of rows and columns, then each column: kind, name, length, values. Numbers are little-endian;
a text is its length in bytes and its UTF-8; missing is R's NA: a NaN of a certain pattern, the least int32, or the
length -1. Whole numbers go as doubles, so beyond 2**53 they are rounded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import DataError

__all__ = ["Reader", "column_bytes", "frame_bytes", "int_bytes", "raw_bytes", "text_bytes", "texts_bytes"]

DOUBLE, LOGICAL, FACTOR, TEXT, TIME, DATE = range(1, 7)
NA_REAL = 0x7FF00000000007A2  # R's own: told from a NaN by its low word, 1954
NA_INTEGER = -(2**31)
_INT = struct.Struct("<i")


def int_bytes(value: int) -> bytes:
    return _INT.pack(value)


def raw_bytes(data: bytes) -> bytes:
    return _INT.pack(len(data)) + data


def text_bytes(text: str) -> bytes:
    return raw_bytes(text.encode())


def texts_bytes(texts: Sequence[str | None]) -> bytes:
    """Texts as their lengths, then their bytes without anything between them."""
    encoded = [None if text is None else text.encode() for text in texts]
    if any(text is not None and b"\0" in text for text in encoded):
        raise DataError("R holds no text with a NUL character", remedy="remove it in the features")
    lengths = np.array([-1 if text is None else len(text) for text in encoded], dtype="<i4")
    return lengths.tobytes() + b"".join(text for text in encoded if text is not None)


def frame_bytes(frame: pl.DataFrame) -> bytes:
    """A whole frame."""
    return b"".join(
        [_INT.pack(frame.height), _INT.pack(frame.width), *(column_bytes(series) for series in frame.get_columns())]
    )


def column_bytes(series: pl.Series) -> bytes:
    """One column.

    Raises:
        DataError: It holds what R has no vector for.
    """
    kind, values = _values(series)
    return b"".join([_INT.pack(kind), text_bytes(series.name), _INT.pack(series.len()), values])


def _values(series: pl.Series) -> tuple[int, bytes]:
    dtype = series.dtype
    if dtype == pl.Categorical():  # its levels have no order of their own
        texts = series.cast(pl.String())
        series = texts.cast(pl.Enum(texts.drop_nulls().unique().sort()))
        dtype = series.dtype
    if isinstance(dtype, pl.Enum):
        levels: list[str] = dtype.categories.to_list()
        return FACTOR, _integers(series.to_physical().cast(pl.Int64()), 1) + _INT.pack(len(levels)) + texts_bytes(
            levels
        )
    if dtype == pl.String():
        return TEXT, texts_bytes(series.to_list())
    if dtype == pl.Boolean():
        return LOGICAL, _integers(series.cast(pl.Int64()), 0)
    if dtype.is_numeric():
        return DOUBLE, _doubles(series.cast(pl.Float64()))
    if isinstance(dtype, pl.Datetime):
        return TIME, _doubles(series.dt.epoch("us").cast(pl.Float64()) / 1e6)
    if dtype == pl.Date():
        return DATE, _doubles(series.to_physical().cast(pl.Float64()))
    raise DataError(
        f"column {series.name!r} holds {dtype}, for which R has no vector",
        remedy="spread it over columns of numbers or text",
    )


def _integers(series: pl.Series, first: int) -> bytes:
    if not series.null_count():  # a call of polars costs more than one row of values
        return (series.to_numpy() + first).astype("<i4").tobytes()
    return (series + first).fill_null(NA_INTEGER).to_numpy().astype("<i4").tobytes()


def _doubles(series: pl.Series) -> bytes:
    missing = series.null_count()
    values = (series.fill_null(0.0) if missing else series).to_numpy().astype("<f8")
    if missing:
        values.view("<u8")[series.is_null().to_numpy()] = NA_REAL
    return values.tobytes()


class Reader:
    """Reads what R wrote, front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def int(self) -> int:
        (value,) = _INT.unpack_from(self._data, self._at)
        self._at += 4
        return value

    def raw(self) -> bytes:
        size = self.int()
        self._at += size
        return self._data[self._at - size : self._at]

    def doubles(self, count: int) -> NDArray[np.float64]:
        self._at += 8 * count
        return np.frombuffer(self._data, dtype="<f8", count=count, offset=self._at - 8 * count).astype(np.float64)

    def texts(self) -> list[Any]:
        """Texts; None where R has NA."""
        count = self.int()
        lengths = np.frombuffer(self._data, dtype="<i4", count=count, offset=self._at)
        self._at += 4 * count
        ends = self._at + np.cumsum(np.maximum(lengths, 0))
        start = self._at
        found: list[Any] = []
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True):
            found.append(self._data[end - length : end].decode() if length >= 0 else None)
        self._at = int(ends[-1]) if count else start
        return found
