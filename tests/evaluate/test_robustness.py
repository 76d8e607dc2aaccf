"""Noise and missing values, through the way in which the service asks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.metrics import metric_named
from perennial.evaluate.robustness import disturbances, robustness

FRAME = pl.DataFrame(
    {
        "x": np.random.default_rng(0).normal(scale=10, size=3000),
        "count": np.random.default_rng(1).integers(0, 50, size=3000),
        "job": ["craft", "sales", "farm"] * 1000,
        "flag": [True, False, True] * 1000,
    }
)


def linear(frame: pl.DataFrame) -> Answers:
    x = frame["x"].fill_null(0.0).to_numpy()
    return Answers(prediction=x + 0.1 * frame["count"].fill_null(25).cast(pl.Float64).to_numpy())


def part() -> HeldOut:
    answers = linear(FRAME)
    return HeldOut(truth=answers.prediction.copy(), answers=answers)


def test_noise_is_in_standard_deviations_and_touches_numbers_alone() -> None:
    made = disturbances(FRAME)
    assert [(name, level) for name, level, _ in made] == [("noise", level) for level in (0.01, 0.05, 0.1, 0.2)]
    noisy = made[-1][2]
    assert noisy.schema == FRAME.schema
    moved = (noisy["x"] - FRAME["x"]).std()
    assert moved == pytest.approx(0.2 * FRAME["x"].std(), rel=0.05)  # type: ignore[operator]
    assert noisy["count"].min() >= 0  # type: ignore[operator]
    assert noisy["count"].max() <= 49  # type: ignore[operator]
    assert (noisy["count"] != FRAME["count"]).any()
    for same in ("job", "flag"):
        assert noisy[same].equals(FRAME[same])


def test_values_are_left_out_only_where_a_request_may_do_so() -> None:
    made = [one for one in disturbances(FRAME, nullable={"job", "x"}) if one[0] == "missing values"]
    assert [level for _, level, _ in made] == [0.05, 0.1, 0.2]
    for _, level, frame in made:
        for name in ("job", "x"):
            assert frame[name].null_count() / 3000 == pytest.approx(level, abs=0.02)
        assert frame["count"].null_count() == frame["flag"].null_count() == 0
    assert disturbances(FRAME.select("job")) == []


def test_what_a_disturbance_costs_is_what_it_should_cost() -> None:
    rows = robustness(metric_named("rmse", "regression"), part(), FRAME, linear, nullable={"x"})
    noise = {row.level: row for row in rows if row.disturbance == "noise"}
    sd = float(FRAME["x"].std())  # type: ignore[arg-type]
    for level, row in noise.items():  # the truth is the undisturbed answer, so that the error is the noise itself
        assert row.value.value == pytest.approx(level * sd, rel=0.06)
        assert row.value.low < row.value.value < row.value.high  # type: ignore[operator]
    assert noise[0.01].changed == 0.0
    assert noise[0.2].changed == pytest.approx(0.617, abs=0.05)  # P(|N(0, 0.2)| > 0.1)
    missing = [row for row in rows if row.disturbance == "missing values"]
    assert [row.value.value for row in missing] == sorted(row.value.value for row in missing)
    assert missing[-1].value.value == pytest.approx(np.sqrt(0.2) * sd, rel=0.1)


def test_a_model_that_ignores_the_numbers_does_not_mind() -> None:
    def by_job(frame: pl.DataFrame) -> Answers:
        return Answers.of_arrays((frame["job"] == "farm").to_list(), None, (False, True), "classification")

    on = HeldOut.of([False, False, True] * 1000, by_job(FRAME), "classification")
    rows = robustness(metric_named("accuracy", "classification"), on, FRAME, by_job)
    assert {(row.value.value, row.changed) for row in rows} == {(1.0, 0.0)}


def test_the_same_rows_are_disturbed_in_the_same_way() -> None:
    metric = metric_named("mae", "regression")
    assert robustness(metric, part(), FRAME, linear) == robustness(metric, part(), FRAME, linear)
