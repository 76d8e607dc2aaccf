"""The identity of a table: a digest of its schema and values, whatever wrote it.

Two tables have one digest when they have the same columns (name, type, order) and the same values in the same rows;
with `order_matters=False`, the same rows in any order. How the values lie in memory or in a file (chunks,
dictionaries, offsets, validity bitmaps, 32- or 64-bit text offsets) has no part in it. -0.0 is 0.0 and every NaN is
one NaN; null is not NaN. The byte format is docs/decisions/0005; that of a table which comes in pieces is 0019.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from pyarrow import types

from perennial.data.scalars import number_scalar, to_numpy
from perennial.types import Digest

__all__ = ["BLOCK_ROWS", "StreamDigest", "in_canonical_order", "logical_digest"]

BLOCK_ROWS = 8192  # part of the format: a digest of a stream is a chain of blocks of so many rows
_FORMAT = b"perennial table 1\n"
_STREAM_FORMAT = b"perennial table 2\n"


def logical_digest(table: pa.Table, *, order_matters: bool) -> Digest:
    """The digest of this table's content.

    >>> a, b = pa.table({"x": [1, 2]}), pa.table({"x": [2, 1]})
    >>> logical_digest(a, order_matters=False) == logical_digest(b, order_matters=False)
    True
    >>> logical_digest(a, order_matters=True) == logical_digest(b, order_matters=True)
    False
    """
    plain = pa.table([_plain(column) for column in table.columns], names=table.column_names)
    if not order_matters:
        plain = in_canonical_order(plain)
    state = blake3(_FORMAT)
    _number(state, plain.num_rows)
    _number(state, plain.num_columns)
    for field, column in zip(plain.schema, plain.columns, strict=True):
        _text(state, field.name)
        _text(state, str(field.type))
        _array(state, column.combine_chunks())
    return Digest(state.hexdigest())


class StreamDigest:
    """The digest of an ordered table that comes in pieces, however it was cut into them.

    `chain` stands for all full blocks so far: with it and the rows behind them a stream goes on where it ended.

    >>> whole, pieces = StreamDigest(pa.schema({"x": pa.int64()})), StreamDigest(pa.schema({"x": pa.int64()}))
    >>> whole.update(pa.table({"x": [1, 2]}))
    >>> for value in (1, 2):
    ...     pieces.update(pa.table({"x": [value]}))
    >>> whole.digest() == pieces.digest()
    True
    """

    def __init__(self, schema: pa.Schema, *, chain: Digest | None = None, rows: int = 0) -> None:
        """Begin with no rows, or behind `rows` rows in full blocks that made this `chain`."""
        self.rows = rows
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        if chain is None:
            state = blake3(_STREAM_FORMAT)
            _number(state, len(schema))
            for field in schema:
                _text(state, field.name)
                _text(state, str(_plain_type(field.type)))
            chain = Digest(state.hexdigest())
        self.chain = chain

    def update(self, table: pa.Table) -> None:
        """Take up the next rows."""
        while table.num_rows:
            piece = table.slice(0, BLOCK_ROWS - self._waiting_rows)
            table = table.slice(piece.num_rows)
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            self.rows += piece.num_rows
            if self._waiting_rows == BLOCK_ROWS:
                self.chain = _chained(self.chain, self._rest())
                self._waiting, self._waiting_rows = [], 0

    def digest(self) -> Digest:
        """Of all rows so far; more may follow."""
        return _chained(self.chain, self._rest() if self._waiting else b"", self.rows)

    def _rest(self) -> bytes:
        return bytes.fromhex(logical_digest(pa.concat_tables(self._waiting), order_matters=True))


def _chained(chain: Digest, block: bytes, rows: int | None = None) -> Digest:
    state = blake3(bytes.fromhex(chain))
    state.update(block)
    if rows is not None:
        _number(state, rows)
    return Digest(state.hexdigest())


def in_canonical_order(table: pa.Table) -> pa.Table:
    """The rows sorted by all columns from left to right, nulls last: one order for each bag of rows."""
    keys = [_sortable(_plain(column)) for column in table.columns]
    if not keys or table.num_rows < 2:
        return table
    names = [str(i) for i in range(len(keys))]
    order = pc.sort_indices(pa.table(keys, names=names), sort_keys=[(name, "ascending") for name in names])
    return table.take(order)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = _plain_type(column.type)
    column = column if kind == column.type else column.cast(kind)
    if types.is_floating(kind):
        one_nan = pc.if_else(pc.is_nan(column), number_scalar(float("nan"), kind), column)
        column = pc.if_else(pc.equal(column, number_scalar(0.0, kind)), number_scalar(0.0, kind), one_nan)
    return column


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_string(kind) or types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary(kind) or types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.large_list(_plain_type(kind.value_type))
    return kind


def _sortable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if types.is_nested(column.type):
        return pa.chunked_array([[None if value is None else repr(value) for value in column.to_pylist()]])
    return column


def _array(state: Any, array: pa.Array) -> None:
    state.update(np.packbits(to_numpy(array.is_valid())).tobytes())
    kind = array.type
    if types.is_struct(kind):
        for i in range(kind.num_fields):
            _array(state, _plain(pa.chunked_array([pc.struct_field(array, [i])])).combine_chunks())
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), number_scalar(0, pa.int64()))
        state.update(to_numpy(lengths).tobytes())
        _array(state, _plain(pa.chunked_array([pc.list_flatten(array)])).combine_chunks())
    elif types.is_large_string(kind) or types.is_large_binary(kind):
        present = array.drop_null()
        state.update(to_numpy(pc.binary_length(present).cast(pa.int64())).tobytes())
        state.update(_bytes_of(present))
    elif types.is_boolean(kind):
        state.update(np.packbits(to_numpy(array.drop_null())).tobytes())
    elif not types.is_null(kind):
        present = array.drop_null()  # whatever lies in the memory under a null has no part in the content
        width = kind.bit_width // 8
        data = present.buffers()[1]
        if data is not None:
            state.update(memoryview(data)[present.offset * width : (present.offset + len(present)) * width])


def _bytes_of(array: pa.Array) -> memoryview | bytes:
    if not len(array):
        return b""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[[array.offset, array.offset + len(array)]]
    return memoryview(data)[bounds[0] : bounds[1]] if data is not None else b""


def _number(state: Any, value: int) -> None:
    state.update(value.to_bytes(8, "little"))


def _text(state: Any, value: str) -> None:
    data = value.encode()
    _number(state, len(data))
    state.update(data)
