"""Large tables are looked at in pieces, and the answer is that of the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.inference import infer
from perennial.data.scan import scan
from perennial.data.schema import Check, Column, Schema
from perennial.data.validation import repeats as repeats_module
from perennial.data.validation import validate
from perennial.data.validation.pieces import Piece, pieces
from perennial.data.validation.repeats import Repeats
from perennial.errors import DataError


def cut(frame: pl.DataFrame, *at: int) -> Iterator[Piece]:
    ends = [0, *at, frame.height]
    for start, end in pairwise(ends):
        yield Piece(start, frame.slice(start, end - start).lazy())


@pytest.mark.parametrize("group", [7, 100, 250, 10_000])
def test_row_groups_of_any_size_give_all_rows_in_order(tmp_path: Path, group: int) -> None:
    table = pa.table({"x": np.arange(1000), "y": [f"text {i}" for i in range(1000)]})
    (tmp_path / "t").mkdir()
    for part in range(2):
        pq.write_table(table.slice(500 * part, 500), tmp_path / "t" / f"{part}.parquet", row_group_size=group)
    read = list(pieces(scan(tmp_path / "t"), ["x"]))
    assert [first for first, _ in read] == np.cumsum([0, *(p.plan.collect().height for p in read)])[:-1].tolist()
    assert pl.concat([piece.plan.collect() for piece in read])["x"].to_list() == list(range(1000))


def test_rows_are_numbered_through_all_parts(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for part, values in enumerate([[1, 2, 3], [4, -5], [-6]]):
        pq.write_table(pa.table({"x": values}), tmp_path / "t" / f"{part}.parquet")
    found = validate(scan(tmp_path / "t"), Schema(columns=[Column(name="x", type="int64", at_least=0.0)]))
    assert (found.rows, found.violations[0].rows, found.violations[0].values) == (6, [4, 5], ["-5", "-6"])


@given(
    values=st.lists(st.tuples(st.integers(0, 5) | st.none(), st.sampled_from("abc")), max_size=60),
    at=st.lists(st.integers(0, 60), max_size=4),
    names=st.sampled_from([["x"], ["y"], ["x", "y"]]),
    room=st.sampled_from([1, 7, 1000]),
)
def test_repetitions_are_those_of_the_definition(
    values: list[tuple[int | None, str]], at: list[int], names: list[str], room: int
) -> None:
    frame = pl.DataFrame(values, schema={"x": pl.Int64, "y": pl.String}, orient="row")
    at = sorted(min(end, frame.height) for end in at)
    seen: set[Any] = set()
    expected: list[bool] = []
    for row in frame.select(names).rows():
        expected.append(None not in row and row in seen)
        seen.add(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats_module, "VALUES", room)  # so that it takes several passes
        found = Repeats(names, lambda: cut(frame, *at), frame.height)
    masks = [found.mask(piece.plan.collect()).to_list() for piece in cut(frame, *at)]
    assert (found.count, [bad for mask in masks for bad in mask]) == (sum(expected), expected)


def test_what_only_its_hash_repeats_is_no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_module, "_hash", lambda columns: pl.col("x").hash() % 4)
    frame = pl.DataFrame({"x": [*range(100), 7, 7]})
    found = Repeats(["x"], lambda: cut(frame, 50), frame.height)
    assert found.count == 2


CSV = "when,fare,how\n2024-01-01,3,card\n2024-01-02,4,cash\n"


@pytest.fixture
def csv_schema(tmp_path: Path) -> Schema:
    (tmp_path / "good.csv").write_text(CSV)
    columns = infer(scan(tmp_path / "good.csv")).columns
    assert [column.type for column in columns] == ["date", "int64", "string"]
    return Schema(columns=[Column(name=column.name, type=column.type) for column in columns])


@pytest.mark.parametrize(
    "text, says",
    [
        (CSV.replace(",4,", ",four,"), "'fare' holds string, was int64: 1 value that int64 cannot hold: four (row 1)"),
        (CSV.replace("2024-01-02", "01/02/24x"), "'when' holds string, was date: 1 value that date cannot hold"),
        (CSV.replace("card", "").replace("cash", ""), "'how' has 2 missing values"),
        (CSV.replace(",3,", ",,").replace(",4,", ",,"), "'fare' has 2 missing values"),
        (CSV.replace("how", "who"), "'how' is gone; was it renamed to 'who'?"),
        (CSV.partition("\n")[0] + "\n", "the table has 0 rows"),
    ],
)
def test_a_csv_file_that_changed_is_told_by_what_stands_in_it(
    tmp_path: Path, csv_schema: Schema, text: str, says: str
) -> None:
    (tmp_path / "new.csv").write_text(text)
    told = [one.says.removeprefix("column ") for one in validate(scan(tmp_path / "new.csv"), csv_schema).violations]
    assert any(one.startswith(says) for one in told), told


@pytest.mark.parametrize("text", [CSV + "2024-01-03,5\n", CSV + "2024-01-03,5,card,x\n", ""])
def test_a_ragged_or_empty_csv_file_is_an_error_that_names_it(tmp_path: Path, csv_schema: Schema, text: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        validate(scan(tmp_path / "bad.csv"), csv_schema)
    assert "bad.csv" in str(caught.value)
    assert caught.value.remedy


def test_a_truncated_parquet_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.arange(10_000)}), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"t\.parquet"):
        validate(scan(path), Schema(columns=[Column(name="x", type="int64")]))


def test_whole_numbers_in_a_text_file_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n1\n2\n")
    schema = Schema(columns=[Column(name="x", type="float64", minimum=0.5, maximum=10.5)])
    assert validate(scan(tmp_path / "t.csv"), schema).violations == []


MEASURE = """
import json, sys
from pathlib import Path
import msgspec
from perennial.data.scan import scan
from perennial.data.schema import Schema
from perennial.data.validation import validate
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
path, schema, small = sys.argv[1:]
schema = msgspec.json.decode(schema, type=Schema)
validate(scan(small), schema)  # what is imported and started on the way belongs to the start
before = peak()
found = validate(scan(path), schema)
print(json.dumps({"rows": found.rows, "kinds": [v.kind for v in found.violations], "mb": peak() - before}))
"""


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Six million rows, 192 MB as a frame, in row groups of a million, are never held as a whole."""
    rng = np.random.default_rng(0)
    rows, parts = 1_000_000, 6
    kinds = pa.schema([("id", pa.int64()), ("a", pa.float64()), ("b", pa.float64()), ("c", pa.float64())])
    with pq.ParquetWriter(tmp_path / "t.parquet", kinds, compression="lz4") as writer:
        for part in range(parts):
            columns = {name: rng.normal(size=rows) for name in ("a", "b", "c")}
            writer.write_table(pa.table({"id": rng.permutation(rows) + rows * part, **columns}), row_group_size=rows)
    pq.write_table(pa.table({"id": [1], "a": [0.0], "b": [0.0], "c": [0.0]}), tmp_path / "small.parquet")
    numbers = [Column(name=name, type="float64", at_least=-50.0, at_most=50.0) for name in ("a", "b", "c")]
    id_column = Column(name="id", type="int64", unique=True)
    schema = Schema(columns=[id_column, *numbers], checks=[Check(name="c", where="a + b < 100")])
    arguments = [str(tmp_path / "t.parquet"), msgspec.json.encode(schema).decode(), str(tmp_path / "small.parquet")]
    out = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True).stdout
    told = json.loads(out)
    assert (told["rows"], told["kinds"]) == (rows * parts, [])
    assert told["mb"] < 192, told
