"""Intervals and sequences for means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perennial.stats import (
    NothingToCount,
    OutOfRange,
    asymptotic_half_width,
    asymptotic_interval,
    asymptotic_rho,
    betting_interval,
    clopper_pearson,
    empirical_bernstein_sequence,
    upper_bound,
)

EVERY_FIFTH = [float(i % 5 == 0) for i in range(1000)]


def test_clopper_pearson_check_values() -> None:
    found = clopper_pearson(200, 1000)
    assert (f"{found.low:.4f}", f"{found.high:.4f}") == ("0.1756", "0.2262")


@given(st.integers(1, 300), st.data())
def test_clopper_pearson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    exact = stats.binomtest(k, n).proportion_ci(method="exact")
    found = clopper_pearson(k, n)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_empirical_bernstein_check_values() -> None:
    low, high = empirical_bernstein_sequence(EVERY_FIFTH)
    assert (f"{low[99]:.4f}", f"{high[99]:.4f}") == ("0.0603", "0.3448")
    assert (f"{low[999]:.4f}", f"{high[999]:.4f}") == ("0.1529", "0.2504")


@pytest.mark.parametrize("n, low, high", [(100, 0.104, 0.335), (1000, 0.156, 0.250)])
def test_betting_check_values_on_a_grid_of_a_thousand(n: int, low: float, high: float) -> None:
    found = betting_interval(EVERY_FIFTH[:n])
    assert math.ceil(found.low * 1000) / 1000 == low
    assert math.floor(found.high * 1000) / 1000 == high


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=100))
def test_intervals_stay_in_the_unit_interval_and_hold_the_wealth_bound(values: list[float]) -> None:
    found = betting_interval(values)
    assert 0.0 <= found.low <= found.high <= 1.0
    mirrored = betting_interval([1.0 - x for x in values])
    assert (1.0 - mirrored.high, 1.0 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-6)
    low, high = empirical_bernstein_sequence(values)
    assert ((low >= 0.0) & (high <= 1.0) & (low <= high)).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_values_narrow_around_the_constant(value: float) -> None:
    found = betting_interval([value] * 2000)
    assert found.low <= value <= found.high
    assert found.high - found.low < 0.05


def test_asymptotic_check_values() -> None:
    assert f"{asymptotic_rho(1000):.4f}" == "0.0937"
    assert f"{asymptotic_half_width(0.4, 1000, tuned_for=1000):.4f}" == "0.0384"


def test_asymptotic_interval_is_unbounded_below_a_hundred_rows() -> None:
    early = asymptotic_interval(0.2, 0.4, 99, tuned_for=1000)
    assert (early.low, early.high) == (-math.inf, math.inf)
    assert early.as_dict()["low"] is None
    later = asymptotic_interval(0.2, 0.4, 1000, tuned_for=1000)
    assert later.high - later.low == pytest.approx(2 * 0.0384, abs=1e-4)


def test_upper_bound_of_shares_is_exact_and_of_other_values_bets() -> None:
    binary = upper_bound(EVERY_FIFTH)
    assert binary.method == "clopper-pearson"
    assert f"{binary.high:.4f}" == "0.2262"
    values = np.random.default_rng(0).beta(2, 8, size=5000)
    other = upper_bound(values)
    assert other.method == "hedged betting"
    assert values.mean() < other.high < values.mean() + 0.02
    assert upper_bound(values, level=0.999).high > other.high


def test_upper_bound_misses_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(1)
    missed = [upper_bound(rng.beta(1, 9, size=200)).high < 0.1 for _ in range(400)]
    assert np.mean(missed) <= 0.025


@pytest.mark.long
def test_sequences_hold_at_every_time_at_once() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(1000):
        low, high = empirical_bernstein_sequence((rng.random(2000) < 0.3).astype(float))
        missed += bool(((low > 0.3) | (high < 0.3)).any())
    assert missed / 1000 <= 0.05


def test_wrong_input_is_refused() -> None:
    with pytest.raises(NothingToCount):
        betting_interval([])
    with pytest.raises(OutOfRange, match="clip"):
        empirical_bernstein_sequence([2.0])
    with pytest.raises(OutOfRange):
        clopper_pearson(3, 2)
    with pytest.raises(OutOfRange):
        clopper_pearson(0, 0)
    with pytest.raises(OutOfRange):
        upper_bound([0.5], level=0.4)
    with pytest.raises(OutOfRange):
        asymptotic_rho(1000, alpha=0.9)
    with pytest.raises(OutOfRange):
        asymptotic_half_width(-1.0, 100, tuned_for=100)


def test_one_look_at_all_rows_covers_as_often_and_is_mostly_narrower_than_any_time() -> None:
    draw = np.random.default_rng(11)
    missed, narrower = 0, 0
    for _ in range(300):
        values = draw.beta(0.3, 3.0, 400)
        one, ever = betting_interval(values, alpha=0.1, is_final=True), betting_interval(values, alpha=0.1)
        missed += not one.low <= 0.3 / 3.3 <= one.high
        narrower += one.high - one.low < ever.high - ever.low
    assert missed <= 300 * 0.1
    assert narrower > 240
    assert not one.anytime
    assert ever.anytime
