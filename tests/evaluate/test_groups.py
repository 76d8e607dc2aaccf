"""Columns as groups of rows, and a metric in each of them."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.columns import grouped, grouped_columns
from perennial.evaluate.groups import worse_groups
from perennial.evaluate.metrics import METRICS, measure_on, metric_named


def test_every_kind_of_column_makes_the_groups_a_reader_expects() -> None:
    rows = 1000
    frame = pl.DataFrame(
        {
            "job": (["craft", "sales", None, "craft"] * 250),
            "flag": [True, False] * 500,
            "level": [3, 1, 2, 10] * 250,
            "age": list(range(rows)),
            "part": [0.0] * 900 + [float(i) for i in range(1, 101)],
            "day": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(rows)],
            "id": [f"row {i}" for i in range(rows)],
            "alone": ["x"] * rows,
        }
    )
    found = {one.column: one for one in grouped_columns(frame)}
    assert list(found) == ["job", "flag", "level", "age", "part", "day"]
    assert found["job"].labels == ("craft", "sales", "(missing)")
    assert np.bincount(found["job"].codes).tolist() == [500, 250, 250]
    assert found["level"].labels == ("1", "2", "3", "10")
    assert found["age"].labels == ("below 200", "200 to 400", "400 to 600", "600 to 800", "from 800")
    assert np.bincount(found["age"].codes).tolist() == [200] * 5
    assert found["part"].labels == ("0", "other, below 26", "other, 26 to 51", "other, 51 to 76", "other, from 76")
    assert np.bincount(found["part"].codes).tolist() == [900, 25, 25, 25, 25]
    assert found["day"].labels[1] == "2024-07-19 to 2025-02-04"
    assert grouped_columns(frame, leave_out=["job", "age"])[0].column == "flag"


def test_what_is_rare_is_one_group_and_what_is_missing_another() -> None:
    texts = [f"value {i:02d}" for i in range(40) for _ in range(40 - i)] + [None] * 5
    one = grouped(pl.Series("text", texts))
    assert one is not None
    assert len(one.labels) == 32
    assert one.labels[-2:] == ("(other)", "(missing)")
    assert np.bincount(one.codes)[-2:].tolist() == [sum(range(1, 11)), 5]
    numbers = grouped(pl.Series("x", [1.5, 2.5, float("nan"), None] * 30))
    assert numbers is not None
    assert numbers.labels[-1] == "(missing)"
    assert int((numbers.codes == len(numbers.labels) - 1).sum()) == 60
    assert grouped(pl.Series("x", [None, None], dtype=pl.Float64)) is None


@pytest.mark.parametrize("name", [metric.name for metric in METRICS if metric.sums is not None])
def test_a_group_has_the_value_that_its_rows_alone_have(name: str) -> None:
    random = np.random.default_rng(0)
    metric = next(metric for metric in METRICS if metric.name == name)
    if metric.task == "regression":
        truth = 1 + random.gamma(2.0, size=900)
        on = HeldOut(truth=truth, answers=Answers(prediction=truth * random.gamma(20, 0.05, size=900)))
    else:
        table = random.dirichlet(np.ones(2), size=900)
        answers = Answers.of_arrays(None, table, ("a", "b"), "classification")
        on = HeldOut(truth=random.integers(2, size=900), answers=answers)
    codes = random.integers(3, size=900)
    for group in worse_groups(metric, on, codes, 4):
        alone, rest = measure_on(metric, on.take(codes == group.code)), measure_on(metric, on.take(codes != group.code))
        assert group.value.value == pytest.approx(alone.estimate)
        assert group.rest == pytest.approx(rest.estimate)
        assert group.value.low == pytest.approx(alone.low, abs=0.25 * (alone.high - alone.low))
        assert group.value.high == pytest.approx(alone.high, abs=0.25 * (alone.high - alone.low))


def test_p_values_of_groups_that_are_like_the_rest_are_uniform() -> None:
    random, metric = np.random.default_rng(3), metric_named("rmse", "regression")
    p_values: list[float] = []
    for _ in range(60):
        on = HeldOut(truth=np.zeros(400), answers=Answers(prediction=random.normal(size=400)))
        p_values += [group.p_value for group in worse_groups(metric, on, random.integers(4, size=400), 4)]  # type: ignore[misc]
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09
    assert 0.42 <= np.mean(np.array(p_values) < 0.5) <= 0.58


def test_a_group_of_few_people_has_no_interval_however_many_rows_it_has() -> None:
    people = np.repeat(np.arange(50), 20)
    truth = np.zeros(1000)
    on = HeldOut(truth=truth, answers=Answers(prediction=np.ones(1000)), clusters=people)
    few, many = worse_groups(metric_named("mae", "regression"), on, (people >= 10).astype(np.int64), 2)
    assert (few.rows, few.value.low, few.p_value) == (200, None, None)
    assert many.value.low == 1.0
