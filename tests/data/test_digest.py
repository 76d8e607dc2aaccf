"""A table's identity depends on its content only."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.column_types import canonical
from perennial.data.digest import BLOCK_ROWS, StreamDigest, in_canonical_order, logical_digest
from perennial.data.frames import to_arrow

ROWS = {
    "i": [3, None, 1, 2],
    "f": [0.5, float("nan"), None, -0.0],
    "s": ["b", "", None, "é"],
    "b": [True, None, False, True],
    "x": [b"\x00", b"", None, b"ab"],
    "l": [[1, 2], [], None, [3]],
}


def ordered(table: pa.Table) -> str:
    return logical_digest(table, order_matters=True)


def unordered(table: pa.Table) -> str:
    return logical_digest(table, order_matters=False)


def test_the_layout_in_memory_does_not_matter() -> None:
    whole = pa.table(ROWS)
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)])
    padded = pa.concat_tables([whole, whole]).combine_chunks().slice(4, 4)
    encoded = whole.set_column(2, "s", whole["s"].dictionary_encode())
    wide = whole.set_column(2, "s", whole["s"].cast(pa.large_string())).set_column(
        4, "x", whole["x"].cast(pa.large_binary())
    )
    assert {ordered(t) for t in (whole, pieces, padded, encoded, wide)} == {ordered(whole)}


def test_what_lies_under_a_null_does_not_matter() -> None:
    mask = np.array([False, True])
    first = pa.table({"x": pa.array(np.array([1, 7]), mask=mask)})
    second = pa.table({"x": pa.array(np.array([1, 8]), mask=mask)})
    assert ordered(first) == ordered(second)


def test_negative_zero_and_any_nan_are_one_value_and_null_is_another() -> None:
    other_nan = np.frombuffer(np.array([0x7FF8000000000001], dtype=np.uint64).tobytes())[0]
    assert ordered(pa.table({"x": [0.0, float("nan")]})) == ordered(pa.table({"x": [-0.0, other_nan]}))
    assert ordered(pa.table({"x": [1.0, float("nan")]})) != ordered(pa.table({"x": [1.0, None]}))


def test_any_change_of_value_name_type_or_column_order_is_another_table() -> None:
    table = pa.table({"a": [1, 2], "b": ["xy", "z"]})
    others = [
        pa.table({"a": [1, 3], "b": ["xy", "z"]}),
        pa.table({"a": [1, 2], "b": ["x", "yz"]}),
        pa.table({"a": [1, 2], "c": ["xy", "z"]}),
        pa.table({"a": [1.0, 2.0], "b": ["xy", "z"]}),
        pa.table({"b": ["xy", "z"], "a": [1, 2]}),
        table.slice(0, 1),
    ]
    assert len({ordered(t) for t in [table, *others]}) == 7


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_rows_are_the_same_bag_and_another_sequence(seed: int) -> None:
    rows = list(range(4)) * 2
    random.Random(seed).shuffle(rows)
    doubled = pa.concat_tables([pa.table(ROWS)] * 2)
    shuffled = pa.table(ROWS).take(rows)
    assert unordered(doubled) == unordered(shuffled)
    assert ordered(in_canonical_order(doubled)) == ordered(in_canonical_order(shuffled))
    assert unordered(pa.table(ROWS)) != unordered(doubled)


def test_polars_pandas_and_pyarrow_give_one_digest() -> None:
    columns = {"n": [1, 2], "x": [0.5, 1.5], "s": ["a", "b"], "t": [True, False]}
    frames = (pl.DataFrame(columns), pl.LazyFrame(columns), pd.DataFrame(columns, index=[7, 3]), pa.table(columns))
    assert len({ordered(canonical(to_arrow(frame))) for frame in frames}) == 1


def test_the_digest_of_a_known_table_never_changes() -> None:
    # Stored identities rest on this value: changing it means a new format number and a migration.
    assert ordered(pa.table(ROWS)) == "590f220cc6969a2ca59568926cff4d65befcf24257f1f1853e01754002641eb8"


def streamed(pieces: list[pa.Table]) -> str:
    digest = StreamDigest(pieces[0].schema)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


@given(st.integers(1, 3 * BLOCK_ROWS), st.lists(st.integers(0, 3 * BLOCK_ROWS), max_size=8))
def test_a_stream_has_one_digest_however_it_is_cut(rows: int, cuts: list[int]) -> None:
    table = pa.table({"i": range(rows), "s": [f"text {i % 3}" if i % 5 else None for i in range(rows)]})
    ends = sorted({cut for cut in cuts if cut < rows} | {0, rows})
    pieces = [table.slice(start, end - start) for start, end in pairwise(ends)]
    assert streamed(pieces) == streamed([table])


def test_a_stream_goes_on_from_its_chain() -> None:
    table = pa.table({"i": range(BLOCK_ROWS + 5)})
    begun = StreamDigest(table.schema)
    begun.update(table.slice(0, BLOCK_ROWS))
    resumed = StreamDigest(table.schema, chain=begun.chain, rows=BLOCK_ROWS)
    resumed.update(table.slice(BLOCK_ROWS))
    assert resumed.digest() == streamed([table])


def test_another_stream_has_another_digest() -> None:
    table = pa.table({"a": range(BLOCK_ROWS * 2)})
    others = [table.slice(1), table.slice(0, BLOCK_ROWS), table.take(list(range(BLOCK_ROWS * 2))[::-1])]
    others += [table.rename_columns(["b"]), table.cast(pa.schema({"a": pa.float64()})), table.slice(0, 0)]
    assert len({streamed([t]) for t in [table, *others]}) == 7


def test_the_digest_of_a_known_stream_never_changes() -> None:
    table = pa.concat_tables([pa.table(ROWS)] * (BLOCK_ROWS // 4 + 1))
    assert streamed([table]) == "df4a470dd715c080853ff88102ca58a63c226b5d884abd1d6b68d59865bd8d23"
