"""CSV and its relatives, read strictly: a line with a field too many or too few is an error, never a guess.

The whole file is looked at once before its first row is handed out: its separator, its names, that every line has as
many fields, that quotes close, that it is UTF-8, and for each column the type that fits all its values. An empty field
is a missing value; a quoted empty one is an empty text.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
from pyarrow import types

from perennial.data.reading import Part, Stamp, name_of, opened, readable, stamp_of
from perennial.errors import DataError

__all__ = ["Dialect", "look", "read", "schema_of"]

SEPARATORS = (",", ";", "\t", "|")
BLOCK_BYTES = 4 << 20
MAX_BLOCK_BYTES = 256 << 20  # a single row must fit
_CONVERSION = re.compile(r"In CSV column #(\d+): .*?conversion error to [^:]*: invalid value '(.*)'\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written, and what its columns hold."""

    separator: str
    block_bytes: int
    schema: pa.Schema


def schema_of(part: Part) -> pa.Schema:
    """Columns and types, after a look at the whole file."""
    return look(part, stamp_of(part)).schema


def read(
    part: Part,
    columns: Sequence[str] | None,
    rows: int,
    stamp: Stamp | None,
    *,
    as_text: bool = False,
) -> Iterator[pa.Table]:
    """The rows in pieces; with `as_text` every value as it is written."""
    with readable(part, "CSV", stamp):
        found = look(part, stamp_of(part))
        schema = pa.schema([(name, pa.string()) for name in found.schema.names]) if as_text else found.schema
        if not len(schema):
            return
        names = schema.names if columns is None else list(columns)
        reader = _open(opened(part), found.separator, found.block_bytes, schema, names or found.schema.names[:1])
        for batch in reader:
            table = pa.Table.from_batches([batch]).select(names)
            for start in range(0, batch.num_rows, rows):
                yield table.slice(start, rows)


@lru_cache(maxsize=256)
def look(part: Part, stamp: Stamp | None) -> Dialect:
    """Check the whole file and learn how to read it; asked again about an unchanged file, it remembers.

    Raises:
        DataError: Empty, of another encoding, without names, ragged, or with a quote that stays open; names the line.
    """
    with readable(part, "CSV", stamp):
        separator, names = _header(part)
        try:
            return _typed(part, separator, names)
        except pa.ArrowInvalid as error:
            _refuse_encoding(part)
            _refuse_shape(part, separator, len(names))
            raise DataError(f"cannot read the table: {error}", where=name_of(part), remedy="mend the file") from error


def _typed(part: Part, separator: str, names: list[str]) -> Dialect:
    """Find types that fit all values: guessed from the first block, widened where a later value does not fit."""
    block_bytes, known = BLOCK_BYTES, dict[str, pa.DataType]()
    while True:
        try:
            reader = _open(opened(part), separator, block_bytes, pa.schema(list(known.items())))
            inferred = {field.name: _settled(field.type) for field in reader.schema}
            if any(types.is_binary(kind) for kind in inferred.values()):
                raise pa.ArrowInvalid("text that is not UTF-8")
            if inferred != {field.name: field.type for field in reader.schema}:
                known = inferred
                continue
            known = inferred
            for _ in reader:
                pass
        except pa.ArrowInvalid as error:
            wrong = _CONVERSION.search(str(error))
            if wrong is not None:
                name = names[int(wrong[1])]
                known[name] = _wider(known.get(name, pa.null()), wrong[2], separator)
                continue
            if "straddl" in str(error) and block_bytes < MAX_BLOCK_BYTES:
                block_bytes *= 8
                continue
            raise
        if _quotes(part) % 2:
            _refuse_open_quote(part, separator)
        return Dialect(separator=separator, block_bytes=block_bytes, schema=pa.schema(list(known.items())))


def _open(
    source: pa.NativeFile, separator: str, block_bytes: int, schema: pa.Schema, columns: list[str] | None = None
) -> pc.CSVStreamingReader:
    return pc.open_csv(
        source,
        read_options=pc.ReadOptions(block_size=block_bytes),
        parse_options=pc.ParseOptions(
            delimiter=separator, newlines_in_values=True, ignore_empty_lines=len(schema) != 1
        ),
        convert_options=pc.ConvertOptions(
            column_types=schema,
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _settled(kind: pa.DataType) -> pa.DataType:
    """One resolution for all times."""
    return pa.timestamp("us", tz=kind.tz) if types.is_timestamp(kind) else kind


def _wider(kind: pa.DataType, value: str, separator: str) -> pa.DataType:
    """The type that takes the values so far and this one."""
    quoted = '"' + value.replace('"', '""') + '"'
    alone = pc.read_csv(io.BytesIO(f"a{separator}b\n{quoted}{separator}\n".encode()), parse_options=_parse(separator))
    found = _settled(alone.schema.field("a").type)
    if types.is_null(kind) or found == kind:
        return found if types.is_null(kind) else pa.string()
    if {str(kind), str(found)} == {"int64", "double"}:
        return pa.float64()
    if types.is_date(kind) and types.is_timestamp(found) and found.tz is None:
        return found
    return pa.string()


def _parse(separator: str) -> pc.ParseOptions:
    return pc.ParseOptions(delimiter=separator, newlines_in_values=True)


def _quotes(part: Part) -> int:
    """How many there are. Not counted while Arrow reads: its threads read ahead, even while the interpreter ends, and
    one that then called back into Python would take the process down.
    """
    source, count = opened(part), 0
    while data := source.read(BLOCK_BYTES):
        count += data.count(b'"')
    return count


def _header(part: Part) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    start: bytes = opened(part).read(1 << 20)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("the text is UTF-16", where=name_of(part), remedy="save it as UTF-8")
    text = start.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    if not text.strip():
        raise DataError(
            "the file is empty", where=name_of(part), remedy="write a line of names and the rows, or take it away"
        )
    text = text.lstrip("\r\n")
    first = next(iter(text.splitlines()))
    separator = max(SEPARATORS, key=lambda one: _fields(first, one))  # of equals the first, the comma
    names = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    where = f"{name_of(part)}, line 1".removeprefix(", ")
    if names and all(_is_value(name) for name in names):
        raise DataError(
            f"the first line holds values, not names of columns: {', '.join(names[:5])}",
            where=where,
            remedy="write the names of the columns above it",
        )
    for name in names:
        if not name:
            raise DataError("a column has no name", where=where, remedy="name every column in the first line")
        if names.count(name) > 1:
            raise DataError(f"two columns are named {name!r}", where=where, remedy="give each column a name of its own")
    return separator, names


def _fields(line: str, separator: str) -> int:
    return len(next(csv.reader([line], delimiter=separator), []))


def _is_value(text: str) -> bool:
    """Whether this is a number, a day or nothing: no name that a person gives."""
    return bool(re.fullmatch(r"\s*([-+]?[\d.,]+([eE][-+]?\d+)?|\d{4}-\d\d-\d\d.*)?\s*", text))


def _refuse_encoding(part: Part) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    source, seen, lines = opened(part), 0, 1
    while block := source.read(1 << 20):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            at = seen - pending + error.start
            lines += (b"\0" * pending + block)[: error.start].count(b"\n")
            raise DataError(
                f"the text is not UTF-8: byte {error.object[error.start]:#04x} at position {at}",
                where=f"{name_of(part)}, line {lines}",
                remedy="save it as UTF-8; if it is Latin-1: iconv -f latin1 -t utf-8 FILE",
            ) from None
        seen += len(block)
        lines += block.count(b"\n")


def _refuse_shape(part: Part, separator: str, fields: int) -> None:
    """Find the first line whose number of fields is not that of the header."""
    for line, row in _records(part, separator):
        if not row or len(row) == fields:
            continue
        text = separator.join(row)
        other = next((one for one in SEPARATORS if one != separator and _fields(text, one) == fields), None)
        what = f"line {line} has {len(row)} fields where the header has {fields}"
        if other is not None:
            what += f": from here on it is separated by {other!r}, before by {separator!r}"
        raise DataError(
            what,
            where=f"{name_of(part)}, line {line}",
            remedy="mend the line; a value that holds the separator or a line break stands in double quotes",
        )


def _refuse_open_quote(part: Part, separator: str) -> None:
    """Find the quote that never closes, if there is one: a single quote inside a text is none."""
    for line, row in _records(part, separator, strict=True):
        if row is None:
            raise DataError(
                "a quote opens and never closes",
                where=f"{name_of(part)}, line {line}",
                remedy='close it; a quote within a quoted text is written twice: ""',
            )


def _records(part: Part, separator: str, *, strict: bool = False) -> Iterator[tuple[int, Any]]:
    """Rows with the line where each begins; None for one that the file's end, or far too much text, cuts off."""
    text = io.TextIOWrapper(io.BufferedReader(opened(part)), encoding="utf-8-sig", errors="replace", newline="")  # pyright: ignore[reportArgumentType]
    reader = csv.reader(text, delimiter=separator, strict=strict)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error) or "field limit" in str(error):
                yield line, None
                return
            row = []  # a quote in the middle of a text
        if row is None:
            return
        yield line, row
        line = reader.line_num + 1
