"""Predicted probabilities beside what came true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.calibration import brier_parts, calibration

Classified = Callable[..., HeldOut]


def binary(p: np.ndarray, hits: np.ndarray, clusters: np.ndarray | None = None) -> HeldOut:
    answers = Answers.of_arrays(None, np.column_stack([1 - p, p]), ("no", "yes"), "classification")
    return HeldOut(truth=hits.astype(np.int64), answers=answers, clusters=clusters)


def test_the_bins_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    p = random.beta(2, 3, size=5000)
    hits = random.random(5000) < p**1.5
    (found,) = calibration("classification", binary(p, hits))
    true, predicted = calibration_curve(hits, p, n_bins=10, strategy="quantile")
    assert [row.observed for row in found.bins] == pytest.approx(true)
    assert [row.predicted for row in found.bins] == pytest.approx(predicted)
    assert found.of == "yes"
    assert found.error == pytest.approx(np.mean(np.abs(true - predicted)))  # equal mass: a plain mean
    assert sum(row.rows for row in found.bins) == 5000


def test_intervals_cover_what_is_true_and_a_wrong_probability_stands_out() -> None:
    random = np.random.default_rng(1)
    p = random.uniform(size=20_000)
    (honest,) = calibration("classification", binary(p, random.random(20_000) < p))
    covered = [row.observed_low <= row.predicted <= row.observed_high for row in honest.bins]
    assert sum(covered) >= 8
    (bold,) = calibration("classification", binary(p, random.random(20_000) < 0.5 + 0.5 * (p - 0.5)))
    assert bold.error > 5 * honest.error
    assert bold.bins[0].observed_low > bold.bins[0].predicted


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_parts_of_the_brier_score_add_up_to_it(rows: list[tuple[float, bool, int]]) -> None:
    p, hits, bins = (np.array(column) for column in zip(*rows, strict=True))
    parts = brier_parts(p, hits.astype(float), bins)
    whole = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert whole == pytest.approx(parts["brier"], abs=1e-12)
    assert parts["brier"] == pytest.approx(np.mean((p - hits) ** 2))


def test_predictions_of_a_few_values_have_murphys_three_parts_and_no_more() -> None:
    random = np.random.default_rng(2)
    p = random.choice([0.1, 0.4, 0.8], size=3000)
    (found,) = calibration("classification", binary(p, random.random(3000) < p))
    assert len(found.bins) == 3
    assert found.parts is not None
    assert found.parts["within_bins"] == pytest.approx(0, abs=1e-15)


def test_more_than_two_classes_are_judged_by_the_most_probable(classified: Classified) -> None:
    on = classified(0, rows=3000)
    (found,) = calibration("classification", on)
    table = on.answers.probabilities
    assert table is not None
    assert found.of == "most probable class"
    mean = sum(row.rows * row.observed for row in found.bins) / 3000
    assert mean == pytest.approx((table.argmax(axis=1) == on.truth).mean())


def test_a_regression_is_calibrated_where_the_mean_truth_is_the_prediction() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=4000)
    truth = x + random.normal(size=4000)
    (honest,) = calibration("regression", HeldOut(truth=truth, answers=Answers(prediction=x)))
    (bold,) = calibration("regression", HeldOut(truth=truth, answers=Answers(prediction=2 * x)))
    assert honest.error < 0.1 < 0.6 < bold.error
    assert honest.parts is None
    assert all(row.observed_low <= row.observed <= row.observed_high for row in honest.bins)


def test_rows_of_one_person_are_one_witness() -> None:
    random = np.random.default_rng(4)
    people = np.repeat(np.arange(100), 20)
    p = np.full(2000, 0.5)
    hits = (random.random(100) < 0.5)[people]
    (alone,) = calibration("classification", binary(p, hits))
    (together,) = calibration("classification", binary(p, hits, people))
    narrow, wide = (found.bins[0].observed_high - found.bins[0].observed_low for found in (alone, together))
    assert wide > 3 * narrow


def test_without_probabilities_or_with_few_rows_there_is_none(classified: Classified) -> None:
    on = classified(0, rows=99)
    assert calibration("classification", on) == []
    without = HeldOut(truth=np.zeros(200, int), answers=Answers(prediction=np.zeros(200, int), classes=("a", "b")))
    assert calibration("classification", without) == []
