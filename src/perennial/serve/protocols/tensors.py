"""Tensors of the Open Inference Protocol: datatypes, raw bytes and JSON data, each checked against its shape.

Everything that lies (a shape that needs other bytes, a text longer than what is left, data that are ragged) is
`Invalid` with a pointer; nothing is allocated before the claim was compared with what is there. Numbers are never
looped over in Python, but for a handful of them: up to `FEW` values a list is quicker than an array.

Raw bytes are little endian, row-major: BOOL one byte, 0 or 1; BYTES four bytes of length and as many bytes, each.
FP16 and BF16 have no JSON form.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import numpy as np

from perennial.errors import Invalid
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DATATYPES",
    "FEW",
    "MAX_DIMS",
    "MAX_LENGTH",
    "Datatype",
    "Flat",
    "from_json",
    "from_raw",
    "size_of",
    "to_raw",
]

Flat: TypeAlias = "list[Any] | NDArray[Any]"
"""Elements in row-major order: numbers as an array or, where they are few, as a list; BYTES as a list."""

FEW = 16  # values; measured: an array pays from about twenty on
MAX_DIMS = 16  # no model of ours has more than four; numpy ends at 64
MAX_LENGTH = 2**31 - 1  # of one dimension
_LENGTH = struct.Struct("<I")


class Datatype(msgspec.Struct, frozen=True, kw_only=True):
    """One datatype of the protocol.

    Attributes:
        name: As on the wire.
        size_bytes: Of one element; 0 for BYTES, whose elements have lengths of their own.
        dtype: Of the array that raw bytes are read as; None for BYTES.
        letter: The same for `struct`.
        json: What one element in JSON is checked as; None where there is no such form.
    """

    name: str
    size_bytes: int
    dtype: Any = None
    letter: str = ""
    json: Any = None


def _integer(name: str, low: int, high: int, dtype: str, letter: str) -> Datatype:
    # A bound beyond 64 bits with a sign cannot be told to the checker: `_check_uint64` does the rest.
    meta = msgspec.Meta(ge=low, le=high) if high < 2**63 else msgspec.Meta(ge=low)
    return Datatype(
        name=name, size_bytes=int(dtype[2:]), dtype=np.dtype(dtype), letter=letter, json=Annotated[int, meta]
    )


DATATYPES: dict[str, Datatype] = {
    kind.name: kind
    for kind in (
        Datatype(name="BOOL", size_bytes=1, dtype=np.dtype("u1"), letter="B", json=bool),
        _integer("UINT8", 0, 2**8 - 1, "<u1", "B"),
        _integer("UINT16", 0, 2**16 - 1, "<u2", "H"),
        _integer("UINT32", 0, 2**32 - 1, "<u4", "I"),
        _integer("UINT64", 0, 2**64 - 1, "<u8", "Q"),
        _integer("INT8", -(2**7), 2**7 - 1, "<i1", "b"),
        _integer("INT16", -(2**15), 2**15 - 1, "<i2", "h"),
        _integer("INT32", -(2**31), 2**31 - 1, "<i4", "i"),
        _integer("INT64", -(2**63), 2**63 - 1, "<i8", "q"),
        Datatype(name="FP16", size_bytes=2, dtype=np.dtype("<f2"), letter="e"),
        Datatype(name="BF16", size_bytes=2, dtype=np.dtype("<u2"), letter=""),
        Datatype(name="FP32", size_bytes=4, dtype=np.dtype("<f4"), letter="f", json=float),
        Datatype(name="FP64", size_bytes=8, dtype=np.dtype("<f8"), letter="d", json=float),
        Datatype(name="BYTES", size_bytes=0, json=str),
    )
}


def size_of(shape: Sequence[int], where: str) -> int:
    """How many elements a shape claims.

    Raises:
        Invalid: It has no dimension or too many, or one that is below 1 or too large.
    """
    if not 1 <= len(shape) <= MAX_DIMS:
        raise Invalid(
            f"a shape has 1 to {MAX_DIMS} dimensions, this one {len(shape)}",
            where=f"{where}.shape",
            remedy="send [rows] or [rows, columns]",
        )
    for at, length in enumerate(shape):
        if not 1 <= length <= MAX_LENGTH:
            raise Invalid(
                f"a dimension is 1 to {MAX_LENGTH}, this one {length}",
                where=f"{where}.shape[{at}]",
                remedy="send at least one row" if length == 0 else "send the shape that the data have",
            )
    return math.prod(shape)


def from_raw(datatype: Datatype, raw: bytes | memoryview, shape: Sequence[int], where: str) -> Flat:
    """The elements of a raw tensor; BYTES as a list of bytes objects.

    Raises:
        Invalid: Shape times element size is not the number of bytes; a length in BYTES points beyond the end; a BOOL is
            neither 0 nor 1.
    """
    count = size_of(shape, where)
    if datatype.dtype is None:
        return _texts(raw, count, shape, where)
    if count * datatype.size_bytes != len(raw):
        raise Invalid(
            f"shape {list(shape)} of {datatype.name} needs {count * datatype.size_bytes} bytes, there are {len(raw)}",
            where=f"{where}.shape",
            remedy="send the shape and datatype that the data have",
        )
    if count <= FEW and datatype.letter:
        few = struct.unpack(f"<{count}{datatype.letter}", raw)
        if datatype.name != "BOOL":
            return list(few)
        if max(few) > 1:
            raise _no_bool(next(at for at, value in enumerate(few) if value > 1), where)
        return list(map(bool, few))
    array: NDArray[Any] = np.frombuffer(raw, datatype.dtype)
    if datatype.name == "BF16":  # the upper half of a float32
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if datatype.name == "BOOL":
        if array.max() > 1:
            raise _no_bool(int(np.argmax(array > 1)), where)
        return array.view(np.bool_)
    return array


def to_raw(datatype: Datatype, values: Flat) -> bytes:
    """The raw bytes of a tensor; None is NaN, or an empty text."""
    if datatype.dtype is None:
        pieces: list[bytes] = []
        for value in values:
            text: bytes = value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
            pieces += (_LENGTH.pack(len(text)), text)
        return b"".join(pieces)
    if datatype.name == "BF16":  # rounded to the nearest, ties to even; NaN stays NaN
        bits = np.asarray(values, np.float32).view(np.uint32)
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.where(np.isnan(bits.view(np.float32)), np.uint32(0x7FC0), rounded).astype("<u2").tobytes()
    return np.asarray(values, datatype.dtype).tobytes()


def from_json(datatype: Datatype, data: list[Any], shape: Sequence[int], where: str) -> Flat:
    """The elements of JSON data, flat or nested as the shape says; None is missing.

    Elements of the outermost list are checked already, or lists.

    Raises:
        Invalid: It does not hold the shape's number of elements, is ragged, or an element is of another datatype.
    """
    count = size_of(shape, where)
    if datatype.json is None:
        raise Invalid(
            f"{datatype.name} has no form in JSON", where=f"{where}.datatype", remedy="send it as binary data, or FP32"
        )
    if data and isinstance(data[0], list):
        data = _flattened(datatype, data, shape, where)
    elif len(data) != count:
        raise Invalid(
            f"shape {list(shape)} needs {count} elements, there are {len(data)}",
            where=f"{where}.data",
            remedy="send the shape that the data have",
        )
    elif list in map(type, data):
        raise _ragged(shape, where)
    if datatype.name == "UINT64":
        _check_uint64(data, where)
    if count <= FEW or datatype.dtype is None or datatype.name == "BOOL":
        return data
    if datatype.json is not float:
        # Integers with a gap stay a list: an array of them would need floats, which are not exact.
        return data if None in data else np.array(data, datatype.dtype)
    return np.array(data, np.float64)  # None becomes NaN


@lru_cache(maxsize=len(DATATYPES) * MAX_DIMS)
def _nested(name: str, depth: int) -> Any:
    """The type of data nested this deep. In a struct, as the checker keeps what it prepared for a class alone."""
    kind: Any = DATATYPES[name].json | None
    for _ in range(depth):
        kind = list[kind]
    return ready(msgspec.defstruct("Nested", [("data", kind)]))


def _flattened(datatype: Datatype, data: list[Any], shape: Sequence[int], where: str) -> list[Any]:
    try:
        level: list[Any] = msgspec.convert({"data": data}, _nested(datatype.name, len(shape))).data
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.data")
        raise Invalid(
            f"the data are not {datatype.name} of shape {list(shape)}: {reason[0].lower()}{reason[1:]}",
            where=f"{where}.data{path.rstrip('`')}",
            remedy="send the shape and datatype that the data have",
        ) from None
    if len(level) != shape[0]:
        raise _ragged(shape, where)
    for length in shape[1:]:
        if set(map(len, level)) != {length}:
            raise _ragged(shape, where)
        level = list(chain.from_iterable(level))
    return level


def _texts(raw: bytes | memoryview, count: int, shape: Sequence[int], where: str) -> list[bytes]:
    if count * 4 > len(raw):
        raise Invalid(
            f"shape {list(shape)} of BYTES needs at least {count * 4} bytes, there are {len(raw)}",
            where=f"{where}.shape",
            remedy="send the shape that the data have",
        )
    body, end, at = bytes(raw), len(raw), 0
    found: list[bytes] = []
    for element in range(count):
        start = at + 4
        at = start + int.from_bytes(body[at:start], "little") if start <= end else end + 1
        if at > end:
            raise Invalid(
                f"element {element} of BYTES claims more bytes than there are",
                where=f"{where}.data[{element}]",
                remedy="send four bytes of length, little endian, and as many bytes, for each element",
            )
        found.append(body[start:at])
    if at != end:
        raise Invalid(
            f"{end - at} bytes are left after the {count} elements of BYTES",
            where=f"{where}.shape",
            remedy="send the shape that the data have",
        )
    return found


def _check_uint64(data: list[Any], where: str) -> None:
    for at, value in enumerate(data):
        if value is not None and value > 2**64 - 1:
            raise Invalid("a UINT64 has 64 bits", where=f"{where}.data[{at}]", remedy="send a smaller number, or FP64")


def _no_bool(at: int, where: str) -> Invalid:
    return Invalid("a BOOL is 0 or 1", where=f"{where}.data[{at}]", remedy="send one byte for each, 0 or 1")


def _ragged(shape: Sequence[int], where: str) -> Invalid:
    return Invalid(
        f"the data are ragged, or of another shape than {list(shape)}",
        where=f"{where}.data",
        remedy="send them flat, or nested as the shape says",
    )
