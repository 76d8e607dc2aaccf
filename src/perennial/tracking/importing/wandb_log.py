"""Read the log of a W&B run: blocks of 32 KiB with records in pieces, each record a protocol buffer message.

The file is that of LevelDB's log behind seven bytes of its own. Of a message only numbered fields are known here, which
is all that its encoding tells; what the numbers mean is `wandb_offline`'s business.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perennial.tracking.importing.found import Damaged

__all__ = ["Message", "Records", "messages"]

MAGIC = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
_PIECE = struct.Struct("<IHB")  # checksum, length, which piece of a record
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message:
    """The fields of one message by number, each with all its values: numbers as they are written, or bytes."""

    def __init__(self, raw: bytes) -> None:
        """
        Raises:
            Damaged: This is no message.
        """
        self._fields: dict[int, list[int | bytes]] = {}
        try:
            for number, value in _fields(raw):
                self._fields.setdefault(number, []).append(value)
        except IndexError as error:
            raise Damaged("a record of the log ends too early") from error

    def all(self, number: int) -> list[Message]:
        """Messages in this field."""
        return [Message(value) for value in self._fields.get(number, []) if isinstance(value, bytes)]

    def one(self, number: int) -> Message | None:
        """The message in this field; None without it."""
        found = self.all(number)
        return found[-1] if found else None

    def texts(self, number: int) -> list[str]:
        """Texts in this field.

        Raises:
            Damaged: One is no text.
        """
        try:
            return [value.decode() for value in self._fields.get(number, []) if isinstance(value, bytes)]
        except UnicodeDecodeError as error:
            raise Damaged("a text in the log is not Unicode") from error

    def text(self, number: int) -> str:
        """The text in this field; empty without it."""
        return (self.texts(number) or [""])[-1]

    def integer(self, number: int) -> int:
        """The signed number in this field; 0 without it."""
        found = [value for value in self._fields.get(number, []) if isinstance(value, int)]
        value = found[-1] if found else 0
        return value - 2**64 if value >= 2**63 else value

    def has(self, number: int) -> bool:
        return number in self._fields


class Records(NamedTuple):
    """The records of a log; `is_cut` when the last one is not whole, as after a killed training."""

    messages: list[Message]
    is_cut: bool


def messages(path: Path) -> Records:
    """All records of a log.

    Raises:
        Damaged: It is no log of W&B, or a record in its middle is not what was written.
        OSError: It cannot be read.
    """
    raw = path.read_bytes()
    if not raw.startswith(MAGIC):
        raise Damaged("this is no log of W&B, or one of a format that is not known here")
    found: list[Message] = []
    parts: list[bytes] = []
    at = len(MAGIC)
    while at < len(raw):
        room = BLOCK - at % BLOCK
        if room < _PIECE.size:  # the rest of a block is filled with zeros
            at += room
            continue
        if at + _PIECE.size > len(raw):
            return Records(found, True)
        checksum, length, kind = _PIECE.unpack_from(raw, at)
        end = at + _PIECE.size + length
        if end > len(raw):
            return Records(found, True)
        data = raw[at + _PIECE.size : end]
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
            if not any(raw[at:]):
                return Records(found, True)  # space that was reserved, and never written
            raise Damaged(f"the log is damaged at byte {at}")
        if (kind in (_FULL, _FIRST)) == bool(parts):
            raise Damaged(f"the log is damaged at byte {at}: a piece of a record is missing")
        parts.append(data)
        at = end
        if kind in (_FULL, _LAST):
            found.append(Message(b"".join(parts)))
            parts = []
    return Records(found, bool(parts))


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(raw, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise Damaged(f"a record of the log holds a field of kind {kind}")
        if at + size > len(raw):
            raise Damaged("a record of the log ends too early")
        yield number, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
        if shift > 63:
            raise Damaged("a number in the log is too long")
