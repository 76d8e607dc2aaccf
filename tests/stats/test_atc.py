"""Baselines that carry one number over: by hand, and where their assumption holds exactly."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.stats import LengthMismatch, atc_accuracy, atc_threshold, doc_accuracy


def test_on_the_reference_both_tell_its_accuracy() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 1000)
    hits = rng.random(1000) < sure
    assert atc_accuracy(sure, atc_threshold(sure, hits)) == pytest.approx(hits.mean())
    assert doc_accuracy(sure, hits, sure) == pytest.approx(hits.mean())


def test_where_a_threshold_tells_right_from_wrong_atc_is_exact_under_any_shift_of_scores() -> None:
    rng = np.random.default_rng(0)
    before, now = rng.beta(4, 2, 5000), rng.beta(2, 4, 5000)
    threshold = atc_threshold(before, before > 0.6)
    assert atc_accuracy(now, threshold) == pytest.approx(np.mean(now > 0.6), abs=1e-3)


def test_a_model_that_is_never_right_has_accuracy_0() -> None:
    assert atc_accuracy([0.5, 0.9], atc_threshold([0.5, 0.9], [0, 0])) == 0.0


def test_the_difference_of_confidences_by_hand() -> None:
    assert doc_accuracy([0.9, 0.7], [1, 0], [0.7, 0.7]) == pytest.approx(0.4)
    assert doc_accuracy([1.0, 1.0], [0, 0], [0.5]) == 0.0
    with pytest.raises(LengthMismatch):
        doc_accuracy([0.9, 0.7], [1], [0.7])
