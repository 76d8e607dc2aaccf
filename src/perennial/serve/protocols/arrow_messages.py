"""What an Arrow stream will become, told from its messages before any buffer is unpacked.

A compressed buffer says in eight bytes how large it will be, and the reader believes it; a batch says how many rows it
has, and a column of nulls or of runs needs no bytes for them. So both are read here first, from the messages' own
headers (FlatBuffers), and a stream that would grow beyond the limits is refused.

Source: the Arrow columnar format, "Serialization and Interprocess Communication"; FlatBuffers' binary format.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc as ipc

from perennial.errors import Invalid, TooLarge

__all__ = ["check_stream"]

MESSAGES = 20_000  # a batch of one row each, and dictionaries
_DICTIONARY, _BATCH = 2, 3  # MessageHeader
_REMEDY = "send one Arrow IPC stream (pyarrow.ipc.new_stream)"


class _Table(NamedTuple):
    """A FlatBuffers table in `data`, at `at`."""

    data: bytes
    at: int

    def place(self, field: int) -> int:
        """Where a field is; 0 when it is absent."""
        (back,) = struct.unpack_from("<i", self.data, self.at)
        vtable = self.at - back
        (size,) = struct.unpack_from("<H", self.data, vtable)
        if 4 + 2 * field >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self.data, vtable + 4 + 2 * field)
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return struct.unpack_from(form, self.data, place)[0] if place else 0

    def table(self, field: int) -> _Table | None:
        place = self.place(field)
        return _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0]) if place else None

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two int64."""
        place = self.place(field)
        if not place:
            return []
        start = place + struct.unpack_from("<I", self.data, place)[0]
        (count,) = struct.unpack_from("<I", self.data, start)
        if count * 16 > len(self.data):
            raise struct.error("a vector is longer than its message")
        flat = struct.unpack_from(f"<{2 * count}q", self.data, start + 4)
        return list(zip(flat[::2], flat[1::2], strict=True))


def check_stream(body: bytes, *, max_rows: int, max_bytes: int) -> None:
    """Refuse a stream that is none, has too many rows, or would unpack to more than `max_bytes`.

    Raises:
        Invalid, TooLarge: Says which.
    """
    rows = size = 0
    try:
        messages = ipc.MessageReader.open_stream(pa.py_buffer(body))
        for count, message in enumerate(messages):
            if count > MESSAGES:
                raise TooLarge(f"the stream has over {MESSAGES} messages", remedy="send fewer, larger batches")
            added, unpacked = _weigh(message)
            rows += added
            size += unpacked
            if rows > max_rows:
                raise Invalid(f"a request holds 1 to {max_rows} rows, this one more", where="rows", remedy="split it")
            if size > max_bytes:
                raise TooLarge(f"the stream unpacks to over {max_bytes} bytes", remedy="split the request")
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, struct.error) as error:
        raise Invalid(f"this is no Arrow stream: {_first_line(error)}", remedy=_REMEDY) from None


def _weigh(message: Any) -> tuple[int, int]:
    """Rows of a message's batch, and bytes of its buffers when unpacked. Dictionaries count no rows."""
    header: bytes = message.metadata.to_pybytes()
    root = _Table(header, struct.unpack_from("<I", header, 0)[0])
    kind, held = root.number(1, "<B"), root.table(2)
    if kind not in (_DICTIONARY, _BATCH) or held is None:
        return 0, 0
    batch = held.table(1) if kind == _DICTIONARY else held
    if batch is None:
        raise struct.error("a dictionary without values")
    length = batch.number(0, "<q")
    body = message.body
    here: int = 0 if body is None else body.size
    if length < 0:
        raise struct.error("a negative number of rows")
    packed = batch.table(3) is not None
    size = 0
    for offset, extent in batch.pairs(2):
        if offset < 0 or extent < 0 or offset + extent > here:
            raise struct.error("a buffer lies outside of its message")
        size += _unpacked(body, offset, extent) if packed and extent else extent
    return (length if kind == _BATCH else 0), size


def _unpacked(body: Any, offset: int, extent: int) -> int:
    if extent < 8:
        raise struct.error("a compressed buffer without its size")
    (size,) = struct.unpack("<q", body[offset : offset + 8].to_pybytes())
    if size < -1:
        raise struct.error("a buffer of negative size")
    return extent if size == -1 else size  # -1: left as it is


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
