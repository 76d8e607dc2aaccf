"""The newest rows judge, and nothing that belongs together is torn apart."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from perennial.data.split import split
from perennial.errors import DataError


def test_the_newest_fifth_or_more_is_held_out_and_ties_stay_together() -> None:
    days = [dt.date(2020, 1, day) for day in (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4)]
    made = split(pa.table({"day": days}), time="day")
    assert made.test == [8, 9, 10]
    assert made.train == list(range(8))
    assert "2020-01-03" in made.says


def test_two_moments_give_the_older_one_for_training() -> None:
    assert split(pa.table({"t": [1, 1, 1, 1, 0]}), time="t").train == [4]


def test_exactly_a_fifth_is_enough() -> None:
    assert split(pa.table({"t": [0, 1, 2, 3, 4]}), time="t").test == [4]


def test_without_time_whole_entities_are_held_out_whatever_the_row_order() -> None:
    people = [i % 50 for i in range(200)]
    made = split(pa.table({"person": people}), key="person", seed=3)
    held = {people[row] for row in made.test}
    assert held.isdisjoint({people[row] for row in made.train})
    assert 0.2 * 200 <= len(made.test) < 0.3 * 200
    backwards = people[::-1]
    assert {backwards[row] for row in split(pa.table({"person": backwards}), key="person", seed=3).test} == held


def test_without_time_and_key_rows_are_drawn_by_the_seed() -> None:
    table = pa.table({"x": range(100)})
    assert split(table, seed=1) == split(table, seed=1)
    assert split(table, seed=1) != split(table, seed=2)
    train, test = split(table).parts(table)
    assert (train.num_rows, test.num_rows) == (80, 20)


@pytest.mark.parametrize("column", [[1, None, 3], ["a", None, "b"]])
def test_a_missing_time_is_named(column: list[object]) -> None:
    with pytest.raises(DataError, match="'t' is missing in 1 rows"):
        split(pa.table({"t": column}), time="t")


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 rows"):
        split(pa.table({"t": [1]}))
