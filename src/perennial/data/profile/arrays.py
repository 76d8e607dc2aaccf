"""Arrays inside records: what a profile keeps travels as JSON, its arrays as base64 of their bytes, compressed."""

from __future__ import annotations

import base64
import zlib
from typing import Any, TypeVar, cast, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.store.decoding import ready

__all__ = ["Floats", "Hashes", "Ints", "Octets", "decode", "encode"]

LARGEST = 64 << 20  # bytes of one array; what claims more is no profile of ours
Record = TypeVar("Record", bound=msgspec.Struct)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Octets = NDArray[np.uint8]


def encode(record: msgspec.Struct) -> bytes:
    """The record as JSON."""
    return msgspec.json.encode(record, enc_hook=_encoded)


def decode(data: bytes, kind: type[Record]) -> Record:
    """Read back what `encode` gave.

    Raises:
        DataError: These bytes are no such record.
    """
    try:
        return msgspec.json.decode(data, type=ready(kind), dec_hook=_decoded)
    except (msgspec.DecodeError, ValueError, zlib.error) as error:
        raise DataError(f"this is no stored {kind.__name__.lower()}: {error}", remedy="make it again") from error


def _encoded(value: object) -> object:
    if isinstance(value, np.ndarray):
        return base64.b64encode(zlib.compress(cast(NDArray[Any], value).tobytes(), 1)).decode()
    raise NotImplementedError


def _decoded(kind: Any, value: Any) -> object:
    _, described = get_args(kind)
    (scalar,) = get_args(described)
    return np.frombuffer(
        zlib.decompressobj().decompress(base64.b64decode(value, validate=True), LARGEST), dtype=scalar
    ).copy()
