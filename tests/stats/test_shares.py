"""Whether a share is larger than a reference allows: exact tails, and never wrong too often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from perennial.stats import OutOfRange
from perennial.stats.shares import excess_share_test


@pytest.mark.parametrize("k, n, k0, n0", [(0, 10, 0, 10), (30, 100, 50, 1000), (7, 7, 1, 50), (900, 1000, 3, 4)])
def test_the_p_value_is_the_tail_at_the_bound_of_the_reference(k: int, n: int, k0: int, n0: int) -> None:
    alpha, tolerance, relative = 0.01, 0.02, 0.1
    test = excess_share_test(
        k, n, reference_successes=k0, reference_trials=n0, tolerance=tolerance, relative_tolerance=relative, alpha=alpha
    )
    bound = beta.ppf(1 - alpha / 2, k0 + 1, n0 - k0)
    allowed = min(1.0, bound * (1 + relative) + tolerance)
    assert test.threshold == pytest.approx(allowed)
    assert test.p_value == pytest.approx(min(1.0, binom.sf(k - 1, n, allowed) + alpha / 2), rel=1e-9)
    assert test.decision == ("above" if binom.sf(k - 1, n, allowed) <= alpha / 2 else "within tolerance")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
def test_a_true_share_within_the_tolerance_is_called_above_at_most_at_the_level(share: float) -> None:
    draw = np.random.default_rng(0)
    alpha, wrong = 0.05, 0
    for _ in range(2_000):
        test = excess_share_test(
            int(draw.binomial(300, share + 0.01)),
            300,
            reference_successes=int(draw.binomial(400, share)),
            reference_trials=400,
            tolerance=0.01,
            alpha=alpha,
        )
        wrong += test.decision == "above"
    assert wrong <= 2_000 * alpha


def test_an_empty_side_decides_nothing() -> None:
    assert excess_share_test(0, 0, reference_successes=1, reference_trials=9).decision == "undecided"
    assert excess_share_test(3, 9, reference_successes=0, reference_trials=0).decision == "undecided"
    with pytest.raises(OutOfRange, match="successes"):
        excess_share_test(4, 3, reference_successes=0, reference_trials=9)
    with pytest.raises(OutOfRange, match="reference_successes"):
        excess_share_test(1, 3, reference_successes=10, reference_trials=9)
