"""The threshold of confidence: its exact bound, and that it is kept as often as is promised."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from perennial.stats import LengthMismatch, OutOfRange, clopper_pearson, risk_threshold


def test_no_error_in_59_answers_is_just_enough_for_five_percent() -> None:
    """1 - 0.05 ** (1 / 59) = 0.04951: the rule of three, exactly."""
    sure = np.linspace(0.9, 1.0, 59)
    found = risk_threshold(sure, np.zeros(59), risk=0.05)
    assert (found.threshold, found.rows, found.coverage) == (0.9, 59, 1.0)
    assert found.upper == pytest.approx(1 - 0.05 ** (1 / 59), rel=1e-9)
    assert risk_threshold(sure[:58], np.zeros(58), risk=0.05).threshold is None


def test_rows_of_one_confidence_stand_or_fall_together() -> None:
    sure = np.repeat([0.99, 0.7], 100)
    wrong = np.repeat([False, True], 100)
    found = risk_threshold(sure, wrong, risk=0.05)
    assert (found.threshold, found.rows, found.risk) == (0.99, 100, 0.0)


def test_what_cannot_be_shown_is_said_with_the_bound_that_failed() -> None:
    found = risk_threshold(np.linspace(0, 1, 400), np.arange(400) % 2 == 0, risk=0.05)
    assert found.threshold is None
    assert found.upper == clopper_pearson(round(found.risk * found.rows), found.rows, alpha=0.1).high > 0.05


def test_the_risk_is_kept_in_nineteen_of_twenty_samples() -> None:
    """Error 1 - confidence: the risk above a threshold t is (1 - t) / 2, so 0.05 is kept from t = 0.9 on."""
    draws = np.random.default_rng(0)
    broken = 0
    for _ in range(400):
        sure = draws.uniform(0, 1, 1000)
        found = risk_threshold(sure, draws.uniform(size=1000) > sure, risk=0.05)
        broken += found.threshold is not None and (1 - found.threshold) / 2 > 0.05
    assert broken <= 31  # 99 % of Binomial(400, 0.05) is at most 31


def test_digits_answered_above_the_threshold_are_wrong_as_rarely_as_was_asked() -> None:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, calibration, test = order[:400], order[400:1100], order[1100:]
    model = LogisticRegression(C=1e-4, max_iter=500).fit(X[train], y[train])
    p = model.predict_proba(X)
    wrong = p.argmax(axis=1) != y
    found = risk_threshold(p[calibration].max(axis=1), wrong[calibration], risk=0.03)
    assert found.threshold is not None
    assert wrong[test].mean() > 0.04  # without the threshold it would not be kept
    answered = p[test].max(axis=1) >= found.threshold
    assert wrong[test][answered].mean() <= 0.03
    assert answered.mean() > 0.7


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(OutOfRange):
        risk_threshold([0.5], [True], risk=0.0)
    with pytest.raises(OutOfRange):
        risk_threshold([float("nan")], [True], risk=0.1)
    with pytest.raises(LengthMismatch):
        risk_threshold([0.5, 0.6], [True], risk=0.1)
