"""Two models on the same rows, in the unit of the metric that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as reference

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.compare import compare, compare_slices, compared_by, comparison, disagreement
from perennial.evaluate.metrics import METRICS, measure, metric_named
from perennial.stats.mcnemar import mcnemar

Classified = Callable[..., HeldOut]
BINARY, CLASSES = ("no", "yes"), ("bird", "cat", "dog")


@pytest.mark.parametrize("name", [metric.name for metric in METRICS if metric.task == "regression"])
def test_comparing_regressions_favours_the_smaller_error(name: str) -> None:
    random = np.random.default_rng(1)
    truth = 5 + np.abs(random.normal(size=400))
    good, bad = (Answers(prediction=truth + random.normal(scale=sd, size=400)) for sd in (0.3, 0.8))
    metric = metric_named(name, "regression")
    found = compare(metric, truth, bad, good, margin=0.0)
    assert found.decision == "better"
    assert compare(metric, truth, good, bad, margin=0.0).decision == "inferior"
    if compared_by(metric) == name:
        gain = measure(metric, truth, good).estimate - measure(metric, truth, bad).estimate
        assert found.effect == pytest.approx(gain if metric.higher_is_better else -gain)


@pytest.mark.parametrize("classes", [BINARY, CLASSES])
@pytest.mark.parametrize("name", [metric.name for metric in METRICS if metric.task == "classification"])
def test_comparing_classifications_favours_the_better_answers(
    classified: Classified, name: str, classes: tuple[str, ...]
) -> None:
    metric, wild = metric_named(name, "classification"), classified(0, rows=400, classes=classes)
    if metric.why_not(wild.truth, wild.answers) is not None:
        assert len(classes) == 3
        assert name in {"f1", "precision", "recall"}
        return
    sure = np.full((400, len(classes)), 0.1 / (len(classes) - 1))
    sure[np.arange(400), wild.truth] = 0.9
    good = Answers.of_arrays(None, sure, classes, "classification")
    found = compare(metric, wild.truth, wild.answers, good, margin=0.0)
    gain = measure(metric, wild.truth, good).estimate - measure(metric, wild.truth, wild.answers).estimate
    assert found.decision == "better"
    assert found.effect == pytest.approx(gain if metric.higher_is_better else -gain)
    assert compare(metric, wild.truth, good, wild.answers, margin=0.0).decision == "inferior"
    assert compare(metric, wild.truth, good, good, margin=0.01).decision == "non-inferior"


def test_the_champion_may_order_its_classes_differently(classified: Classified) -> None:
    on = classified(2)
    table = on.answers.probabilities
    assert table is not None
    turned = Answers.of_arrays(on.answers.labels(), table[:, ::-1], CLASSES[::-1], "classification")
    for name in ("accuracy", "log_loss", "f1_macro", "roc_auc"):
        found = compare(metric_named(name, "classification"), on.truth, turned, on.answers, margin=0.01)
        assert found.effect == pytest.approx(0, abs=1e-12)
    assert disagreement(turned, on.answers) == 0.0


def test_auc_is_compared_by_delong_and_accuracy_has_mcnemar(classified: Classified) -> None:
    on, other = classified(0, classes=BINARY), classified(7, classes=BINARY, skill=0.2)
    found = compare(metric_named("roc_auc", "classification"), on.truth, other.answers, on.answers, margin=0.02)
    assert found.method == "paired AUC by DeLong"
    a, b = (part.answers.probabilities[:, 1] for part in (other, on))  # type: ignore[index]
    assert found.effect == pytest.approx(reference.roc_auc_score(on.truth, b) - reference.roc_auc_score(on.truth, a))
    accuracy = metric_named("accuracy", "classification")
    found = compare(accuracy, on.truth, other.answers, on.answers, margin=0.0)
    right, before = on.answers.prediction == on.truth, other.answers.prediction == on.truth
    exact = mcnemar(int((before & ~right).sum()), int((right & ~before).sum()))
    assert found.p_value == exact.p_value
    people = np.arange(len(on)) % 50
    assert compare(accuracy, on.truth, other.answers, on.answers, margin=0.0, clusters=people).p_value is None


def test_every_protected_slice_is_judged_at_the_level_that_holm_leaves_it() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=2000)
    group = np.arange(2000) % 4
    champion = Answers(prediction=truth + random.normal(scale=0.5, size=2000))
    worse = np.where(group == 3, 1.0, 0.5)
    challenger = Answers(prediction=truth + random.normal(size=2000) * worse)
    on = HeldOut(truth=truth, answers=challenger)
    slices = {str(code): group == code for code in range(4)} | {"few": np.arange(2000) < 29}
    found = compare_slices(metric_named("rmse", "regression"), on, champion, slices, margin=0.12)
    assert list(found) == ["0", "1", "2", "3"]
    assert found["3"].decision == "inferior"
    assert {found[name].decision for name in "012"} == {"non-inferior"}
    levels = [finding.interval.level for finding in found.values()]  # type: ignore[union-attr]
    assert min(levels) >= 0.95
    assert max(levels) == pytest.approx(1 - 0.05 / 4)


def test_equal_models_are_seldom_called_inferior_in_any_of_ten_slices() -> None:
    random, wrong = np.random.default_rng(1), 0
    metric = metric_named("mae", "regression")
    for _ in range(60):
        truth = np.zeros(600)
        on = HeldOut(truth=truth, answers=Answers(prediction=random.normal(size=600)))
        champion = Answers(prediction=random.normal(size=600))
        slices = {str(code): np.arange(600) % 10 == code for code in range(10)}
        found = compare_slices(metric, on, champion, slices, margin=0.0)
        wrong += any(finding.decision == "inferior" for finding in found.values())
    # One-sided at 2.5 % for all slices together; without Holm it would be 10 * 2.5 % = 22 %, about 13.
    assert wrong <= 6


def test_a_comparison_is_stored_with_its_sentence(classified: Classified) -> None:
    on, other = classified(0, classes=BINARY, skill=3.0), classified(7, classes=BINARY, skill=0.2)
    metric = metric_named("accuracy", "classification")
    found = compare(metric, on.truth, other.answers, on.answers, margin=0.01)
    stored = comparison(metric, found, "version 7", 0.01)
    assert stored.says.startswith("better against version 7: accuracy improves by 0.")
    assert (stored.decision, stored.margin, stored.rows) == ("better", 0.01, 200)
    assert stored.low is not None
    assert stored.low > 0
