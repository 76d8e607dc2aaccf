"""Calibrators against scikit-learn and against what a fit must satisfy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from perennial.stats import LengthMismatch, NothingToCount, OutOfRange
from perennial.stats.calibrators import (
    IsotonicMap,
    SoftmaxCalibration,
    bias_corrected_temperature,
    isotonic,
    temperature,
)


def sklearn_isotonic(x, y, w=None) -> IsotonicRegression:
    return IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=w)


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.floats(-5, 5, allow_subnormal=False), st.integers(1, 9)),
        min_size=1,
        max_size=60,
    )
)
def test_isotonic_regression_is_that_of_scikit_learn_with_ties_and_weights(rows: list[tuple[int, float, int]]) -> None:
    x, y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    asked = np.linspace(-1, 13, 141)
    expected = sklearn_isotonic(x, y, w).predict(asked)
    assert isotonic(x, y, weights=w)(asked) == pytest.approx(expected, abs=1e-9)


def test_a_million_noisy_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(1_000_000)
    y = (rng.random(1_000_000) < x**2).astype(float)
    asked = np.linspace(0, 1, 1001)
    assert isotonic(x, y)(asked) == pytest.approx(sklearn_isotonic(x, y).predict(asked), abs=1e-12)


def test_one_low_value_at_the_end_of_a_long_rise_is_no_trap() -> None:
    """Each pass over the blocks joins one more: the stack has to finish it."""
    y = np.append(np.arange(50_000.0), -1e12)
    assert len(np.unique(isotonic(np.arange(50_001.0), y).values)) == 1
    y[-1] = 40_000.0
    expected = sklearn_isotonic(np.arange(50_001.0), y).predict(np.arange(50_001.0))
    assert isotonic(np.arange(50_001.0), y)(np.arange(50_001.0)) == pytest.approx(expected)


def test_a_row_without_weight_changes_nothing() -> None:
    with_row = isotonic([0.1, 0.2, 0.3], [0.0, 9.0, 1.0], weights=[1, 0, 1])
    assert with_row.as_dict() == isotonic([0.1, 0.3], [0.0, 1.0]).as_dict()


def test_an_isotonic_map_comes_back_from_its_dict() -> None:
    fitted = isotonic([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    again = IsotonicMap.from_dict(fitted.as_dict())
    assert again([0.0, 0.15, 0.25, 0.9]).tolist() == fitted([0.0, 0.15, 0.25, 0.9]).tolist()


def test_isotonic_regression_refuses_what_means_nothing() -> None:
    with pytest.raises(LengthMismatch):
        isotonic([0.1, 0.2], [1.0])
    with pytest.raises(OutOfRange, match="weights"):
        isotonic([0.1, 0.2], [0.0, 1.0], weights=[1.0, -1.0])
    with pytest.raises(NothingToCount):
        isotonic([0.1, 0.2], [0.0, 1.0], weights=[0.0, 0.0])


def two_classes(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers twice as sure as they should be, and off to one side."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-(0.5 * logit - 0.7)))).astype(int)
    second = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - second, second]), labels


def test_of_two_classes_it_is_logistic_regression_on_the_log_odds() -> None:
    probs, labels = two_classes(5000)
    found = bias_corrected_temperature(probs, labels)
    odds = np.log(probs[:, 1] / probs[:, 0])[:, None]
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(odds, labels)
    assert found.scale == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert found.bias[1] - found.bias[0] == pytest.approx(theirs.intercept_[0], abs=1e-4)
    plain = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(odds, labels)
    assert temperature(probs, labels).scale == pytest.approx(plain.coef_[0, 0], abs=1e-4)


def test_weights_count_as_repeated_rows() -> None:
    probs, labels = two_classes(400)
    times = np.random.default_rng(1).integers(0, 4, 400)
    by_weight = bias_corrected_temperature(probs, labels, weights=times)
    by_rows = bias_corrected_temperature(np.repeat(probs, times, axis=0), np.repeat(labels, times))
    assert (by_weight.scale, *by_weight.bias) == pytest.approx((by_rows.scale, *by_rows.bias), abs=1e-6)


def test_of_many_classes_the_maximum_is_reached() -> None:
    """Where the gradient is 0, mean probabilities are the shares of the classes, and so are the moments of ln p."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 5)) * 2
    chances = np.exp(0.6 * logits + [0.0, 0.5, -0.5, 1.0, 0.0])
    labels = np.array([rng.choice(5, p=row / row.sum()) for row in chances])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = bias_corrected_temperature(probs, labels)
    fitted = found(probs)
    hit = np.eye(5)[labels]
    assert fitted.mean(axis=0) == pytest.approx(hit.mean(axis=0), abs=1e-5)
    assert float(((fitted - hit) * np.log(probs)).sum(axis=1).mean()) == pytest.approx(0.0, abs=1e-4)
    assert found.scale == pytest.approx(0.6, abs=0.05)


def test_a_fit_from_elsewhere_ends_at_the_same_place() -> None:
    probs, labels = two_classes(2000)
    cold = bias_corrected_temperature(probs, labels)
    warm = bias_corrected_temperature(probs, labels, start=SoftmaxCalibration(3.0, np.array([1.0, -1.0]), "elsewhere"))
    assert (warm.scale, *warm.bias) == pytest.approx((cold.scale, *cold.bias), abs=1e-5)


def test_separated_classes_leave_the_scale_finite() -> None:
    probs = np.array([[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50)
    found = bias_corrected_temperature(probs, [0] * 50 + [1] * 50)
    assert 1.0 < found.scale < 1000.0
    assert np.isfinite(found(probs)).all()


def test_probabilities_that_tell_the_opposite_become_shares() -> None:
    probs = np.array([[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50)
    found = bias_corrected_temperature(probs, [1] * 50 + [0] * 50)
    assert found(probs)[0] == pytest.approx([0.5, 0.5], abs=0.01)


def test_probabilities_have_to_be_some() -> None:
    with pytest.raises(OutOfRange, match="probs"):
        temperature([[0.5, 0.9]], [0])
    with pytest.raises(OutOfRange, match="probs"):
        temperature([[float("nan"), 0.5]], [0])
    with pytest.raises(OutOfRange, match="labels"):
        temperature([[0.5, 0.5]], [2])
