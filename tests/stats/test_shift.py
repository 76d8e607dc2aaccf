"""Distances between bin shares and the tolerance-aware test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial import distance

from perennial.stats import (
    BinMismatch,
    OutOfRange,
    hellinger,
    js_distance,
    l_infinity,
    merge_sparse,
    noise_floor,
    noncentral_chi2_sf,
    psi,
    smooth_shares,
    tolerance_test,
    tolerance_tests,
)

P, Q = [0.5, 0.5], [0.6, 0.4]
counts = st.lists(st.integers(0, 2000), min_size=2, max_size=15)


def test_two_bins_by_hand() -> None:
    assert f"{psi(P, Q):.7f}" == "0.0405465"
    assert f"{js_distance(P, Q):.7f}" == "0.0854351"
    assert f"{hellinger(P, Q):.7f}" == "0.0711607"
    assert l_infinity(P, Q) == pytest.approx(0.1, abs=1e-15)


@given(counts, st.randoms(use_true_random=False))
def test_distances_are_symmetric_zero_for_equals_and_agree_with_scipy(first: list[int], random) -> None:
    second = [random.randint(0, 2000) for _ in first]
    p, q = smooth_shares(first), smooth_shares(second)
    for measure in (psi, js_distance, hellinger, l_infinity):
        assert measure(p, p) == pytest.approx(0.0, abs=1e-8)
        assert measure(p, q) == pytest.approx(measure(q, p), abs=1e-12)
    assert js_distance(p, q) == pytest.approx(float(distance.jensenshannon(p, q, base=2)), abs=1e-7)


def test_small_shifts_share_one_noise_law() -> None:
    p = np.full(10, 0.1)
    q = p + np.array([1e-4, -1e-4] * 5)
    assert js_distance(p, q) ** 2 * math.log(2) == pytest.approx(psi(p, q) / 8, rel=1e-4)
    assert hellinger(p, q) ** 2 == pytest.approx(psi(p, q) / 8, rel=1e-4)


def test_empty_bin_on_one_side_makes_psi_infinite_unless_smoothed() -> None:
    assert psi([1.0, 0.0], [0.5, 0.5]) == math.inf
    assert psi(smooth_shares([10, 0]), smooth_shares([5, 5])) < 10


@pytest.mark.parametrize(
    "x, df, nc",
    [
        (5, 9, 0.1),
        (100, 9, 50),
        (400, 9, 50),
        (1000, 9, 50),
        (5e4, 9, 4e4),
        (1e7, 9, 9.9e6),
        (30, 1, 3),
        (16.9, 9, 9e3),
    ],
)
def test_noncentral_tail_keeps_its_digits_where_one_minus_cdf_is_zero(x: float, df: float, nc: float) -> None:
    exact = float(stats.ncx2.sf(x, df, nc))
    assert noncentral_chi2_sf(x, df, nc) == pytest.approx(exact, rel=1e-8, abs=1e-300)
    if exact < 1e-17:
        assert 1.0 - special.chndtr(x, df, nc) == 0.0


def test_central_tail_is_the_chi_squared_one() -> None:
    assert noncentral_chi2_sf(300.0, 9, 0.0) == pytest.approx(float(stats.chi2.sf(300.0, 9)), rel=1e-12)
    assert noncentral_chi2_sf(0.0, 9, 1.0) == 1.0


def test_test_follows_its_formula() -> None:
    reference, current = [1000, 1000, 1000, 1000], [1400, 600, 1100, 900]
    found = tolerance_test(reference, current, 0.01)
    value = psi(smooth_shares(reference), smooth_shares(current))
    scale = 2 / 4000
    assert found.statistic == pytest.approx(value)
    assert found.p_value == pytest.approx(float(stats.ncx2.sf(value / scale, 3, 0.01 / scale)), rel=1e-8)
    assert found.details["noise_floor"] == noise_floor(4000, 4000, 4) == pytest.approx(3 * scale)
    assert found.effect == pytest.approx(value - 3 * scale)
    assert found.decision == "shifted"


def test_tiny_shift_in_a_huge_window_is_within_tolerance_but_not_zero() -> None:
    reference, current = [10**6] * 10, [10**6 + 5000, 10**6 - 5000] * 5
    assert tolerance_test(reference, current).decision == "within tolerance"
    assert tolerance_test(reference, current, 0.0).decision == "shifted"


@pytest.mark.parametrize("delta", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("n, m", [(1000, 1000), (10_000, 1000), (1_000_000, 100_000)])
def test_rejects_five_percent_at_the_tolerance(delta: float, n: int, m: int) -> None:
    rng = np.random.default_rng(7)
    p = np.full(10, 0.1)
    direction = np.array([1.0, -1.0] * 5)
    low, high = 0.0, 0.09
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if psi(p, p + middle * direction) < delta else (low, middle)
    q = p + low * direction

    def rejected(now: np.ndarray, repeats: int) -> float:
        pairs = [(rng.multinomial(n, p), rng.multinomial(m, now)) for _ in range(repeats)]
        return float(np.mean([found.decision == "shifted" for found in tolerance_tests(pairs, delta)]))

    # 4.4 to 5.7 % at every size, and two errors of the simulation; without a shift 0 %.
    assert 0.044 - 0.0045 < rejected(q, 10_000) < 0.057 + 0.0045
    assert round(100 * rejected(p, 5000)) == 0


def test_too_few_rows_give_no_p_value() -> None:
    for reference, current in (([10] * 10, [9] * 10), ([0, 0], [5, 5]), ([1000] * 10, [1] * 10)):
        found = tolerance_test(reference, current)
        assert found.decision == "undecided"
        assert found.p_value is None
        assert "too few rows" in found.reasons[0] or "empty" in found.reasons[0]


def test_thin_bins_are_pooled_or_make_the_test_undecided() -> None:
    reference, current = [500, 495, 3, 2], [500, 497, 2, 1]
    merged = tolerance_test(reference, current)
    assert merged.decision == "within tolerance"
    assert merged.details["bins_pooled"] == 3
    assert tolerance_test(reference, current, merge=False).decision == "undecided"


def test_a_new_bin_is_a_finding_and_not_pooled_away() -> None:
    found = tolerance_test([500_000, 500_000, 0], [300, 300, 400])
    assert found.details["bins_pooled"] == 0
    assert found.decision == "shifted"
    gone = tolerance_test([300, 300, 400], [500_000, 500_000, 0])
    assert gone.decision == "shifted"


def test_one_bin_is_no_shift() -> None:
    assert tolerance_test([1000, 0], [1000, 0]).decision == "within tolerance"


@given(counts, st.randoms(use_true_random=False))
def test_merging_keeps_rows_and_leaves_no_thin_bin_it_could_pool(first: list[int], random) -> None:
    second = [random.choice([0, 1, 3, 50, 900]) for _ in first]
    r, c, _ = merge_sparse(first, second)
    assert r.sum() == sum(first)
    assert c.sum() == sum(second)
    assert len(r) == len(c) <= len(first)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(BinMismatch):
        tolerance_test([1, 2], [1, 2, 3])
    with pytest.raises(OutOfRange):
        tolerance_test([1, -2], [1, 2])
    with pytest.raises(OutOfRange):
        psi([1, 2], [0.5, 0.5])
    with pytest.raises(OutOfRange):
        tolerance_test([1, 2], [1, 2], alpha=1.0)
    with pytest.raises(OutOfRange):
        tolerance_test([1, 2], [1, 2], -0.1)


@given(st.lists(st.tuples(counts, counts), max_size=6), st.booleans())
def test_many_columns_are_tested_as_one_by_one(columns: list[tuple[list[int], list[int]]], merge: bool) -> None:
    pairs = [(first[: len(second)], second[: len(first)]) for first, second in columns]
    together = tolerance_tests(pairs, merge=merge)
    assert together == [tolerance_test(first, second, merge=merge) for first, second in pairs]


def test_one_broken_column_among_many_is_refused_by_what_is_wrong_with_it() -> None:
    with pytest.raises(OutOfRange, match="current_counts"):
        tolerance_tests([([500, 500], [500, 500]), ([500, 500], [-1, 500])])
    with pytest.raises(BinMismatch):
        tolerance_tests([([500, 500], [500, 500]), ([500, 500], [500])])
