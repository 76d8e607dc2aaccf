"""Thrift's compact protocol, as far as Parquet's footers and page headers need it: structs as mappings by field.

Source: Apache Thrift, "Thrift compact protocol encoding".
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["read_struct"]

DEPTH = 16  # of structs and lists in one another; Parquet has six


def read_struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Fields by number (numbers, bytes, lists, structs; a double is None), and where the struct ends.

    Raises:
        struct.error: No such struct. IndexError: It is cut off.
    """
    found: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        kind, delta = head & 15, head >> 4
        if delta:
            field += delta
        else:
            field, at = _number(data, at)
        if kind in (1, 2):  # true and false stand in the head
            found[field] = kind == 1
            continue
        found[field], at = _value(data, at, kind, depth)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > DEPTH:
        raise struct.error("it is nested too deep")
    match kind:
        case 3:
            return data[at], at + 1
        case 4 | 5 | 6:
            return _number(data, at)
        case 7:
            return None, at + 8
        case 8:
            size, at = _unsigned(data, at)
            if size > len(data) - at:
                raise struct.error("a text is longer than the file")
            return data[at : at + size], at + size
        case 9 | 10:
            return _list(data, at, depth)
        case 12:
            return read_struct(data, at, depth + 1)
        case _:
            raise struct.error(f"there is a field of the type {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head = data[at]
    size, at = (head >> 4, at + 1) if head >> 4 != 15 else _unsigned(data, at + 1)
    kind = head & 15
    if size > len(data) - at:
        raise struct.error("a list is longer than the file")
    if kind in (1, 2):
        return [one == 1 for one in data[at : at + size]], at + size
    found: list[Any] = []
    for _ in range(size):
        value, at = _value(data, at, kind, depth + 1)
        found.append(value)
    return found, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(data, at)
    return value >> 1 ^ -(value & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise struct.error("a number is too long")
