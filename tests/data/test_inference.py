"""What is learned of a table: what stands for a missing value, sets, forms, shares, ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial.data.inference import infer
from perennial.data.scan import scan
from perennial.data.schema import Column
from perennial.data.validation import validate


def column(values: list[Any]) -> Column:
    return infer(pa.table({"x": values})).columns[0]


@pytest.mark.parametrize(
    "others, marker, stands_for_missing",
    [
        (["Private", "State-gov"], "?", True),
        (["Private", "State-gov"], "N/A", True),
        (["Private", "State-gov"], "", True),
        (["12.5", "3.0"], "NA", True),
        (["DE", "FR"], "NA", False),  # a country
        (["85%", "7%"], "empty", True),
        (["full", "half"], "empty", False),  # a word among words
        (["red", "blue"], "null", True),
        (["red", "blue"], "unknown", False),
    ],
)
def test_what_stands_for_a_missing_value_is_known_by_the_texts_around_it(
    others: list[str], marker: str, stands_for_missing: bool
) -> None:
    found = column([*others * 20, marker])
    assert found.missing == ([marker] if stands_for_missing else None)
    assert found.nullable == stands_for_missing
    assert (marker in (found.categories or [])) != stands_for_missing


def test_forms_are_told_when_they_cover_every_text() -> None:
    codes = [f"{chr(65 + i % 26)}B-{100000 + i}" for i in range(500)]
    assert column(codes).patterns == [r"\p{Lu}{2}-[0-9]{6}"]
    assert column([*codes, "AB 123456"]).patterns is None
    assert column([*codes, "?"]).patterns == [r"\p{Lu}{2}-[0-9]{6}"]
    assert column([f"{'abcdefghij'[i % 10]}{'xyz'[i % 3] * (i % 7)}" for i in range(500)]).patterns is None  # words


@pytest.mark.parametrize(
    "missing, of, presence",
    [(0, 100, None), (1, 10, None), (300, 1000, 0.5), (10, 10_000, 0.8), (9_990, 10_000, None), (100, 100, None)],
)
def test_a_share_of_missing_values_becomes_a_bound_that_it_keeps_by_far(
    missing: int, of: int, presence: float | None
) -> None:
    assert column([None] * missing + [1.0] * (of - missing)).presence == presence


def test_infinite_and_missing_numbers_are_no_ends() -> None:
    found = column([1.0, math.inf, -math.inf, math.nan, None, 3.0])
    assert (found.minimum, found.maximum, found.nullable) == (1.0, 3.0, True)


def test_the_target_is_not_demanded_in_serving() -> None:
    columns = infer(pa.table({"x": [1, 2], "y": [0, 1]}), target="y").columns
    assert [one.absent_in for one in columns] == [[], ["serving"]]


def test_what_a_large_table_shows_in_its_last_piece_counts(tmp_path: Path) -> None:
    rows = 200_000
    texts = [f"A-{i:06d}" for i in range(rows)]
    table = pa.table(
        {"code": texts, "late": [*texts[:-1], "b"], "twice": [*texts[:-1], texts[0]], "few": ["x", "y"] * (rows // 2)}
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=50_000)
    code, late, twice, few = infer(scan(tmp_path / "t.parquet")).columns
    assert (code.patterns, code.unique, code.categories) == ([r"\p{Lu}-[0-9]{6}"], True, None)
    assert (late.patterns, late.unique) == (None, True)
    assert (twice.unique, few.categories) == (False, ["x", "y"])


@pytest.mark.parametrize("name", ["chicago_taxi/train.csv.gz", "adult_census/adult_train.csv.gz", "beers/dirty.csv"])
def test_a_table_fits_the_schema_that_it_shows(shared_data: Path, name: str) -> None:
    table = scan(shared_data / name)
    found = validate(table, infer(table, relations=True)).violations
    assert [one.kind for one in found] == (["missing"] if "taxi" in name else [])  # the empty tract


def test_relations_are_found_on_request() -> None:
    table = pa.table({"city": ["Bend", "Gary", "Reno"] * 20, "state": ["OR", "IN", "NV"] * 20})
    assert infer(table).dependencies == []
    assert {one.dependent for one in infer(table, relations=True).dependencies} == {"city", "state"}
