"""Weak slices are found where they are, and not where there are none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.columns import grouped_columns
from perennial.evaluate.metrics import metric_named
from perennial.evaluate.slices import search_slices, slice_metric, slice_table, weak_slices_say

JOBS, PLACES = np.array(["craft", "sales", "clerk", "farm"]), np.array(["north", "south", "east"])


def people(seed: int, *, planted: bool, rows: int = 4000) -> tuple[pl.DataFrame, HeldOut]:
    """A regression that errs three times as much for southern farmers, where that is planted."""
    random = np.random.default_rng(seed)
    job, place = JOBS[random.integers(4, size=rows)], PLACES[random.integers(3, size=rows)]
    weak = (job == "farm") & (place == "south") & planted
    error = random.standard_t(4, size=rows) * np.where(weak, 3.0, 1.0)
    frame = pl.DataFrame({"job": job, "place": place, "age": random.integers(18, 70, size=rows)})
    return frame, HeldOut(truth=np.zeros(rows), answers=Answers(prediction=error))


def test_the_table_has_every_group_of_every_column() -> None:
    frame, on = people(0, planted=True)
    table = slice_table("regression", on, grouped_columns(frame))
    assert [next(iter(row.where.items())) for row in table if "job" in row.where] == [
        ("job", job) for job in sorted(JOBS)
    ]
    assert sum(row.rows for row in table if "place" in row.where) == 4000
    inside = (frame["job"] == "farm").to_numpy()
    farm = next(row for row in table if row.where == {"job": "farm"})
    assert farm.value.value == pytest.approx(np.sqrt((on.answers.prediction[inside] ** 2).mean()))
    assert farm.rest == pytest.approx(np.sqrt((on.answers.prediction[~inside] ** 2).mean()))
    assert [row.where for row in table if row.is_confirmed] == [{"job": "farm"}, {"place": "south"}]
    said = weak_slices_say(table, slice_metric("regression"))
    assert said[0].startswith("weak where job = farm: rmse ")


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_weak_slice_is_found_and_holds_on_the_other_half(seed: int) -> None:
    frame, on = people(seed, planted=True)
    best = search_slices("regression", on, grouped_columns(frame))[0]
    assert best.where == {"job": "farm", "place": "south"}
    assert best.is_confirmed is True
    assert best.value.value > 2 * best.rest  # type: ignore[operator]
    truth = (frame["job"] == "farm").to_numpy() & (frame["place"] == "south").to_numpy()
    assert best.rows == pytest.approx(truth.sum() / 2, rel=0.2)  # measured on one half of the rows
    assert weak_slices_say([best], slice_metric("regression"))[0].startswith("weak where job = farm and place = south")


def test_clean_twins_have_no_weak_slice() -> None:
    found_at_all = confirmed = named = 0
    for seed in range(40):
        frame, on = people(seed, planted=False)
        found = search_slices("regression", on, grouped_columns(frame))
        found_at_all += bool(found)
        confirmed += any(one.is_confirmed for one in found)
        named += bool(weak_slices_say(found, slice_metric("regression")))
    assert confirmed <= 6  # of 40 at 5 %: more has a probability below 0.02
    assert named <= 2
    assert found_at_all >= 20  # the search alone would have shown these


def test_the_halves_keep_a_persons_rows_together() -> None:
    # 60 people with 50 rows each; each person's error is one draw. Rows as units would confirm what is nobody's fault.
    random, confirmed = np.random.default_rng(0), 0
    for _ in range(20):
        person = np.repeat(np.arange(60), 50)
        group = random.integers(6, size=60)
        error = random.normal(size=60)[person] ** 2 + 0.01 * random.normal(size=3000)
        frame = pl.DataFrame({"team": [f"team {code}" for code in group[person]]})
        on = HeldOut(truth=np.zeros(3000), answers=Answers(prediction=error), clusters=person)
        confirmed += any(one.is_confirmed for one in search_slices("regression", on, grouped_columns(frame)))
    assert confirmed <= 3


def test_a_model_without_errors_has_no_weak_slice() -> None:
    frame, on = people(0, planted=False)
    perfect = HeldOut(truth=on.truth, answers=Answers(prediction=on.truth))
    assert search_slices("regression", perfect, grouped_columns(frame)) == []
    assert not any(row.is_confirmed for row in slice_table("regression", perfect, grouped_columns(frame)))


def test_few_rows_are_not_searched() -> None:
    frame, on = people(0, planted=True, rows=100)
    assert search_slices("regression", on, grouped_columns(frame)) == []
    assert metric_named("rmse", "regression") == slice_metric("regression")
