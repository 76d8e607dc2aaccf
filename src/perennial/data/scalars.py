"""Arrow values to and from their bytes, past pyarrow's own conversions.

`pa.scalar` and `Array.to_numpy` import pandas to see whether something is one of pandas' own: half a second for a zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["number_scalar", "to_numpy"]


def number_scalar(value: float, kind: pa.DataType) -> pa.Scalar:
    """A number of an Arrow floating or 64-bit integer type.

    >>> number_scalar(0.0, pa.float32())
    <pyarrow.FloatScalar: 0.0>
    """
    dtype = np.int64 if pa.types.is_int64(kind) else np.dtype(f"f{kind.bit_width // 8}")
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(np.array([value], dtype=dtype))])[0]


def to_numpy(array: pa.Array) -> np.ndarray[Any, Any]:
    """Booleans or 64-bit integers without nulls.

    >>> to_numpy(pa.array([True, False, True])[1:]).tolist()
    [False, True]
    """
    if not len(array):
        return np.empty(0, dtype=np.bool_ if pa.types.is_boolean(array.type) else np.int64)
    data = array.buffers()[1]
    if pa.types.is_boolean(array.type):
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
        return bits[array.offset : array.offset + len(array)].astype(np.bool_)
    return np.frombuffer(data, dtype=np.int64)[array.offset : array.offset + len(array)]
