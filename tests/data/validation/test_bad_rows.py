"""Bad rows leave with their reasons, good rows stay as they are, and no row is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from perennial.data.scan import scan
from perennial.data.schema import Check, Column, Schema
from perennial.data.validation import UserCheck, split_bad

SCHEMA = Schema(
    columns=[
        Column(name="id", type="int64", nullable=True),
        Column(name="fare", type="float64", nullable=True, at_least=0.0, minimum=0.0, maximum=10.0),
        Column(name="how", type="string", categories=["card", "cash"], missing=["?"], severity="error"),
    ],
    keys=[["id"]],
    checks=[Check(name="tip", where="tips <= fare")],
)
SCHEMA.columns.append(Column(name="tips", type="float64", nullable=True))
ROWS: list[tuple[Any, ...]] = [
    (1, 5.0, "card", 1.0),
    (2, -1.0, "card", None),
    (3, 5.0, "coin", 6.0),
    (1, 5.0, "cash", 0.0),
    (None, 5.0, "?", 0.0),
    (5, 900.0, "cash", 0.0),
]
TABLE = pl.DataFrame(ROWS, schema=["id", "fare", "how", "tips"], orient="row").to_arrow()


def rows_of(pieces: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for piece in pieces for row in piece.to_pylist()]


def test_each_bad_row_has_all_its_reasons() -> None:
    split = split_bad(TABLE, SCHEMA)
    assert (split.rows, split.bad_rows, split.reasons) == (6, 4, "reasons")
    assert rows_of(split.good()) == [ROWS[0], ROWS[5]]  # what is only a warning stays
    assert rows_of(split.bad()) == [
        (*ROWS[1], "fare is below 0: -1.0"),
        (*ROWS[2], "how was never seen: coin; check 'tip' fails: tips=6.0, fare=5.0"),
        (*ROWS[3], "id of an earlier row: 1"),
        (*ROWS[4], "how is missing; id, part of a key, is missing"),
    ]


def test_checks_in_python_take_part() -> None:
    checks = [
        UserCheck(name="five", holds=lambda rows: rows["fare"] != 5.0, columns=["fare"]),
        UserCheck(name="last", holds=pl.col("id").fill_null(0) >= pl.col("id").fill_null(0).shift(1)),
        UserCheck(name="soft", holds=pl.lit(value=False) & pl.col("id").is_null(), severity="warning"),
    ]
    bare = Schema(columns=[Column(name=name, type="float64", nullable=True) for name in ("fare", "tips")])
    bad = rows_of(split_bad(TABLE, bare, checks=checks).bad())
    assert [(row[:2], row[-1]) for row in bad] == [
        ((1, 5.0), "check 'five' fails: fare=5.0"),
        ((3, 5.0), "check 'five' fails: fare=5.0"),
        ((1, 5.0), "check 'five' fails: fare=5.0; check 'last' fails: id=1"),
        ((None, 5.0), "check 'five' fails: fare=5.0; check 'last' fails: id=missing"),
    ]


def test_the_column_of_reasons_takes_no_name_of_the_table() -> None:
    table = TABLE.append_column("reasons", pa.array(["x"] * 6))
    split = split_bad(table, SCHEMA)
    assert next(split.bad()).column_names[-2:] == ["reasons", "reasons_"]


def test_a_table_in_many_parts_is_split_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for part in range(3):
        pq.write_table(TABLE.slice(2 * part, 2), tmp_path / "t" / f"{part}.parquet", row_group_size=1)
    split, whole = split_bad(scan(tmp_path / "t"), SCHEMA), split_bad(TABLE, SCHEMA)
    assert rows_of(split.good()) == rows_of(whole.good())
    assert rows_of(split.bad()) == rows_of(whole.bad())


def test_a_table_without_bad_rows_is_given_back_whole() -> None:
    split = split_bad(TABLE.slice(0, 1), SCHEMA)
    assert (split.bad_rows, rows_of(split.good()), rows_of(split.bad())) == (0, [ROWS[0]], [])
