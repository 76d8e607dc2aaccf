"""Metrics beside those of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from perennial.errors import DataError, LoopError
from perennial.evaluate.answers import Answers, constant_answers
from perennial.evaluate.compare import compare
from perennial.evaluate.metrics import METRICS, loss_of, measure, metric_named, metrics_of
from perennial.loop import require

CLASSES = ("bird", "cat", "dog")


def value(name: str, truth: np.ndarray, answers: Answers) -> float:
    (metric,) = [metric for metric in METRICS if metric.name == name]
    return float(metric.of_means(metric.rows(truth, answers).mean(axis=0)))


def classified(seed: int, rows: int = 200, classes: tuple[str, ...] = CLASSES) -> tuple[np.ndarray, Answers]:
    random = np.random.default_rng(seed)
    table = random.dirichlet(np.ones(len(classes)), size=rows)
    truth = np.array(classes, dtype=object)[random.integers(len(classes), size=rows)]
    prediction = np.array(classes, dtype=object)[table.argmax(axis=1)]
    return truth, Answers(prediction=prediction, probabilities=table, classes=classes)


def test_the_names_are_those_that_a_loop_may_require() -> None:
    assert {metric.name: metric.task for metric in METRICS} == dict(require.METRICS)


@given(
    pair=st.integers(2, 40).flatmap(
        lambda rows: st.tuples(*[arrays.arrays(np.float64, rows, elements=st.floats(-100, 100, width=32))] * 2)
    )
)
def test_regression_metrics_are_those_of_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    answers = Answers(prediction=prediction)
    assert value("rmse", truth, answers) == pytest.approx(reference.root_mean_squared_error(truth, prediction))
    assert value("mae", truth, answers) == pytest.approx(reference.mean_absolute_error(truth, prediction))
    assert value("bias", truth, answers) == pytest.approx(np.mean(prediction - truth), abs=1e-9)
    if np.var(truth) > 1e-3:
        expected = reference.r2_score(truth, prediction)
        assert value("r2", truth, answers) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_are_those_of_scikit_learn(seed: int) -> None:
    truth, answers = classified(seed)
    shown, table = truth.astype(str), answers.probabilities
    predicted = answers.prediction.astype(str)
    assert value("accuracy", truth, answers) == pytest.approx(reference.accuracy_score(shown, predicted))
    assert value("f1_macro", truth, answers) == pytest.approx(reference.f1_score(shown, predicted, average="macro"))
    assert value("log_loss", truth, answers) == pytest.approx(reference.log_loss(shown, table, labels=CLASSES))
    brier = reference.brier_score_loss(shown, table, labels=CLASSES, scale_by_half=False)
    assert value("brier", truth, answers) == pytest.approx(brier)


@pytest.mark.parametrize("prediction", [[3.0, 3.0, 3.0], [3.0, 4.0, 3.0]])
def test_r2_of_a_truth_that_does_not_vary_is_that_of_scikit_learn(prediction: list[float]) -> None:
    answers = Answers(prediction=np.array(prediction))
    assert value("r2", np.full(3, 3.0), answers) == reference.r2_score([3.0, 3.0, 3.0], prediction)


def test_f1_counts_a_class_that_is_only_answered() -> None:
    truth = np.array(["a", "a", "b"], dtype=object)
    answers = Answers(prediction=np.array(["a", "c", "b"], dtype=object))
    expected = reference.f1_score(truth.astype(str), answers.prediction.astype(str), average="macro", zero_division=0)
    assert value("f1_macro", truth, answers) == pytest.approx(expected)


def test_a_label_that_the_model_does_not_know_had_no_probability() -> None:
    truth = np.array(["fish"], dtype=object)
    answers = Answers(
        prediction=np.array(["cat"], dtype=object), probabilities=np.array([[0.1, 0.7, 0.2]]), classes=CLASSES
    )
    assert value("log_loss", truth, answers) == pytest.approx(-np.log(1e-15))
    assert value("brier", truth, answers) == pytest.approx(1 + 0.1**2 + 0.7**2 + 0.2**2)


@pytest.mark.parametrize("labels", [(False, True), (0, 1), (0.5, 1.5), ("no", "yes")])
def test_labels_of_any_kind_find_their_probability(labels: tuple[Any, Any]) -> None:
    truth = np.array([labels[1], labels[0], labels[1]])
    outputs = [
        {"prediction": labels[p > 0.5], "probabilities": {str(labels[0]): 1 - p, str(labels[1]): p}}
        for p in (0.8, 0.4, 0.3)
    ]
    answers = Answers.of(outputs, "classification")
    assert value("accuracy", truth, answers) == pytest.approx(2 / 3)
    assert value("log_loss", truth, answers) == pytest.approx(-np.mean(np.log([0.8, 0.6, 0.3])))


def test_F18_a_row_without_an_answer_is_named_and_never_taken_for_a_label() -> None:
    outputs = [{"prediction": 1.0}, {"prediction": None, "error": "ValueError: no"}]
    for task in ("regression", "classification"):
        with pytest.raises(DataError, match="no answer on row 1: ValueError: no"):
            Answers.of(outputs, task)


def test_metrics_that_need_probabilities_are_left_out_without_them() -> None:
    truth, answers = classified(0)
    without = Answers(prediction=answers.prediction)
    assert [metric.name for metric in metrics_of("classification", without)] == ["accuracy", "f1_macro"]
    assert [metric.name for metric in metrics_of("classification", answers)][2:] == ["log_loss", "brier"]
    assert len(metrics_of("regression", without)) == 4
    assert truth.shape == (200,)


def test_the_interval_covers_the_truth_and_needs_twenty_units() -> None:
    random = np.random.default_rng(0)
    error = random.normal(scale=2.0, size=1000)
    found = measure(metric_named("rmse", "regression"), np.zeros(1000), Answers(prediction=error))
    assert found.low < 2.0 < found.high
    # 19 people with many rows each are 19 units, not many.
    people = np.arange(1000) % 19
    few = measure(metric_named("rmse", "regression"), np.zeros(1000), Answers(prediction=error), people)
    assert (few.low, few.high) == (-np.inf, np.inf)


def test_an_unknown_metric_is_answered_with_those_there_are() -> None:
    with pytest.raises(LoopError, match="no metric 'auc' for regression") as caught:
        metric_named("auc", "regression")
    assert "rmse, mae, r2, bias" in caught.value.remedy


def test_loss_is_squared_error_or_one_for_a_wrong_label() -> None:
    assert loss_of("regression", np.array([1.0, 2.0]), Answers(prediction=np.array([1.0, 4.0]))).tolist() == [0, 4]
    answers = Answers(prediction=np.array(["a", "b"], dtype=object))
    assert loss_of("classification", np.array(["a", "a"]), answers).tolist() == [0, 1]


def test_the_trivial_baseline_is_the_mean_or_the_most_frequent_label() -> None:
    assert constant_answers(np.array([1.0, 2.0, 6.0]), 2, "regression").prediction.tolist() == [3.0, 3.0]
    answers = constant_answers(np.array([True, True, False, True]), 2, "classification")
    assert answers.prediction.tolist() == ["True", "True"]
    assert (answers.classes, answers.probabilities.tolist()) == (("False", "True"), [[0.25, 0.75]] * 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [metric.name for metric in METRICS if metric.task == "regression"])
def test_comparing_regressions_favours_the_smaller_error(name: str) -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=400)
    good, bad = (Answers(prediction=truth + random.normal(scale=sd, size=400)) for sd in (0.3, 0.8))
    metric = metric_named(name, "regression")
    assert compare(metric, truth, bad, good, margin=0.0).decision == "better"
    assert compare(metric, truth, good, bad, margin=0.0).decision == "inferior"
    if name in {"rmse", "mae", "r2"}:
        found = compare(metric, truth, bad, good, margin=0.0)
        gain = value(name, truth, good) - value(name, truth, bad)
        assert found.effect == pytest.approx(gain if metric.higher_is_better else -gain)


@pytest.mark.parametrize("name", [metric.name for metric in METRICS if metric.task == "classification"])
def test_comparing_classifications_favours_the_better_answers(name: str) -> None:
    truth, wild = classified(0)
    sure = np.where(truth[:, None] == np.array(CLASSES), 0.8, 0.1)
    good = Answers(prediction=truth, probabilities=sure, classes=CLASSES)
    metric = metric_named(name, "classification")
    assert compare(metric, truth, wild, good, margin=0.0).decision == "better"
    assert compare(metric, truth, good, wild, margin=0.0).decision == "inferior"
    assert compare(metric, truth, good, good, margin=0.01).decision == "non-inferior"
