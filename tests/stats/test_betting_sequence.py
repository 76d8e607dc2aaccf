"""The hedged betting confidence sequence: published ends, agreement with the interval at one moment, coverage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.stats import (
    BettingState,
    OutOfRange,
    betting_interval,
    betting_sequence,
    betting_start,
    betting_update,
    empirical_bernstein_sequence,
)

EVERY_FIFTH = [float(i % 5 == 0) for i in range(1000)]


@pytest.mark.parametrize("n, low, high", [(100, 0.104, 0.335), (1000, 0.156, 0.250)])
def test_published_ends_on_a_grid_of_a_thousand(n: int, low: float, high: float) -> None:
    state, _ = betting_update(betting_start(grid=1001), EVERY_FIFTH[:n])
    wealth = np.maximum(state.above, state.below)
    kept = np.flatnonzero(wealth < math.log(2 / 0.05)) / 1000
    assert (kept[0], kept[-1]) == (low, high)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_each_moment_lies_within_the_interval_of_that_moment(values: list[float]) -> None:
    band = betting_sequence(values, grid=201)
    for t in {1, len(values) // 2 or 1, len(values)}:
        alone = betting_interval(values[:t])
        assert band.low[t - 1] >= alone.low - 1 / 200
        assert band.high[t - 1] <= alone.high + 1 / 200
    assert (np.diff(band.low) >= 0).all()
    assert (np.diff(band.high) <= 0).all()


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.integers(0, 60))
def test_pieces_through_json_equal_all_at_once(values: list[float], cut: int) -> None:
    whole, band = betting_update(betting_start(grid=51), values)
    first, early = betting_update(betting_start(grid=51), values[:cut])
    stored = BettingState.from_dict(json.loads(json.dumps(first.as_dict())))
    last, late = betting_update(stored, values[cut:])
    assert np.concatenate([early.low, late.low]) == pytest.approx(band.low)
    assert np.concatenate([early.high, late.high]) == pytest.approx(band.high)
    assert last.above == pytest.approx(whole.above, abs=1e-9)
    assert last.n == whole.n == len(values)


def test_tighter_than_empirical_bernstein() -> None:
    rng = np.random.default_rng(0)
    values = rng.beta(2, 8, size=1500)
    betting, bernstein = betting_sequence(values), empirical_bernstein_sequence(values)
    assert betting.high[-1] - betting.low[-1] < bernstein.high[-1] - bernstein.low[-1]


def test_holds_at_all_times_at_once() -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(150):
        band = betting_sequence((rng.random(400) < 0.3) * 1.0, grid=101, alpha=0.1)
        missed += bool(((band.low > 0.3) | (band.high < 0.3)).any())
    assert missed / 150 <= 0.1


def test_interval_says_that_one_may_look_any_time() -> None:
    before = betting_start().interval
    assert (before.low, before.high, before.n) == (0.0, 1.0, 0)
    assert math.isnan(before.estimate)
    after = betting_update(betting_start(), EVERY_FIFTH)[0].interval
    assert after.anytime
    assert after.estimate == pytest.approx(0.2)
    assert after.low < 0.2 < after.high
    assert betting_update(betting_start(), [])[0] == betting_start()


def test_wrong_input_is_refused() -> None:
    for wrong in (
        lambda: betting_start(alpha=0.0),
        lambda: betting_start(grid=2),
        lambda: betting_sequence([1.5]),
        lambda: BettingState.from_dict({}),
        lambda: BettingState.from_dict({"above": [0.0] * 3, "below": [0.0] * 3, "n": 1}),
    ):
        with pytest.raises(OutOfRange):
            wrong()
