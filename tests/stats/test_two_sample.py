"""Kernel and energy distances against their definitions, and the permutation test's rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from perennial.stats import LengthMismatch, OutOfRange, energy_distance, energy_test, median_distance, mmd2, mmd_test

TESTS = pytest.mark.parametrize("test", [mmd_test, energy_test])


def clouds(seed: int, n: int, m: int, d: int, move: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(move, 1.0, size=(m, d))


def test_mmd_is_the_sum_over_pairs() -> None:
    x, y = clouds(0, 17, 23, 3, 0.4)
    width = float(np.median(pdist(np.vstack([x, y]))))
    assert median_distance(np.vstack([x, y])) == pytest.approx(width)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2))

    within_x = (kernel(x, x).sum() - 17) / (17 * 16)
    within_y = (kernel(y, y).sum() - 23) / (23 * 22)
    assert mmd2(x, y) == pytest.approx(within_x + within_y - 2 * kernel(x, y).mean(), rel=1e-9)
    assert mmd2(x, y, width=2 * width) != pytest.approx(mmd2(x, y))


def test_energy_distance_is_twice_the_squared_area_between_distribution_functions() -> None:
    x, y = clouds(1, 400, 300, 1, 0.8)
    across, own_x, own_y = cdist(x, y).mean(), cdist(x, x).sum(), cdist(y, y).sum()
    expected = 2 * across - own_x / (400 * 399) - own_y / (300 * 299)
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)
    biased = 2 * across - own_x / 400**2 - own_y / 300**2
    assert biased == pytest.approx(stats.energy_distance(x[:, 0], y[:, 0]) ** 2, rel=1e-9)


def test_both_are_zero_on_average_without_a_difference() -> None:
    found = [(mmd2(*clouds(seed, 30, 40, 2)), energy_distance(*clouds(seed, 30, 40, 2))) for seed in range(200)]
    for values in np.array(found).T:
        assert abs(values.mean()) < 3.5 * values.std() / math.sqrt(200)


@TESTS
@pytest.mark.parametrize("d", [1, 16])
def test_no_difference_gives_uniform_p_values(test, d: int) -> None:
    p = np.array(
        [test(*clouds(seed, 40, 60, d), permutations=99, alpha=0.05, tolerance=0.0).p_value for seed in range(200)]
    )
    assert 0.015 <= np.mean(p <= 0.05) <= 0.095
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.11)


@TESTS
@pytest.mark.parametrize("d", [2, 64])
def test_a_move_of_a_third_of_a_deviation_is_seen(test, d: int) -> None:
    found = test(*clouds(2, 1000, 1000, d, 0.33))
    assert found.decision == "shifted"
    assert found.p_value == pytest.approx(1 / 201)


@TESTS
def test_what_marginals_do_not_show_is_seen(test) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 2))
    y = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=600)
    assert test(x, y).decision == "shifted"


def test_tolerances_stand_for_a_tenth_of_a_deviation_in_every_coordinate() -> None:
    for d, mmd, tolerance in ((1, 0.002, 0.0004), (64, 0.003, 0.0004)):
        x, y = clouds(4, 1500, 1500, d, 0.1)
        rest_x, rest_y = clouds(5, 1500, 1500, d, 0.1)
        found = (mmd2(x, y) + mmd2(rest_x, rest_y)) / 2
        assert found == pytest.approx(mmd, abs=3 * tolerance)
    x, y = clouds(6, 1500, 1500, 16, 0.2)
    assert energy_distance(x, y) / (2 * cdist(x, y).mean()) == pytest.approx(0.2**2 / 4, rel=0.15)


@TESTS
def test_a_significant_but_tiny_move_is_within_tolerance(test) -> None:
    x, y = clouds(7, 1000, 1000, 256, 0.05)
    found = test(x, y)
    assert found.p_value <= 0.01
    assert found.decision == "within tolerance"
    assert test(x, y, tolerance=0.0).decision == "shifted"


@TESTS
def test_seeded_and_bounded(test) -> None:
    x, y = clouds(8, 4000, 1500, 3, 0.2)
    first, again, other = test(x, y, seed=1), test(x, y, seed=1), test(x, y, seed=2)
    assert first == again
    assert first.statistic != other.statistic
    assert first.details["rows_used"] == [1000, 1000]
    assert (first.n, first.m) == (4000, 1500)


@TESTS
def test_equal_points_are_no_evidence(test) -> None:
    found = test(np.ones((50, 2)), np.ones((60, 2)))
    assert (found.p_value, found.decision) == (1.0, "within tolerance")
    mostly = np.zeros((60, 1))
    mostly[:3] = 1.0
    assert test(mostly, mostly).p_value > 0.5


@TESTS
def test_distance_from_the_origin_does_not_wear_digits_away(test) -> None:
    x, y = clouds(9, 200, 200, 3, 0.5)
    assert test(x + 1e6, y + 1e6).statistic == pytest.approx(test(x, y).statistic, rel=1e-4)


@TESTS
def test_too_few_rows_are_undecided(test) -> None:
    found = test(*clouds(10, 19, 500, 2))
    assert (found.decision, found.p_value) == ("undecided", None)
    assert test(np.empty((0, 2)), np.ones((30, 2))).decision == "undecided"


def test_wrong_input_is_refused() -> None:
    x, y = clouds(11, 30, 30, 2)
    for error, wrong in (
        (LengthMismatch, lambda: mmd2(x, y[:, :1])),
        (OutOfRange, lambda: mmd2(x[:1], y)),
        (OutOfRange, lambda: mmd2(x[:, 0], y)),
        (OutOfRange, lambda: mmd2(x, y, width=math.inf)),
        (OutOfRange, lambda: energy_test(x, np.full_like(y, math.nan))),
        (OutOfRange, lambda: mmd_test(x, y, permutations=50)),
        (OutOfRange, lambda: mmd_test(x, y, tolerance=-0.1)),
        (OutOfRange, lambda: mmd_test(x, y, max_rows=5)),
        (OutOfRange, lambda: mmd_test(x, y, alpha=0.0)),
    ):
        with pytest.raises(error):
            wrong()
