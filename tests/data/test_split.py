"""The newest rows judge, and nothing that belongs together is torn apart."""

from __future__ import annotations

import datetime as dt
from typing import Literal

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


def test_labels_that_were_not_known_at_the_cut_train_nothing() -> None:
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    times = [start + dt.timedelta(days=day) for day in range(20)]
    made = split(pa.table({"t": times}), time="t", gap_s=3 * 86_400)
    assert made.test == [16, 17, 18, 19]
    # The label of day 13 came on day 16, the very moment of the cut.
    assert (made.left_out, made.train) == ([14, 15], list(range(14)))
    assert made.cuts == ["2024-01-17T00:00:00.000000"]
    assert made.says.endswith("4 of 20 rows; 2 left out, whose label was not known yet")


def test_validation_lies_between_training_and_test_with_a_gap_on_both_sides() -> None:
    made = split(pa.table({"t": range(100)}), time="t", share=0.2, validation=0.1, gap_s=5)
    assert made.test == list(range(80, 100))
    assert made.validation == list(range(70, 76))
    assert made.train == list(range(66))
    assert sorted([*made.train, *made.left_out, *made.validation, *made.test]) == list(range(100))


@pytest.mark.parametrize("by", ["group", "random"])
def test_parts_are_apart_and_complete(by: Literal["group", "random"]) -> None:
    people = [i % 50 for i in range(500)]
    table = pa.table({"person": people, "t": range(500)})
    made = split(table, by=by, time="t", key="person", share=0.2, validation=0.2, seed=1)
    assert sorted([*made.train, *made.validation, *made.test]) == list(range(500))
    assert min(len(made.test), len(made.validation)) >= 100
    assert made == split(table, by=by, time="t", key="person", share=0.2, validation=0.2, seed=1)
    if by == "group":
        sides = [{people[row] for row in part} for part in (made.train, made.validation, made.test)]
        assert sum(map(len, sides)) == 50


def test_a_split_that_cannot_be_made_says_why() -> None:
    with pytest.raises(DataError, match="no row is old enough to train on"):
        split(pa.table({"t": range(10)}), time="t", gap_s=50)
    with pytest.raises(DataError, match="holds 1 moments"):
        split(pa.table({"t": [1, 1]}), by="time", time="t")
    with pytest.raises(DataError, match="holds 2 values"):
        split(pa.table({"k": [1, 2]}), by="group", key="k", validation=0.1)
    with pytest.raises(DataError, match="a split by group needs a column"):
        split(pa.table({"t": [1, 2]}), by="group")
    with pytest.raises(DataError, match="a gap cannot be taken"):
        split(pa.table({"t": ["a", "b"]}), time="t", gap_s=1)
