"""The count test of a canary."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.special import betaln

from perennial.stats import OutOfRange, canary_test, log_bayes_factor


def test_check_value() -> None:
    assert f"{math.exp(log_bayes_factor(10, 12, 0.5, prior=(1.0, 1.0))):.5f}" == "4.77389"


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_evidence_has_mean_one_if_nothing_broke(share: float) -> None:
    t = 40
    mean = sum(
        math.comb(t, k) * share**k * (1 - share) ** (t - k) * math.exp(log_bayes_factor(k, t, share))
        for k in range(t + 1)
    )
    assert mean == pytest.approx(1.0, rel=1e-9)


def test_decisions() -> None:
    broken = canary_test(30, 60, 0.1)
    assert broken.decision == "roll back"
    assert broken.effect == pytest.approx(9.0)
    assert broken.e_value is not None
    assert broken.e_value >= 100
    fine = canary_test(6, 60, 0.1)
    assert fine.decision == "go on"
    assert json.loads(json.dumps(fine.as_dict()))["threshold"] == 100


def test_fewer_bad_events_than_its_share_is_no_reason_to_roll_back() -> None:
    found = canary_test(10, 400, 0.5)
    assert found.e_value is not None
    assert found.e_value > 100
    assert found.decision == "go on"


def test_no_events_and_events_on_the_canary_only() -> None:
    assert canary_test(0, 0, 0.1).decision == "go on"
    flood = canary_test(10**6, 10**6, 0.01)
    assert flood.decision == "roll back"
    assert flood.effect is None
    assert math.isfinite(flood.e_value or math.inf)


def _first_rollback(theta0: float, prob: float, streams: int, events: int, seed: int) -> np.ndarray:
    k = (np.random.default_rng(seed).random((streams, events)) < prob).cumsum(axis=1)
    t = np.arange(1, events + 1)
    a, b = 10 * theta0, 10 * (1 - theta0)
    log_factor = betaln(a + k, b + t - k) - betaln(a, b) - k * math.log(theta0) - (t - k) * math.log1p(-theta0)
    fires = (log_factor >= math.log(20)) & (k / t > theta0)
    return np.where(fires.any(axis=1), fires.argmax(axis=1) + 1, events + 1)


@pytest.mark.long
@pytest.mark.parametrize("factor, median", [(1.5, 450), (2, 129), (5, 21)])
def test_median_number_of_bad_events_to_detect(factor: float, median: int) -> None:
    share = 0.1 * factor / (0.1 * factor + 0.9)
    assert np.median(_first_rollback(0.1, share, 2000, 4000, 0)) == pytest.approx(median, rel=0.15)


@pytest.mark.long
def test_false_rollbacks_are_rarer_than_alpha() -> None:
    assert np.mean(_first_rollback(0.1, 0.1, 2000, 4000, 1) <= 4000) < 0.03


def test_wrong_input_is_refused() -> None:
    for wrong in (
        lambda: canary_test(3, 2, 0.1),
        lambda: canary_test(-1, 2, 0.1),
        lambda: canary_test(1, 2, 0.0),
        lambda: canary_test(1, 2, 0.5, alpha=0.0),
        lambda: canary_test(1, 2, 0.5, prior=(0.0, 1.0)),
    ):
        with pytest.raises(OutOfRange):
            wrong()
