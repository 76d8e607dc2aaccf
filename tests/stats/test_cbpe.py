"""Confidence-based estimates against scikit-learn's weighted metrics and published numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from perennial.stats import BinMismatch, OutOfRange, auc, fit_confidence, metric_sds, sampling_band
from perennial.stats.cbpe import Confidence, ExpectedSums
from tests.stats.employment import CHUNKS, Rows, employment

NAMES = ("roc_auc", "accuracy", "f1")


@pytest.fixture(scope="module")
def census(shared_data: Path) -> tuple[Rows, Rows]:
    return employment(shared_data)


@pytest.fixture(scope="module")
def fitted(census: tuple[Rows, Rows]) -> Confidence:
    return fit_confidence(census[0].probs, census[0].truth)


def by_sklearn(probs: np.ndarray, answered: np.ndarray, chances: np.ndarray) -> dict[str, float]:
    """Each row once for each class, weighted by the chance of that class."""
    n, k = probs.shape
    truth = np.repeat(np.arange(k), n)
    weight = chances.T.ravel()
    told, rows = np.tile(answered, k), np.tile(probs, (k, 1))
    found = {
        "accuracy": metrics.accuracy_score(truth, told, sample_weight=weight),
        "log_loss": metrics.log_loss(truth, rows, sample_weight=weight),
        "brier": np.average(((np.eye(k)[truth] - rows) ** 2).sum(axis=1), weights=weight),
    }
    if k == 2:
        scores = metrics.precision_recall_fscore_support(truth, told, average="binary", sample_weight=weight)
        found |= dict(zip(("precision", "recall", "f1"), scores[:3], strict=True))
        found["specificity"] = metrics.recall_score(truth, told, pos_label=0, sample_weight=weight)
        found["roc_auc"] = metrics.roc_auc_score(truth, rows[:, 1], sample_weight=weight)
        return found
    scores = metrics.precision_recall_fscore_support(truth, told, average="macro", sample_weight=weight)
    found |= dict(zip(("precision_macro", "recall_macro", "f1_macro"), scores[:3], strict=True))
    found["roc_auc"] = float(
        np.mean([metrics.roc_auc_score(truth == c, rows[:, c], sample_weight=weight) for c in range(k)])
    )
    return found


def test_all_metrics_of_two_classes_are_those_of_rows_used_twice(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    rows = census[1].chunk(27)
    found = fitted.sums(rows.probs, rows.answered).metrics()
    expected = by_sklearn(rows.probs, rows.answered, fitted.calibrated(rows.probs))
    assert found == pytest.approx(expected, abs=1e-8)


def test_all_metrics_of_three_classes_are_those_of_rows_used_three_times() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in probs])
    fitted = fit_confidence(probs[:2000], labels[:2000])
    now, answered = probs[2000:], probs[2000:].argmax(axis=1)
    found = fitted.sums(now, answered).metrics()
    expected = by_sklearn(now, answered, fitted.calibrated(now))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    realised = fitted.realised(now, answered, labels[2000:]).metrics()
    assert {name: found[name] for name in expected} == pytest.approx(
        {name: realised[name] for name in expected}, abs=0.03
    )


def test_known_labels_give_the_metrics_themselves(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    rows = census[1].chunk(3)
    found = fitted.realised(rows.probs, rows.answered, rows.truth).metrics()
    assert found == pytest.approx(by_sklearn(rows.probs, rows.answered, np.eye(2)[rows.truth]), abs=1e-4)
    weights = np.random.default_rng(0).random(len(rows.truth))
    weighted = fitted.realised(rows.probs, rows.answered, rows.truth, weights=weights).metrics()
    expected = by_sklearn(rows.probs, rows.answered, np.eye(2)[rows.truth] * weights[:, None])
    assert weighted == pytest.approx(expected, abs=1e-4)


def test_sums_of_shards_are_the_sums_of_all(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    rows = census[1].chunk(0)
    whole = fitted.sums(rows.probs, rows.answered)
    parts = [fitted.sums(rows.probs[i::3], rows.answered[i::3]) for i in range(3)]
    stored = [ExpectedSums.from_dict(part.as_dict()) for part in parts]
    assert (stored[0] + stored[1] + stored[2]).metrics() == pytest.approx(whole.metrics(), abs=1e-12)
    assert (whole - parts[0]).metrics() == pytest.approx((parts[1] + parts[2]).metrics(), abs=1e-12)
    again = Confidence.from_dict(fitted.as_dict())
    assert again.sums(rows.probs, rows.answered).metrics() == whole.metrics()


def test_sums_of_two_calibrations_do_not_add_up(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    rows = census[1].chunk(0)
    other = fit_confidence(rows.probs, rows.truth)
    with pytest.raises(BinMismatch):
        _ = fitted.sums(rows.probs, rows.answered) + other.sums(rows.probs, rows.answered)


def test_census_employment_is_estimated_as_well_as_published(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    """Mean error of AUC, accuracy and F1 over 42 chunks: .00404, .00514, .00656; the reference value as a constant
    .00690, .00874, .02605. The chunk of group quarters (27) is told as AUC .8368 where .8035 came true.
    """
    reference, after = census
    before = fitted.realised(reference.probs, reference.answered, reference.truth).metrics()
    errors, constant = [], []
    for number in range(CHUNKS):
        rows = after.chunk(number)
        told = fitted.sums(rows.probs, rows.answered).metrics()
        came = {
            "roc_auc": auc(rows.truth, rows.probs[:, 1]).estimate,
            "accuracy": metrics.accuracy_score(rows.truth, rows.answered),
            "f1": metrics.f1_score(rows.truth, rows.answered),
        }
        errors.append([told[name] - came[name] for name in NAMES])
        constant.append([before[name] - came[name] for name in NAMES])
        if number == 27:
            assert (round(told["roc_auc"], 4), round(came["roc_auc"], 4)) == (0.8368, 0.8035)
    found, without = np.abs(errors).mean(axis=0), np.abs(constant).mean(axis=0)
    print(f"\nmean error of CBPE over {CHUNKS} chunks: AUC {found[0]:.5f}, accuracy {found[1]:.5f}, F1 {found[2]:.5f}")
    print(f"the reference value as a constant: {without[0]:.5f}, {without[1]:.5f}, {without[2]:.5f}")
    assert found.round(5).tolist() == [0.00404, 0.00514, 0.00656]
    assert without.round(5).tolist() == [0.0069, 0.00874, 0.02605]


def test_a_rows_part_has_the_deviation_of_theory(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    reference = census[0]
    found = metric_sds(fitted, reference.probs, reference.answered, reference.truth, groups=500)
    right = float(reference.hits.mean())
    area = auc(reference.truth, reference.probs[:, 1])
    by_delong = (area.high - area.low) / (2 * 1.959964) * np.sqrt(area.n)
    assert found["accuracy"] == pytest.approx(np.sqrt(right * (1 - right)), rel=0.08)
    assert found["roc_auc"] == pytest.approx(by_delong, rel=0.08)
    assert found["log_loss"] == pytest.approx(
        float(np.log(reference.probs[np.arange(len(reference.truth)), reference.truth]).std()), rel=0.08
    )


def test_the_band_holds_what_came_true_while_nothing_changed(census: tuple[Rows, Rows], fitted: Confidence) -> None:
    reference, after = census
    sds = metric_sds(fitted, reference.probs, reference.answered, reference.truth)
    inside = []
    for number in [i for i in range(CHUNKS - 1) if i not in (26, 27, 28)]:
        rows = after.chunk(number)
        told = fitted.sums(rows.probs, rows.answered)
        came = fitted.realised(rows.probs, rows.answered, rows.truth).metrics()
        for name in NAMES:
            band = sampling_band(told.metrics()[name], sds[name], told.rows)
            inside.append(band.low <= came[name] <= band.high)
    assert np.mean(inside) > 0.97


def test_answers_decide_not_the_likelier_class() -> None:
    """A model whose threshold is 0.9 answers the second class rarely."""
    rng = np.random.default_rng(0)
    second = rng.random(5000)
    labels = rng.random(5000) < second
    probs = np.column_stack([1 - second, second])
    fitted = fit_confidence(probs, labels)
    told = fitted.sums(probs, second > 0.9).metrics()
    assert told["precision"] == pytest.approx(0.95, abs=0.02)
    assert told["recall"] == pytest.approx(0.19, abs=0.02)
    assert fitted.correctness(probs, second > 0.9).mean() == pytest.approx(told["accuracy"])


def test_rows_of_another_model_are_refused(fitted: Confidence) -> None:
    with pytest.raises(OutOfRange, match="classes"):
        fitted.sums(np.full((3, 3), 1 / 3), [0, 1, 2])
    with pytest.raises(OutOfRange, match="predictions"):
        fitted.sums([[0.5, 0.5]], [2])
