"""Models that do not know a region, or the future."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut, Ints
from perennial.evaluate.leave_out import leave_groups_out, rolling_origin
from perennial.evaluate.material import Ask, Budget, Material
from perennial.evaluate.metrics import metric_named

RMSE = metric_named("rmse", "regression")


def world(
    model: Any, frame: pl.DataFrame, y: np.ndarray, inputs: tuple[str, ...], **more: Any
) -> tuple[HeldOut, HeldOut, Material, list[Ints]]:
    """Fitted to the even rows, tested on the odd ones."""
    train, test = frame[::2], frame[1::2]
    asked: list[Ints] = []

    def fit(positions: Ints) -> Ask:
        asked.append(positions)
        fitted = model.fit(train.select(inputs).to_numpy()[positions], y[::2][positions])
        return lambda rows: Answers(prediction=fitted.predict(rows.select(inputs).to_numpy()))

    whole = fit(np.arange(len(train)))
    on_test, on_train = (HeldOut(truth=t, answers=whole(f)) for t, f in ((y[1::2], test), (y[::2], train)))
    asked.clear()
    return (
        on_test,
        on_train,
        Material(train_frame=train, test_frame=test, inputs=inputs, ask=whole, fit=fit, **more),
        asked,
    )


def test_a_region_of_its_own_kind_is_named_and_the_others_carry_over() -> None:
    random = np.random.default_rng(0)
    region = np.array(["east", "north", "south"])[random.integers(3, size=3000)]
    x = random.normal(size=3000) + 4 * (region == "south")
    y = np.where(region == "south", 10 - x, x) + 0.3 * random.normal(size=3000)
    frame = pl.DataFrame({"x": x, "south": (region == "south").astype(float), "region": region})
    frame = frame.with_columns(both=pl.col("x") * pl.col("south"))
    test, train, material, asked = world(LinearRegression(), frame, y, ("x", "south", "both"))
    found, says = leave_groups_out(
        RMSE, test=test, train=train, material=material, columns=("region",), budget=Budget(600)
    )
    by_name = {one.group: one for one in found}
    assert set(by_name) == {"east", "north", "south"}
    south = by_name["south"]
    assert south.value.value > 3 * south.inside  # type: ignore[operator]
    assert by_name["east"].value.value == pytest.approx(0.3, rel=0.1)
    assert len(says) == 1
    assert says[0].startswith("knows region = south less well when it never saw it: rmse ")
    names = material.train_frame["region"].to_numpy()
    assert [set(names[rows]) for rows in asked] == [set(by_name) - {one.group} for one in found]


def test_groups_are_left_out_of_the_wages_of_real_regions(wages: pl.DataFrame) -> None:
    frame = wages.with_columns(afam=(pl.col("ethnicity") == "afam").cast(pl.Float64))
    y = np.log(frame["wage"].to_numpy())
    model = HistGradientBoostingRegressor(max_iter=60, random_state=0)
    test, train, material, _ = world(model, frame, y, ("education", "experience", "afam"))
    found, _ = leave_groups_out(
        RMSE, test=test, train=train, material=material, columns=("region",), budget=Budget(600)
    )
    assert [one.group for one in found] == ["south", "midwest", "northeast", "west"]
    for one in found:
        inside = (material.test_frame["region"] == one.group).to_numpy()
        expected = float(np.sqrt(np.mean((test.answers.prediction - test.truth)[inside] ** 2)))
        assert one.inside == pytest.approx(expected)
        assert one.value.rows == inside.sum()
        assert one.lost is not None
        assert one.lost.value == pytest.approx(one.value.value - one.inside)
        assert one.lost.low < one.lost.value < one.lost.high  # type: ignore[operator]
        # Schooling pays much alike everywhere: the error of a region that was left out is a few percent larger.
        assert 0.99 < one.value.value / one.inside < 1.08


def test_few_rows_a_missing_column_and_want_of_time_are_said() -> None:
    frame = pl.DataFrame({"x": np.arange(400.0), "group": ["many"] * 300 + ["some"] * 80 + ["few"] * 20})
    test, train, material, asked = world(LinearRegression(), frame, np.arange(400.0), ("x",))
    found, says = leave_groups_out(
        RMSE, test=test, train=train, material=material, columns=("group",), budget=Budget(0)
    )
    assert (found, asked) == ([], [])
    assert says[0] == "not left out by group, fewer than 30 test rows: few"
    assert says[1:] == [f"not left out by group, for want of time: {name}" for name in ("many", "some")]
    with pytest.raises(LoopError, match="the data have no column 'region'") as caught:
        leave_groups_out(RMSE, test=test, train=train, material=material, columns=("region",), budget=Budget(1))
    assert caught.value.remedy == "use one of x, group"


def test_the_future_is_not_known_when_its_past_is_trained_on() -> None:
    random = np.random.default_rng(0)
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(1200)]
    x = random.normal(size=1200)
    drift = np.linspace(0, 3, 1200)
    frame = pl.DataFrame({"x": x, "day": days})
    test, train, material, asked = world(
        LinearRegression(), frame, x + drift + 0.1 * random.normal(size=1200), ("x",), time="day", delay_s=86_400 * 20.0
    )
    del test
    (curve,), says = rolling_origin(RMSE, train=train, material=material, budget=Budget(600))
    assert says == []
    assert (curve.kind, len(curve.x)) == ("time", 5)
    assert curve.x == sorted(curve.x)
    moments = material.train_frame["day"]
    edges = np.quantile(moments.to_physical().to_numpy(), np.linspace(0, 1, 7)[1:-1], method="higher")
    for rows, start in zip(asked, edges, strict=True):
        assert moments.to_physical().to_numpy()[rows].max() <= start - 20
    # What drifts is measured too well by a random split: the mean of the past is far from the next part.
    within = float(np.sqrt(np.mean((train.answers.prediction - train.truth) ** 2)))
    assert curve.y[-1] > 1.5 * within
