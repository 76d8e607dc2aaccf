"""Columns of an Arrow table as `Intake` takes them: numbers as numpy arrays that share Arrow's memory where nothing is
missing, everything else as JSON values. What would grow beyond the limit when it is written out is refused first: views
and dictionaries name one long text many times.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from perennial.errors import Invalid, TooLarge

if TYPE_CHECKING:
    from perennial.serve.asked import Values

__all__ = ["columns_of"]

_EPOCH = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_YEARS = (-62_135_596_800, 253_402_300_799)  # seconds since 1970 of the years 1 to 9999


def columns_of(table: pa.Table, wanted: Collection[str], *, where: str, max_bytes: int) -> dict[str, Values]:
    """The wanted columns of a table that has been validated.

    Args:
        table: At most as many rows as a request may have.
        wanted: Names of the signature's inputs; others are left out.
        where: What the table is called in errors.
        max_bytes: What texts may come to, all together.

    Raises:
        Invalid: A column's type holds no values of a model, or a name comes twice.
        TooLarge: Beyond `max_bytes`.
    """
    names: list[str] = table.column_names
    left = max_bytes
    found: dict[str, Values] = {}
    for at, name in enumerate(names):
        if name not in wanted:
            continue
        if name in found:
            raise Invalid(f"the name {name!r} comes twice", where=f"{where}.{name}", remedy="send it once")
        if not _is_known(table.schema.field(at).type):
            raise _strange(table.schema.field(at).type, f"{where}.{name}")
        column = table.column(at)
        left -= _text_bytes(column)
        if left < 0:
            raise TooLarge(f"the texts come to over {max_bytes} bytes", where=f"{where}.{name}", remedy="split it")
        try:
            found[name] = _values(column.combine_chunks(), f"{where}.{name}")
        except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
            told = (str(error).splitlines() or [""])[0][:200]
            raise Invalid(f"column {name!r} cannot be read: {told}", where=f"{where}.{name}") from None
    return found


def _values(column: Any, where: str) -> Values:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    kind = column.type
    if types.is_dictionary(kind):
        held = column.dictionary
        if types.is_string_view(held.type) or types.is_binary_view(held.type):  # there is no kernel that takes of views
            held = held.cast(pa.large_string() if types.is_string_view(held.type) else pa.large_binary())
        return _values(held.take(column.indices), where)
    if types.is_null(kind):
        return [None] * len(column)
    if types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False)  # null is NaN there
    if types.is_integer(kind) or types.is_boolean(kind):
        return column.to_pylist() if column.null_count else column.to_numpy(zero_copy_only=False)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return column.to_pylist()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        raw: list[bytes | None] = column.to_pylist()
        return [None if value is None else b64encode(value).decode() for value in raw]
    if types.is_timestamp(kind) or types.is_date(kind):
        return _times(column, where)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _tensors(column, where)
    raise _strange(kind, where)


def _is_known(kind: Any) -> bool:
    """Whether it can be looked at: some types of Arrow's have no form in Python at all."""
    while (
        types.is_dictionary(kind) or types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    ):
        kind = kind.value_type
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)
    return is_number or types.is_timestamp(kind) or types.is_date(kind) or _is_text(kind)


def _strange(kind: Any, where: str) -> Invalid:
    return Invalid(
        f"the column holds {str(kind)[:100]}, which no model takes",
        where=where,
        remedy="send numbers, true/false, text, bytes, times, dates, or lists of numbers of one shape",
    )


def _times(column: Any, where: str) -> list[Any]:
    """As ISO text; a time without zone is UTC."""
    kind = column.type
    if types.is_date(kind):
        days = column.cast(pa.int32()) if types.is_date32(kind) else pc.divide(column.cast(pa.int64()), 86_400_000)
        ticks, unit, code, end = days, 86_400, "D", ""
    else:
        ticks, unit, code, end = column.cast(pa.int64()), 1, kind.unit, "Z"
    numbers = pc.fill_null(ticks, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    seconds = numbers * unit if code == "D" else numbers // _EPOCH[code]
    if len(seconds) and not (_YEARS[0] <= seconds.min() and seconds.max() <= _YEARS[1]):
        raise Invalid("a time is outside of the years 1 to 9999", where=where, remedy="send such a time as null")
    finest = "us" if code == "ns" else code
    moments = numbers.view(f"datetime64[{code}]").astype(f"datetime64[{finest}]")
    texts = np.datetime_as_string(moments, unit=cast("Any", finest)).tolist()
    missing = column.is_null().to_pylist()
    return [None if gone else text + end for gone, text in zip(missing, texts, strict=True)]


def _tensors(column: Any, where: str) -> Values:
    """Shape (n, ...): an array where all lists have one length, else nested lists, which the intake judges."""
    shape: list[int] = [len(column)]
    inner = column
    while types.is_fixed_size_list(inner.type) or types.is_list(inner.type) or types.is_large_list(inner.type):
        if inner.null_count:
            return column.to_pylist()
        lengths = pc.list_value_length(inner)
        ends = pc.min_max(lengths).as_py()
        if not len(inner) or ends["min"] != ends["max"]:
            return column.to_pylist()
        shape.append(ends["min"])
        inner = inner.flatten()
    if not (types.is_floating(inner.type) or types.is_integer(inner.type)):
        raise Invalid(
            f"the column holds lists of {str(inner.type)[:100]}, which no model takes",
            where=where,
            remedy="send lists of numbers",
        )
    if inner.null_count:
        return column.to_pylist()
    return inner.to_numpy(zero_copy_only=False).reshape(shape)


def _text_bytes(column: Any) -> int:
    """What the texts or bytes of a column come to when each stands for itself."""
    return sum(_chunk_bytes(chunk) for chunk in column.chunks)


def _chunk_bytes(chunk: Any) -> int:
    kind = chunk.type
    if types.is_dictionary(kind):
        held = chunk.dictionary
        if not _is_text(held.type):
            return 0
        lengths = pc.fill_null(_lengths(held), 0).cast(pa.int64())
        return pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return pc.sum(_lengths(chunk).cast(pa.int64())).as_py() or 0 if _is_text(kind) else 0


def _lengths(chunk: Any) -> Any:
    kind = chunk.type
    if not (types.is_string_view(kind) or types.is_binary_view(kind)):
        return pc.binary_length(chunk)
    # A view is 16 bytes, of which the first four are the length; there is no kernel that tells it.
    views = chunk.buffers()[1]
    lengths = np.frombuffer(views, np.int32, 4 * (chunk.offset + len(chunk)))[4 * chunk.offset :: 4]
    return pc.if_else(chunk.is_valid(), pa.array(lengths), 0)


def _is_text(kind: Any) -> bool:
    return (
        types.is_string(kind)
        or types.is_binary(kind)
        or types.is_large_string(kind)
        or types.is_large_binary(kind)
        or types.is_string_view(kind)
        or types.is_binary_view(kind)
    )
