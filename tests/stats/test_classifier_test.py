"""The classifier two-sample test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from perennial.stats import OutOfRange, auc_null_sd, classifier_test


def test_null_deviation() -> None:
    assert f"{auc_null_sd(1000, 1000):.4f}" == "0.0129"


@pytest.mark.parametrize("n, m", [(1000, 1000), (300, 40)])
def test_null_deviation_is_that_of_simulated_scores(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    found = [classifier_test(rng.random(n), rng.random(m), min_rows=1).statistic for _ in range(800)]
    assert np.std(found) == pytest.approx(auc_null_sd(n, m), rel=0.08)
    assert np.mean(found) == pytest.approx(0.5, abs=0.003)


def test_statistic_is_the_area_and_p_values_are_normal_tails() -> None:
    rng = np.random.default_rng(1)
    r, c = rng.normal(size=400).round(1), rng.normal(0.4, 1, size=300).round(1)
    found = classifier_test(r, c)
    area = roc_auc_score(np.repeat([0, 1], [400, 300]), np.concatenate([r, c]))
    assert found.statistic == pytest.approx(area)
    assert found.effect == pytest.approx(area - 0.5)
    sd = math.sqrt(701 / (12 * 400 * 300))
    assert found.p_value == pytest.approx(float(stats.norm.sf((area - 0.55) / sd)), rel=1e-9)
    assert found.details["p_no_difference"] == pytest.approx(float(stats.norm.sf((area - 0.5) / sd)), rel=1e-9)
    assert found.interval is not None
    assert found.interval.low < area < found.interval.high
    assert found.decision == "shifted"


def scores(true_auc: float, n: int, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=n), rng.normal(math.sqrt(2) * stats.norm.ppf(true_auc), 1, size=m)


@pytest.mark.parametrize("n, m", [(500, 500), (8000, 2000)])
def test_at_the_tolerance_it_is_as_rare_as_alpha_at_every_size(n: int, m: int) -> None:
    rng = np.random.default_rng(2)
    at = [classifier_test(*scores(0.55, n, m, rng), alpha=0.05).decision == "shifted" for _ in range(400)]
    assert np.mean(at) <= 0.085
    none = [classifier_test(*scores(0.5, n, m, rng), alpha=0.05).decision == "shifted" for _ in range(200)]
    assert np.mean(none) <= 0.01
    far = [classifier_test(*scores(0.65, n, m, rng), alpha=0.05).decision == "shifted" for _ in range(100)]
    assert np.mean(far) >= 0.95


def test_too_few_rows_are_undecided() -> None:
    found = classifier_test([0.1] * 49, [0.9] * 500)
    assert found.decision == "undecided"
    assert found.p_value is None
    assert "at least 50" in found.reasons[0]


def test_separated_windows_are_certain() -> None:
    found = classifier_test([0.1] * 100, [0.9] * 100)
    assert (found.statistic, found.decision) == (1.0, "shifted")
    assert 0.0 < (found.p_value or 0.0) < 1e-20


def test_wrong_settings_are_refused() -> None:
    for wrong in (
        lambda: classifier_test([0.1] * 100, [math.nan] * 100),
        lambda: classifier_test([0.1] * 100, [0.1] * 100, tolerance_auc=0.4),
        lambda: classifier_test([0.1] * 100, [0.1] * 100, alpha=1.0),
        lambda: auc_null_sd(0, 5),
    ):
        with pytest.raises(OutOfRange):
            wrong()
