"""Learning curves, training curves, and what they say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from perennial.evaluate.answers import Answers, HeldOut, Ints
from perennial.evaluate.curves import learning_curve, training_curves
from perennial.evaluate.material import Ask, Budget, Material
from perennial.evaluate.metrics import metric_named

RMSE = metric_named("rmse", "regression")


def world(model: Any, rows: int = 800) -> tuple[HeldOut, HeldOut, Material, list[Ints]]:
    """A wave with noise, the model fitted to it, and the rows that each retraining was given."""
    random = np.random.default_rng(0)
    x = random.uniform(-3, 3, size=(2 * rows, 1))
    y = np.sin(2 * x[:, 0]) + 0.2 * random.normal(size=2 * rows)
    train, test = pl.DataFrame({"x": x[:rows, 0]}), pl.DataFrame({"x": x[rows:, 0]})
    asked: list[Ints] = []

    def fit(positions: Ints) -> Ask:
        asked.append(positions)
        fitted = model.fit(train.to_numpy()[positions], y[:rows][positions])
        return lambda frame: Answers(prediction=fitted.predict(frame.to_numpy()))

    whole = fit(np.arange(rows))
    asked.clear()
    material = Material(train_frame=train, test_frame=test, inputs=("x",), ask=whole, fit=fit)
    on_test = HeldOut(truth=y[rows:], answers=whole(test))
    return on_test, HeldOut(truth=y[:rows], answers=whole(train)), material, asked


def test_a_tree_that_still_learns_says_so_and_parts_are_nested() -> None:
    test, train, material, asked = world(DecisionTreeRegressor(random_state=0, min_samples_leaf=20))
    curves, says = learning_curve(RMSE, test=test, train=train, material=material, budget=Budget(600))
    unseen, seen = curves
    assert unseen.x == seen.x == [80, 160, 320, 560, 800]
    assert unseen.y[0] > unseen.y[2] > unseen.y[-1] > seen.y[-1]
    assert unseen.y[-1] == pytest.approx(np.sqrt(np.mean((test.answers.prediction - test.truth) ** 2)))
    assert unseen.low[0] < unseen.y[0] < unseen.high[0]  # type: ignore[index]
    for smaller, larger in pairwise(asked):
        assert set(smaller.tolist()) < set(larger.tolist())
    assert says[0].startswith("more data would help: from 320 to 800 training rows rmse improves by ")


def test_a_line_has_learned_all_it_can() -> None:
    test, train, material, _ = world(LinearRegression())
    _, says = learning_curve(RMSE, test=test, train=train, material=material, budget=Budget(600))
    assert says[0].startswith("more data would hardly help: from 320 to 800 training rows")


def test_parts_that_do_not_fit_into_the_time_are_named() -> None:
    test, train, material, asked = world(LinearRegression())
    curves, says = learning_curve(RMSE, test=test, train=train, material=material, budget=Budget(0))
    assert asked == []
    assert curves == []
    assert [int(text.split()[2]) for text in says] == [80, 160, 320, 560]
    assert says[0].endswith("retraining would have gone beyond its time")


def test_a_persons_rows_stay_together() -> None:
    test, train, material, asked = world(LinearRegression())
    people = np.arange(800) % 50
    learning_curve(
        RMSE,
        test=test,
        train=HeldOut(truth=train.truth, answers=train.answers, clusters=people),
        material=material,
        budget=Budget(600),
    )
    assert len(asked[0]) == 5 * 16
    assert all(len(rows) == 16 * len(set(people[rows])) for rows in asked)


def test_boosting_beyond_its_best_iteration_is_named() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 5)), random.normal(size=300)
    model = GradientBoostingRegressor(n_estimators=200, learning_rate=0.3, random_state=0).fit(x[:150], y[:150])
    unseen = [float(np.mean((y[150:] - answer) ** 2)) for answer in model.staged_predict(x[150:])]
    curves, says = training_curves({"train mse": model.train_score_.tolist(), "validation_1 rmse": unseen})
    assert [curve.kind for curve in curves] == ["training", "training"]
    best = int(np.argmin(unseen)) + 1
    assert len(says) == 1
    assert says[0].startswith(f"training went beyond its best: validation_1 rmse is best at iteration {best} of 200 (")


@pytest.mark.parametrize(
    "recorded, is_named",
    [
        ({"loss": [3.0, 2.0, 1.5, 1.2, 1.1]}, False),
        ({"val_accuracy": [0.5, 0.8, 0.9, 0.91, 0.92]}, False),
        ({"val_accuracy": [0.5, 0.9, 0.8, 0.7, 0.6]}, True),
        ({"val_loss": [3.0, 1.0, 1.4, 1.9, 2.3]}, True),
        ({"val_loss": [3.0, 1.0, 1.01, 1.02, 1.01]}, False),  # a flat end is no harm
        ({"custom": [1.0, 2.0, 3.0, 4.0]}, False),  # it rises to its end, so it is better when high
        ({"loss": [float("nan"), 1.0, 2.0]}, False),
    ],
)
def test_lines_are_read_in_their_own_direction(recorded: dict[str, list[float]], is_named: bool) -> None:
    assert bool(training_curves(recorded)[1]) is is_named
