"""The child's side of `child.py`, for programs in Python."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

__all__ = ["received", "send"]

_LENGTH = struct.Struct("<i")


def received() -> bytes | None:
    """The next message; None at the end of the input: whoever started us has ended."""
    head = _exactly(_LENGTH.size)
    return None if head is None else _exactly(_LENGTH.unpack(head)[0])


def send(descriptor: int, answer: Callable[[], bytes]) -> None:
    """Send what `answer` gives, or what it raises."""
    try:
        body = b"\0" + answer()
    except Exception as error:  # noqa: BLE001  # the boundary: whatever the model raises is told to who asked
        body = b"\1" + f"{type(error).__name__}: {error}".encode()
    rest = memoryview(_LENGTH.pack(len(body)) + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _exactly(size: int) -> bytes | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = os.readv(0, [view])
        if not count:
            return None
        view = view[count:]
    return bytes(data)
