"""A model measured on rows it has not seen, on those it was fitted to, and beside the trivial baseline."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.evaluation import Evaluation, evaluate, main_metric
from perennial.types import canonical_json


def world(seed: int, rows: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    return x, slope * x[:, 0] + random.normal(size=rows)


def part(model: object, x: np.ndarray, y: np.ndarray) -> HeldOut:
    return HeldOut(truth=y, answers=Answers(prediction=model.predict(x)))  # type: ignore[attr-defined]


def found(model: object, slope: float = 1.0) -> Evaluation:
    x, y = world(0, 400, slope)
    model.fit(x, y)  # type: ignore[attr-defined]
    test = part(model, *world(1, 200, slope))
    return evaluate("regression", test=test, train=part(model, x, y), split="the newest 200 rows")


def test_a_sound_model_beats_the_baseline_and_does_not_overfit() -> None:
    result = found(LinearRegression())
    assert result.metric == main_metric("regression") == "rmse"
    rmse = result.test["rmse"]
    assert rmse.low is not None
    assert rmse.high is not None
    assert rmse.low < 1.0 < rmse.high
    assert rmse.rows == 200
    assert result.baseline["rmse"].value > 1.2
    assert result.saved_over_baseline["decision"] == "better"
    assert result.saved_over_baseline["effect"] == pytest.approx(result.baseline["rmse"].value - rmse.value)
    assert result.overfits is None
    assert msgspec.json.decode(msgspec.json.encode(result), type=Evaluation) == result
    canonical_json(msgspec.to_builtins(result))


def test_a_model_that_learned_its_rows_by_heart_is_named() -> None:
    result = found(RandomForestRegressor(n_estimators=20, random_state=0))
    assert result.overfits is not None
    ratio = (result.test["rmse"].value / result.train["rmse"].value) ** 2
    assert f"is {ratio:.1f} times that on the training rows" in result.overfits


def test_a_gap_that_may_be_chance_is_not_called_overfitting() -> None:
    random = np.random.default_rng(0)
    train = HeldOut(truth=np.zeros(25), answers=Answers(prediction=random.normal(scale=1.0, size=25)))
    test = HeldOut(truth=np.zeros(25), answers=Answers(prediction=train.answers.prediction * 1.3))
    result = evaluate("regression", test=test, train=train, split="few rows")
    assert (result.test["rmse"].value / result.train["rmse"].value) ** 2 > 1.5
    assert result.overfits is None


def test_few_rows_have_a_value_and_no_interval() -> None:
    few = HeldOut(truth=np.arange(5.0), answers=Answers(prediction=np.zeros(5)))
    result = evaluate("regression", test=few, train=few, split="five rows")
    assert (result.test["mae"].value, result.test["mae"].low, result.test["mae"].high) == (2.0, None, None)
    canonical_json(msgspec.to_builtins(result))


def test_the_same_rows_give_the_same_evaluation() -> None:
    assert found(LinearRegression()) == found(LinearRegression())


def test_rows_of_one_person_are_one_unit() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 10)
    error = random.normal(size=40)[people] + 0.1 * random.normal(size=400)
    alone = HeldOut(truth=np.zeros(400), answers=Answers(prediction=error))
    together = HeldOut(truth=np.zeros(400), answers=Answers(prediction=error), clusters=people)
    narrow, wide = (evaluate("regression", test=part, train=part, split="").test["rmse"] for part in (alone, together))
    assert narrow.value == pytest.approx(wide.value)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)  # type: ignore[operator]


def test_a_classification_is_measured_by_its_labels() -> None:
    truth = ["a", "b"] * 50
    good = HeldOut.of(truth, Answers.of_arrays(truth, None, ("a", "b"), "classification"), "classification")
    result = evaluate("classification", test=good, train=good, split="")
    assert (result.metric, result.test["accuracy"].value) == ("accuracy", 1.0)
    assert result.baseline["accuracy"].value == 0.5
    assert "log_loss" not in result.test
    assert {"accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall", "mcc"} == set(result.test)
    assert result.overfits is None
