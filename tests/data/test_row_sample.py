"""Rows are known again by their values, and two samples tell how much two tables share."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from perennial.data.row_sample import SAMPLE_ROWS, row_codes, row_sample, shared_share


def table(rows: range) -> pl.DataFrame:
    return pl.DataFrame({"number": list(rows), "text": [f"row {row % 7}" for row in rows]})


def test_a_code_depends_on_values_and_names_and_not_on_the_order_of_rows_or_columns() -> None:
    frame = table(range(100))
    assert row_codes(frame.select("text", "number")).tolist() == row_codes(frame).tolist()
    assert row_codes(frame.reverse()).tolist() == row_codes(frame).tolist()[::-1]
    assert len(set(row_codes(frame).tolist())) == 100
    renamed = row_codes(frame.rename({"number": "other"}))
    assert not set(renamed.tolist()) & set(row_codes(frame).tolist())


def test_values_that_look_alike_are_told_apart_and_equal_ones_are_not() -> None:
    def one(values: object, dtype: pl.DataType | type[pl.DataType] | None = None) -> list[int]:
        return row_codes(pl.DataFrame({"x": pl.Series(values, dtype=dtype)})).tolist()

    assert one([0.0, -0.0])[0] == one([0.0, -0.0])[1]
    assert one([1, 2]) == one([1.0, 2.0])
    assert len(set(one([None, 0, 1]))) == 3
    assert len(set(one([None, "", "None", "a"]))) == 4
    assert len(set(one([[1], [1, 2], None]))) == 3
    assert len(set(one([dt.date(2020, 1, 1), dt.date(2020, 1, 2)]))) == 2
    assert one([float("nan")]) == one([-float("nan")])
    assert one(["a", "b"]) == one(["a", "b"], pl.Categorical())


def test_codes_are_the_same_in_another_process() -> None:
    code = (
        "import polars as pl; from perennial.data.row_sample import row_sample; "
        "print(row_sample(pl.DataFrame({'a': [1, 2], 'b': ['x', None]})))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert told == row_sample(pl.DataFrame({"a": [1, 2], "b": ["x", None]}))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_samples_of_large_tables_tell_the_share_of_common_rows(share: float) -> None:
    rows = 20_000
    first = row_sample(table(range(rows)))
    moved = round(rows * (1 - share))
    second = row_sample(table(range(moved, moved + rows)))
    assert len(first) == SAMPLE_ROWS * 16
    assert shared_share(first, second) == pytest.approx(share, abs=3 * np.sqrt(0.25 / SAMPLE_ROWS))


def test_of_small_tables_the_share_is_exact_and_a_part_lies_wholly_in_the_whole() -> None:
    small = row_sample(table(range(100)))
    assert shared_share(row_sample(table(range(50))), small) == 1.0
    assert shared_share(small, row_sample(table(range(50)))) == 0.5
    assert shared_share("", small) == shared_share(small, "") == 0.0


def test_bytes_that_are_no_text_have_codes_too() -> None:
    one, other = (
        pl.DataFrame({"b": [b"\xff\xfe", None, tail]}, schema={"b": pl.Binary}) for tail in (b"\x80", b"\x81")
    )
    assert row_codes(one).tolist()[:2] == row_codes(other).tolist()[:2]
    assert len({*row_codes(one).tolist(), *row_codes(other).tolist()}) == 4
