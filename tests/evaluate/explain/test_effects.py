"""Effects: exact where the model is additive, right where partial dependence is wrong, and as scikit-learn says."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.inspection import partial_dependence as scikit_learns
from sklearn.linear_model import LinearRegression

from perennial.evaluate.explain.effects import accumulated, partial_dependence


def _frame(rows: int = 4000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 1, rows)
    return pl.DataFrame({"a": a, "b": a + rng.normal(0, 0.02, rows), "n": rng.integers(0, 5, rows)})


def test_an_additive_linear_model_has_its_exact_slopes() -> None:
    frame = _frame()
    found = accumulated(
        lambda rows: (3 * rows["a"] - 2 * rows["b"] + rows["n"]).to_numpy(), frame, "a", of="y", intervals=20
    )
    grid = np.array(found.grid, dtype=float)
    assert len(grid) == 21
    assert np.diff(found.effect) / np.diff(grid) == pytest.approx(np.full(20, 3.0))
    assert sum(found.rows) == frame.height
    assert max(found.rows) - min(found.rows) <= 2
    middle = (np.array(found.effect)[1:] + np.array(found.effect)[:-1]) / 2
    assert middle @ np.array(found.rows) == pytest.approx(0.0, abs=1e-9)


def test_accumulated_effects_do_not_ask_about_rows_that_do_not_exist() -> None:
    frame = _frame()

    def answer(rows: pl.DataFrame) -> np.ndarray:
        # Linear where the data are (a close to b); far outside, where no row ever was, something absurd.
        a, b = rows["a"].to_numpy(), rows["b"].to_numpy()
        return a + np.where(np.abs(a - b) > 0.3, 50.0 * a, 0.0)

    ale = accumulated(answer, frame, "a", of="y")
    slopes = np.diff(ale.effect) / np.diff(np.array(ale.grid, dtype=float))
    assert slopes == pytest.approx(np.ones(20), abs=1e-6)
    coarse = frame.with_columns(pl.col("a").round(1))
    pdp = partial_dependence(answer, coarse, "a", of="y")
    wrong = (pdp.effect[-1] - pdp.effect[0]) / (float(pdp.grid[-1]) - float(pdp.grid[0]))
    assert wrong > 10


def test_a_square_has_its_published_form() -> None:
    # f = x1^2 + x1 x2 with x2 = x1: the local effect of x1 is 3 x1 dx, which accumulates to 1.5 x1^2.
    x = np.linspace(-1, 1, 20_001)
    frame = pl.DataFrame({"x1": x, "x2": x})
    found = accumulated(
        lambda rows: (rows["x1"] ** 2 + rows["x1"] * rows["x2"]).to_numpy(), frame, "x1", of="y", intervals=200
    )
    grid = np.array(found.grid, dtype=float)
    assert found.effect == pytest.approx(1.5 * grid**2 - 0.5, abs=0.01)


def test_partial_dependence_is_scikit_learns(fitted: Any, wages_1985: pl.DataFrame) -> None:
    table = wages_1985.select("wage", "education", "experience")
    predictor = fitted(LinearRegression(), table, "wage")
    frame = table.drop("wage")
    found = partial_dependence(
        lambda rows: np.asarray(predictor.answers(rows).values, dtype=np.float64), frame, "education", of="wage"
    )
    theirs = scikit_learns(
        predictor.scorer.model,
        frame.to_pandas().astype(float),
        ["education"],
        custom_values={"education": np.array(found.grid)},
    )
    mean = theirs["average"][0]
    assert found.effect == pytest.approx(mean - np.average(mean, weights=found.rows))


def test_categories_whole_numbers_and_times_have_effects() -> None:
    frame = pl.DataFrame(
        {
            "c": pl.Series(["x", "y", "y", None] * 100, dtype=pl.String),
            "flag": [True, False, False, True] * 100,
            "day": [dt.date(2024, 1, 1) + dt.timedelta(days=i % 50) for i in range(400)],
            "n": [i % 4 if i % 10 else None for i in range(400)],
        }
    )
    c = partial_dependence(lambda rows: (rows["c"] == "y").fill_null(False).cast(float).to_numpy(), frame, "c", of="p")
    assert (c.grid, c.rows) == (["x", "y"], [100, 200])
    assert c.effect == pytest.approx([-2 / 3, 1 / 3])
    flag = partial_dependence(lambda rows: rows["flag"].cast(float).to_numpy(), frame, "flag", of="p")
    assert flag.grid == ["false", "true"]
    day = accumulated(lambda rows: rows["day"].to_physical().cast(float).to_numpy(), frame, "day", of="p")
    assert day.grid[0] == "2024-01-01"
    assert day.grid[-1] == "2024-02-19"
    assert day.effect[-1] - day.effect[0] == pytest.approx(49)
    n = accumulated(lambda rows: rows["n"].cast(float).to_numpy() * 2, frame, "n", of="p")
    assert n.grid == [0.0, 1.0, 2.0, 3.0]
    assert np.diff(n.effect) == pytest.approx([2, 2, 2])
    assert sum(n.rows) == 400 - 40
