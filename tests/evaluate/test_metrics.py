"""Metrics beside those of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.metrics import METRICS, loss_of, measure, measure_on, metric_named, metrics_of, rows_of
from perennial.loop import require

Classified = Callable[..., HeldOut]
CLASSES = ("bird", "cat", "dog")
BINARY = ("no", "yes")


def value(name: str, truth: np.ndarray, answers: Answers) -> float:
    (metric,) = [metric for metric in METRICS if metric.name == name]
    if metric.sums is None:
        return measure(metric, truth, answers).estimate
    assert metric.why_not(truth, answers) is None
    whole = metric.sums(truth, answers, np.zeros(len(truth), dtype=np.int64), 1)
    return float(metric.of_means(whole[0] / len(truth)))


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
    median = reference.median_absolute_error(truth, prediction)
    assert value("median_absolute_error", truth, answers) == pytest.approx(median)
    if np.var(truth) > 1e-3:
        expected = reference.r2_score(truth, prediction)
        assert value("r2", truth, answers) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    if (np.abs(truth) > 1e-6).all():
        expected = reference.mean_absolute_percentage_error(truth, prediction)
        assert value("mape", truth, answers) == pytest.approx(expected)
    below = Answers(prediction=np.abs(prediction))
    expected = reference.root_mean_squared_log_error(np.abs(truth), np.abs(prediction))
    assert value("rmsle", np.abs(truth), below) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [BINARY, CLASSES])
def test_classification_metrics_are_those_of_scikit_learn(
    classified: Classified, seed: int, classes: tuple[str, ...]
) -> None:
    on = classified(seed, classes=classes)
    truth, table, predicted = on.truth, on.answers.probabilities, on.answers.prediction
    assert table is not None
    is_binary = len(classes) == 2
    expected = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "f1_macro": reference.f1_score(truth, predicted, average="macro"),
        "mcc": reference.matthews_corrcoef(truth, predicted),
        "log_loss": reference.log_loss(truth, table),
        "brier": reference.brier_score_loss(truth, table, scale_by_half=False),
        "roc_auc": reference.roc_auc_score(truth, table[:, 1] if is_binary else table, multi_class="ovr"),
        "average_precision": reference.average_precision_score(truth, table[:, 1] if is_binary else table),
    }
    if is_binary:
        expected["f1"] = reference.f1_score(truth, predicted)
        expected["precision"] = reference.precision_score(truth, predicted)
        expected["recall"] = reference.recall_score(truth, predicted)
    assert {metric.name for metric in metrics_of("classification", on)} == set(expected)
    for name, number in expected.items():
        assert value(name, truth, on.answers) == pytest.approx(number), name


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
@pytest.mark.parametrize("classes", [BINARY, CLASSES])
def test_the_linearised_ranking_metrics_spread_as_a_plain_bootstrap_does(
    classified: Classified, name: str, classes: tuple[str, ...]
) -> None:
    on = classified(3, rows=400, classes=classes)
    score = {"roc_auc": reference.roc_auc_score, "average_precision": reference.average_precision_score}[name]
    options: dict[str, Any] = {"multi_class": "ovr"} if name == "roc_auc" and len(classes) > 2 else {}
    table = on.answers.probabilities
    assert table is not None
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        rows = random.integers(400, size=400)
        drawn.append(score(on.truth[rows], table[rows, 1] if len(classes) == 2 else table[rows], **options))
    linear = rows_of(metric_named(name, "classification"), on.truth, on.answers)
    assert linear is not None
    assert linear.std() / 20 == pytest.approx(np.std(drawn), rel=0.12)
    found = measure_on(metric_named(name, "classification"), on)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.high - found.low) == pytest.approx(high - low, rel=0.2)


@pytest.mark.parametrize("prediction", [[3.0, 3.0, 3.0], [3.0, 4.0, 3.0]])
def test_r2_of_a_truth_that_does_not_vary_is_that_of_scikit_learn(prediction: list[float]) -> None:
    answers = Answers(prediction=np.array(prediction))
    assert value("r2", np.full(3, 3.0), answers) == reference.r2_score([3.0, 3.0, 3.0], prediction)


def test_f1_counts_a_class_that_is_only_answered() -> None:
    truth, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    answers = Answers(prediction=predicted, classes=("a", "b", "c", "never"))
    expected = reference.f1_score(truth, predicted, average="macro", zero_division=0)
    assert value("f1_macro", truth, answers) == pytest.approx(expected)


def test_a_label_that_the_model_does_not_know_had_no_probability() -> None:
    answers = Answers.of_arrays(["cat"], np.array([[0.1, 0.7, 0.2]]), CLASSES, "classification")
    on = HeldOut.of(["fish"], answers, "classification")
    assert (on.answers.classes, on.truth.tolist()) == ((*CLASSES, "fish"), [3])
    assert value("log_loss", on.truth, on.answers) == pytest.approx(-np.log(1e-15))
    assert value("brier", on.truth, on.answers) == pytest.approx(1 + 0.1**2 + 0.7**2 + 0.2**2)


def test_a_metric_that_rows_do_not_have_says_why(classified: Classified) -> None:
    truth = np.array([0.0, 1.0, 2.0])
    with pytest.raises(LoopError, match="mape cannot be computed: the truth is 0 in some rows"):
        measure(metric_named("mape", "regression"), truth, Answers(prediction=truth))
    with pytest.raises(LoopError, match="rmsle cannot be computed: the model answers below 0"):
        measure(metric_named("rmsle", "regression"), truth, Answers(prediction=truth - 1))
    on = classified(0)
    with pytest.raises(LoopError, match="f1 cannot be computed: there are not two classes"):
        measure_on(metric_named("f1", "classification"), on)
    one = HeldOut(truth=np.zeros(200, dtype=int), answers=on.answers)
    with pytest.raises(LoopError, match="roc_auc cannot be computed: all rows are of one class"):
        measure_on(metric_named("roc_auc", "classification"), one)
    without = Answers(prediction=on.answers.prediction, classes=CLASSES)
    with pytest.raises(LoopError, match="log_loss cannot be computed: the model gives no probabilities") as caught:
        measure(metric_named("log_loss", "classification"), on.truth, without)
    assert caught.value.remedy == "use one of accuracy, balanced_accuracy, f1_macro, mcc"


def test_the_positive_class_is_the_one_that_is_named(classified: Classified) -> None:
    on = classified(1, classes=BINARY)
    table = on.answers.probabilities
    assert table is not None
    other = Answers.of_arrays(None, table, BINARY, "classification", positive="no")
    predicted = on.answers.prediction
    assert value("recall", on.truth, other) == pytest.approx(reference.recall_score(on.truth, predicted, pos_label=0))
    expected = reference.average_precision_score(on.truth, table[:, 0], pos_label=0)
    assert value("average_precision", on.truth, other) == pytest.approx(expected)


def test_the_interval_covers_the_truth_and_needs_twenty_units() -> None:
    random = np.random.default_rng(0)
    error = random.normal(scale=2.0, size=1000)
    found = measure(metric_named("rmse", "regression"), np.zeros(1000), Answers(prediction=error))
    assert found.low < 2.0 < found.high
    # 19 people with many rows each are 19 units, not many.
    people = np.arange(1000) % 19
    few = measure(metric_named("rmse", "regression"), np.zeros(1000), Answers(prediction=error), people)
    assert (few.low, few.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    "name, truth", [("median_absolute_error", 0.6745), ("mae", 0.7979), ("rmse", 1.0), ("bias", 0.0)]
)
def test_intervals_of_a_regression_cover_as_often_as_they_say(name: str, truth: float) -> None:
    metric, random = metric_named(name, "regression"), np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        found = measure(metric, np.zeros(150), Answers(prediction=random.normal(size=150)))
        covered += found.low <= truth <= found.high
    assert covered >= 180  # of 200 at 95 %: fewer has a probability below 0.001 if the coverage is 94 %


def test_an_accuracy_of_one_is_not_beyond_doubt() -> None:
    truth = np.zeros(100, dtype=int)
    found = measure(metric_named("accuracy", "classification"), truth, Answers(prediction=truth.copy(), classes=BINARY))
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 100))  # Clopper-Pearson


def test_an_unknown_metric_is_answered_with_those_there_are() -> None:
    with pytest.raises(LoopError, match="no metric 'auc' for regression") as caught:
        metric_named("auc", "regression")
    assert "rmse, mae, r2, bias" in caught.value.remedy


def test_loss_is_squared_error_or_one_for_a_wrong_label() -> None:
    assert loss_of("regression", np.array([1.0, 2.0]), Answers(prediction=np.array([1.0, 4.0]))).tolist() == [0, 4]
    answers = Answers(prediction=np.array([0, 1]), classes=("a", "b"))
    assert loss_of("classification", np.array([0, 0]), answers).tolist() == [0, 1]
