"""What a Parquet file will become, told from its footer and the headers of its pages before any page is unpacked.

A footer may lie about sizes, but a reader makes room for what each page header says; so the headers are walked, and a
file is refused that would unpack to more than the limit. Refused as well: columns of repeated values (a few bytes can
stand for any number of them), encryption, and the one encoding in which each value repeats the one before it.

Source: the Parquet format, "parquet.thrift".
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perennial.errors import Invalid, TooLarge
from perennial.serve.protocols.thrift import read_struct

__all__ = ["read_rows"]

FOOTER_BYTES = 1 << 20
COLUMNS = 10_000
PAGES = 100_000
_DELTA_BYTE_ARRAY = 7
_REMEDY = "write it with pandas.DataFrame.to_parquet, or send JSON"
_BYTE_ARRAY, _REPEATED = 6, 2  # Type, FieldRepetitionType


def read_rows(body: bytes, wanted: Collection[str], *, max_rows: int, max_bytes: int) -> pa.Table:
    """The columns of a file that are wanted; texts stay dictionaries, which the caller weighs before it decodes them.

    Raises:
        Invalid, TooLarge: No Parquet file, too many rows, or too large when unpacked.
    """
    if len(body) < 12 or body[:4] != b"PAR1" or body[-4:] != b"PAR1":
        raise Invalid("this is no Parquet file", remedy=_REMEDY)
    (footer,) = struct.unpack("<I", body[-8:-4])
    if footer > FOOTER_BYTES:
        raise TooLarge(f"the footer of the Parquet file has over {FOOTER_BYTES} bytes", remedy="send fewer columns")
    try:
        columns = _columns(_footer(body, footer), wanted, max_rows)
        _check_pages(body, columns, max_bytes)
        names = list(dict.fromkeys(column.name for column in columns))
        texts = list(dict.fromkeys(column.name for column in columns if column.is_text))
        file = pq.ParquetFile(pa.BufferReader(body), read_dictionary=texts, thrift_container_size_limit=COLUMNS * 4)
        table = file.read(columns=names, use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, struct.error, LookupError, UnicodeDecodeError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Invalid(f"this Parquet file cannot be read: {told}", remedy=_REMEDY) from None
    return table.replace_schema_metadata(None)


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """A column of a group of rows: where its pages are."""

    name: str
    is_text: bool
    start: int
    end: int


def _footer(body: bytes, size: int) -> dict[int, Any]:
    """The file's own description. It is read here, since the library's own look at a damaged one can end the process.

    Raises:
        struct.error, IndexError: It is damaged.
    """
    start = len(body) - 8 - size
    if start < 4:
        raise struct.error("the footer is longer than the file")
    found, end = read_struct(body, start)
    if end > len(body) - 8:
        raise struct.error("the footer is cut off")
    return found


def _columns(footer: dict[int, Any], wanted: Collection[str], max_rows: int) -> list[_Chunk]:
    """The chunks of the wanted columns, in all groups of rows."""
    groups = _many(footer, 4)
    told = [_number(group, 3) for group in groups]
    rows = sum(told)
    if min(told, default=0) < 0 or not 1 <= rows <= max_rows or _number(footer, 3) != rows:
        raise Invalid(f"a request holds 1 to {max_rows} rows, this one {rows}", where="rows", remedy="split it")
    plain = _plain_columns(_many(footer, 2))
    found: list[_Chunk] = []
    for group in groups:
        for chunk in _many(group, 1):
            held = chunk.get(3)
            path = _many(held, 3, bytes)
            name = path[0].decode()
            if name not in wanted:
                continue
            if len(path) > 1 or path[0] not in plain:
                raise Invalid(
                    f"column {name!r} holds lists or structs, which are not read from Parquet here",
                    where=f"parquet.{name}",
                    remedy="send such a column as JSON, or as an Arrow stream to /predict",
                )
            if 1 in chunk:
                raise Invalid(f"column {name!r} is in another file", where=f"parquet.{name}", remedy=_REMEDY)
            start = _number(held, 9)
            first = _number(held, 11, 0)
            start = first if 0 < first < start else start
            end = start + _number(held, 7)
            found.append(_Chunk(name=name, is_text=_number(held, 1) == _BYTE_ARRAY, start=start, end=end))
    if not found:
        raise Invalid("no column of the file is one of the model's", remedy=f"send {', '.join(wanted)}")
    return found


def _plain_columns(schema: list[Any]) -> set[bytes]:
    """Names of the columns with one value or none in each row. The schema is a tree, written parents first."""
    found: set[bytes] = set()
    left = 0  # elements below a column that is not plain
    for element in schema[1:]:
        children = _number(element, 5, 0)
        name = element.get(4)
        if left:
            left += children - 1
        elif children:
            left = children
        elif isinstance(name, bytes) and element.get(3) != _REPEATED:
            found.add(name)
    return found


def _many(held: Any, field: int, kind: type = dict) -> list[Any]:
    value = held.get(field) if isinstance(held, dict) else None
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
        raise struct.error(f"there is no such list in field {field}")
    return value


def _number(held: Any, field: int, default: int | None = None) -> int:
    value = held.get(field, default) if isinstance(held, dict) else None
    if not isinstance(value, int):
        raise struct.error(f"there is no number in field {field}")
    return value


def _check_pages(body: bytes, columns: Collection[_Chunk], max_bytes: int) -> None:
    size = pages = 0
    for chunk in columns:
        for unpacked in _pages(body, chunk.start, chunk.end, chunk.name):
            size += unpacked
            pages += 1
            if size > max_bytes or pages > PAGES:
                raise TooLarge(f"the Parquet file unpacks to over {max_bytes} bytes", remedy="split the request")


def _pages(body: bytes, at: int, end: int, name: str) -> Iterator[int]:
    """Sizes of a column's pages when unpacked."""
    if at < 4 or end > len(body) or end < at:
        raise struct.error("a column lies outside of the file")
    while at < end:
        header, at = read_struct(body, at)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
            raise struct.error("a page without its size")
        first, second = header.get(5), header.get(8)
        encoding = first.get(2) if isinstance(first, dict) else second.get(4) if isinstance(second, dict) else None
        if encoding == _DELTA_BYTE_ARRAY:
            raise Invalid(
                f"column {name!r} is written in the encoding DELTA_BYTE_ARRAY, which is not read here", remedy=_REMEDY
            )
        at += packed
        yield unpacked
